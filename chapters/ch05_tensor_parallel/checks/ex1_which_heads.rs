//! What the chapter's model holds, and attention that adds up.
use super::{distance, elements, many, ranks, tensor};
use crate::answer::ex1_which_heads::*;
use candle_core::{DType, Result, Tensor};
use ch05_tensor_parallel::Config;
use ch05_tensor_parallel::attention::Attention;
use ch05_tensor_parallel::recompute::Recompute;
use ch05_tensor_parallel::tensor_parallel::{self, TensorParallel};
use comm::{Layout, Mesh};
use hub::{Family, ModelConfig};
use params::ParamBuilder;
use std::ops::Range;

const HIDDEN: usize = 6;

/// Heads, key/value heads, the size of a head, and ranks.
#[derive(Clone, Copy)]
struct Case {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    ranks: usize,
}

impl Case {
    fn words(&self) -> String {
        let Case { heads, kv_heads, dim, ranks } = self;
        let kv = many(*kv_heads, "key/value head");
        let (heads, ranks) = (many(*heads, "head"), many(*ranks, "rank"));
        format!("{heads} and {kv} of {dim} on {ranks}")
    }
    fn model(&self) -> ModelConfig {
        ModelConfig {
            hidden_size: HIDDEN,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim: self.dim,
            intermediate_size: self.ranks,
            ..ModelConfig::defaults(Family::Llama)
        }
    }
    /// The reader's answer for every rank.
    fn answers(&self) -> Vec<Held> {
        let Case { heads, kv_heads, dim, ranks } = *self;
        (0..ranks).map(|rank| held(heads, kv_heads, dim, ranks, rank)).collect()
    }
    /// What a rank's query heads are, and what they attend to.
    fn why(&self, rank: usize) -> String {
        let own = self.heads / self.ranks;
        let group = self.heads / self.kv_heads;
        let heads: Vec<usize> = (rank * own..(rank + 1) * own).collect();
        let mut kv: Vec<usize> = heads.iter().map(|head| head / group).collect();
        kv.dedup();
        format!(
            "its query heads are {heads:?}, which attend to the key/value heads {kv:?}"
        )
    }
}

/// All that the chapter takes, of up to eight heads.
fn cases() -> Vec<Case> {
    let mut all = vec![];
    for heads in 1..=8 {
        for kv_heads in (1..=heads).filter(|kv| usize::is_multiple_of(heads, *kv)) {
            for ranks in 1..=heads {
                let case = Case { heads, kv_heads, dim: 2 + heads % 3, ranks };
                if tensor_parallel::check(&case.model(), ranks).is_ok() {
                    all.push(case);
                }
            }
        }
    }
    all
}

/// For each rank, what the chapter's model holds of `q_proj`, `k_proj`, `v_proj` and
/// `o_proj`.
fn chapter(case: &Case) -> Vec<[Range<usize>; 4]> {
    ranks(case.ranks, "the chapter's model", |world| {
        let layout = Layout { tp: case.ranks, ..Layout::default() };
        let (mut mesh, model) = (Mesh::new(world, &layout)?, case.model());
        let tp = TensorParallel::new(&mut mesh, &model)?;
        let recompute = Recompute::new(&Config::default(), 1)?;
        let mut builder = ParamBuilder::new(1, DType::F64);
        Attention::new(&tp, &model, "attention", &recompute, &mut builder);
        let params = builder.build_zeros()?;
        let held = |which: &str, dim: usize| {
            let name = format!("attention.{which}.weight");
            let shard = params.get(&name).expect("a matrix of the chapter's").shard();
            shard.offset[dim]..shard.offset[dim] + shard.shape[dim]
        };
        anyhow::Ok([
            held("q_proj", 0),
            held("k_proj", 0),
            held("v_proj", 0),
            held("o_proj", 1),
        ])
    })
}

/// Compares with the chapter's model in all cases that are `of_interest`.
fn agrees(of_interest: impl Fn(&Case) -> bool) {
    for case in cases().into_iter().filter(of_interest) {
        let all = case.answers().into_iter().zip(chapter(&case));
        for (rank, (got, [q, k, v, o])) in all.enumerate() {
            for (what, got, want) in [
                ("rows of q_proj", &got.q_rows, q),
                ("rows of k_proj", &got.kv_rows, k),
                ("rows of v_proj", &got.kv_rows, v),
                ("columns of o_proj", &got.o_columns, o),
            ] {
                assert!(
                    *got == want,
                    "{}, rank {rank}: you say the {what} {got:?}, and the chapter's \
                     model holds {want:?}: {}",
                    case.words(),
                    case.why(rank)
                );
            }
        }
    }
}

#[test]
fn as_many_key_value_heads_as_query_heads() {
    agrees(|case| case.kv_heads == case.heads);
}

#[test]
fn fewer_key_value_heads_dealt_out_or_shared() {
    agrees(|case| case.kv_heads < case.heads && case.kv_heads >= case.ranks);
    agrees(|case| case.kv_heads < case.ranks);
}

/// One layer's attention on `x [rows, seq, HIDDEN]`: with those rows of `[q, k, v]` and
/// those columns of `o`.
fn attention(
    x: &Tensor,
    weights: &[Tensor; 4],
    parts: [&Range<usize>; 4],
    dim: usize,
) -> Result<Tensor> {
    let [q, k, v, o] = weights;
    let [q_rows, k_rows, v_rows, o_columns] = parts;
    let cut = |w: &Tensor, dim, part: &Range<usize>| {
        w.narrow(dim, part.start, part.len())?.contiguous()
    };
    let qkv = [cut(q, 0, q_rows)?, cut(k, 0, k_rows)?, cut(v, 0, v_rows)?];
    let qkv = x.broadcast_matmul(&Tensor::cat(&qkv, 0)?.t()?)?;
    let (heads, kv_heads) = (q_rows.len() / dim, k_rows.len() / dim);
    let mixed = ops::attention(&qkv, heads, kv_heads, None)?;
    mixed.broadcast_matmul(&cut(o, 1, o_columns)?.t()?)
}

/// That a rank can compute with its parts at all.
fn usable(case: &Case, rank: usize, held: &Held) {
    let Case { heads, kv_heads, dim, .. } = *case;
    let who = format!("{}, rank {rank}", case.words());
    for (what, part, size) in [
        ("q_rows", &held.q_rows, heads * dim),
        ("kv_rows", &held.kv_rows, kv_heads * dim),
        ("o_columns", &held.o_columns, heads * dim),
    ] {
        assert!(
            part.start < part.end && part.end <= size,
            "{who}: {what} is {part:?}, expected at least one of 0..{size}"
        );
        assert!(
            part.start.is_multiple_of(dim) && part.end.is_multiple_of(dim),
            "{who}: {what} is {part:?}, which cuts through a head: expected multiples \
             of {dim}"
        );
    }
    assert!(
        held.q_rows.len() == held.o_columns.len(),
        "{who}: {} of q_proj make as many results, which cannot meet {} of o_proj",
        many(held.q_rows.len(), "row"),
        many(held.o_columns.len(), "column")
    );
    let [q, kv] = [&held.q_rows, &held.kv_rows].map(|part| part.len() / dim);
    assert!(
        q.is_multiple_of(kv),
        "{who}: {} cannot be dealt out evenly to its {}: {}",
        many(kv, "key/value head"),
        many(q, "query head"),
        case.why(rank)
    );
}

#[test]
fn attention_on_all_parts_adds_up_to_the_whole() {
    for case in cases() {
        let answers = case.answers();
        let Case { heads, kv_heads, dim, .. } = case;
        let (wide, narrow) = (heads * dim, kv_heads * dim);
        let weights = [
            tensor(&[wide, HIDDEN], 1).unwrap(),
            tensor(&[narrow, HIDDEN], 2).unwrap(),
            tensor(&[narrow, HIDDEN], 3).unwrap(),
            tensor(&[HIDDEN, wide], 4).unwrap(),
        ];
        let x = tensor(&[2, 3, HIDDEN], 5).unwrap();
        let all = [&(0..wide), &(0..narrow), &(0..narrow), &(0..wide)];
        let want = elements(&attention(&x, &weights, all, dim).unwrap()).unwrap();
        let mut sum = vec![0.0; want.len()];
        for (rank, held) in answers.iter().enumerate() {
            usable(&case, rank, held);
            let parts = [&held.q_rows, &held.kv_rows, &held.kv_rows, &held.o_columns];
            let part = attention(&x, &weights, parts, dim).unwrap();
            let part = elements(&part).unwrap();
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let apart = distance(&sum, &want);
        // Whose keys a query head meets, where they are not its own.
        let meets = |(rank, held): (usize, &Held)| {
            let [q, kv] = [&held.q_rows, &held.kv_rows].map(|part| part.len() / dim);
            let heads_of = |i| (held.q_rows.start / dim + i, i / (q / kv));
            (0..q).map(heads_of).find_map(|(head, place)| {
                let (got, own) =
                    (held.kv_rows.start / dim + place, head / (heads / kv_heads));
                (got != own).then(|| {
                    format!(
                        "on rank {rank}, query head {head} meets key/value head {got}, \
                         and attends to {own}"
                    )
                })
            })
        };
        let why = answers.iter().enumerate().find_map(meets).unwrap_or_else(|| {
            "does every head count once, and meet its own columns of o_proj?".into()
        });
        assert!(
            apart <= 1e-12,
            "{}: what the ranks make of their parts adds up to something else than the \
             whole, {apart:.1e} from it: {why}",
            case.words()
        );
    }
}
