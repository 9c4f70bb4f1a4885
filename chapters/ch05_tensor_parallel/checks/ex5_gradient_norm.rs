//! Gradients and norms of the chapter's model on several ranks beside those of one.
use super::{distance, length, many, ranks};
use crate::answer::ex5_gradient_norm::*;
use candle_core::{DType, Result};
use ch05_tensor_parallel::Config;
use ch05_tensor_parallel::model::Transformer;
use ch05_tensor_parallel::recompute::Recompute;
use ch05_tensor_parallel::tensor_parallel::TensorParallel;
use comm::{Layout, Mesh, Reduce};
use corpus::{Batch, IGNORE};
use hub::{Family, ModelConfig};
use params::{ParamBuilder, Params};

const SEQ: usize = 6;
/// It divides by none of the numbers of ranks but one: tables have padding.
const VOCAB: usize = 11;

/// Ranks that hold the model together, and how often they hold it.
const LAYOUTS: [(usize, usize); 5] = [(1, 1), (2, 1), (4, 1), (2, 2), (4, 2)];

/// Two layers of 4 heads and 2 key/value heads, which 4 ranks share; a Qwen3 normalizes
/// queries and keys.
fn model(qwen3: bool) -> ModelConfig {
    ModelConfig {
        vocab_size: VOCAB,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        qk_norm: qwen3,
        qkv_bias: !qwen3,
        initializer_range: 0.5,
        max_position_embeddings: SEQ,
        ..ModelConfig::defaults(Family::Llama)
    }
}

fn kind(qwen3: bool) -> &'static str {
    if qwen3 { "a Qwen3" } else { "a Llama" }
}

/// One of the four rows of a step, as a micro-batch.
fn row(number: usize) -> Batch {
    let draw = |at: usize| ((number * 37 + at * at * 5 + at * 3) % VOCAB) as u32;
    let target = |at: usize| if at < 3 + number { draw(at + 1) } else { IGNORE };
    Batch {
        rows: 1,
        seq_len: SEQ,
        tokens: (0..SEQ).map(draw).collect(),
        targets: (0..SEQ).map(target).collect(),
        document_starts: None,
    }
}

/// What a rank has of one gradient in the end.
struct Held {
    name: String,
    /// Where its elements are in the whole.
    at: Vec<usize>,
    got: Vec<f64>,
    /// The square of the length of what backward had come to.
    before: f64,
    /// What the model says of it.
    partial: Option<&'static str>,
    whole: bool,
    counts: bool,
}

/// The norm that a rank returns, and its gradients.
type Seen = (f64, Vec<Held>);

/// The whole gradients, as backward leaves them on one rank.
fn alone(qwen3: bool) -> Vec<Held> {
    step(qwen3, (1, 1), |_, _| Ok(0.0)).remove(0).1
}

fn seen(qwen3: bool, layout: (usize, usize)) -> Vec<Seen> {
    step(qwen3, layout, finish)
}

fn step(
    qwen3: bool,
    (tp, dp): (usize, usize),
    finish: fn(&Params, &Mesh) -> Result<f64>,
) -> Vec<Seen> {
    ranks(tp * dp, "a step's gradients", |world| {
        let layout = Layout { tp, ..Layout::default() };
        let (mut mesh, config) = (Mesh::new(world, &layout)?, model(qwen3));
        let tp = TensorParallel::new(&mut mesh, &config)?;
        let mut builder = ParamBuilder::new(1, DType::F64);
        let recompute = Recompute::new(&Config::default(), config.num_hidden_layers)?;
        let (seq, dtype) = (SEQ, DType::F64);
        let model =
            Transformer::new(&tp, &config, seq, dtype, &recompute, &mut builder)?;
        let params = builder.build(1)?;
        params.begin_step()?;
        let targets: usize = (0..4).map(|number| row(number).target_count()).sum();
        for number in (mesh.data().rank()..4).step_by(dp) {
            let scale = 1.0 / targets as f64;
            let (loss, tape) = ops::record(|| model.loss(&row(number), scale))?;
            tape.backward(&loss)?;
        }
        for flat in &params.flats {
            let mut grads = flat.grads.write::<f64>(0..flat.grads.len())?;
            mesh.data().all_reduce("gradients", &mut grads, Reduce::Sum)?;
        }
        let lengths = params.iter().map(|p| Ok(length(&p.grad::<f64>()?).powi(2)));
        let before: Vec<f64> = lengths.collect::<Result<_>>()?;
        let norm = finish(&params, &mesh)?;
        let held = params.iter().zip(before).map(|(param, before)| {
            let shard = param.shard();
            let n = shard.held_elements();
            anyhow::Ok(Held {
                name: param.name().into(),
                at: (0..n).map(|i| shard.global_index(i)).collect(),
                got: param.grad::<f64>()?[..n].to_vec(),
                before,
                partial: shard.partial,
                counts: shard.counts(),
                whole: shard.shape == shard.global_shape,
            })
        });
        anyhow::Ok((norm, held.collect::<anyhow::Result<_>>()?))
    })
}

/// Of one rank's gradients those that `held` is of.
fn slice(all: &[Held], held: &Held) -> Vec<f64> {
    let whole = all.iter().find(|whole| whole.name == held.name);
    let whole = whole.expect("the same parameters on all ranks");
    held.at.iter().map(|i| whole.got[*i]).collect()
}

/// What a rank's backward has come to, in words.
fn why(held: &Held) -> &'static str {
    match held.partial {
        Some("tp") => {
            "every rank has this weight, and its backward has come to the part of its \
             own heads: the gradient is the sum over all that hold the model together"
        }
        Some(_) => {
            "neighbours share these rows, and each backward has come to the part of \
             its own query heads: the gradient is the sum over the neighbours"
        }
        None if held.whole => {
            "every rank has this weight, and its backward has come to the whole \
             gradient: nothing is left to be summed"
        }
        None => {
            "no other rank that holds the model has these elements: nothing is left to \
             be summed"
        }
    }
}

fn gradients_agree(qwen3: bool) {
    let alone = alone(qwen3);
    for (tp, dp) in LAYOUTS {
        for (rank, (_, all)) in seen(qwen3, (tp, dp)).iter().enumerate() {
            for held in all {
                let want = slice(&alone, held);
                let apart = distance(&held.got, &want);
                assert!(
                    apart <= 1e-10,
                    "{}, tp {tp}, dp {dp}: the gradient of {} on rank {rank} is {:.4} \
                     times as long as on one rank, and {apart:.1e} from it, expected \
                     at most 1e-10: {}",
                    kind(qwen3),
                    held.name,
                    length(&held.got) / length(&want),
                    why(held)
                );
            }
        }
    }
}

#[test]
fn gradients_of_a_llama() {
    gradients_agree(false);
}

#[test]
fn gradients_of_a_qwen3() {
    gradients_agree(true);
}

fn norms_agree(qwen3: bool) {
    let alone = alone(qwen3);
    let of = |held: &Held| length(&slice(&alone, held)).powi(2);
    let want = alone.iter().map(of).sum::<f64>().sqrt();
    for (tp, dp) in LAYOUTS {
        let all = seen(qwen3, (tp, dp));
        // Neighbours in the world hold the model together.
        let copies = all[..tp].iter().flat_map(|(_, held)| held).map(of);
        let copies = copies.sum::<f64>().sqrt();
        let first = all[0].1.iter().map(of).sum::<f64>().sqrt();
        let before = all[..tp].iter().flat_map(|(_, held)| held);
        let before = before.filter(|held| held.counts).map(|held| held.before);
        let before = before.sum::<f64>().sqrt();
        for (rank, (got, _)) in all.iter().enumerate() {
            let is = |x: f64| (got - x).abs() <= 1e-10 * x;
            let why = match () {
                _ if is(copies) => {
                    "that comes out if a parameter counts once for each rank that has \
                     a copy of it"
                }
                _ if is(before) => {
                    "that comes out if it is taken before the parts are summed, or if \
                     some are not: the square of a sum is not the sum of the squares"
                }
                _ if is(want * want) => "that is its square",
                _ if is(want * (dp as f64).sqrt()) => {
                    "that comes out if each replica of the model counts"
                }
                _ if is(first) => "that comes out if only what rank 0 holds counts",
                _ => {
                    "every element of the model counts once, on whichever rank it is, \
                     and with the whole of its gradient"
                }
            };
            assert!(
                is(want),
                "{}, tp {tp}, dp {dp}: the norm on rank {rank} is {got:.9}, expected \
                 {want:.9}: {why}",
                kind(qwen3)
            );
            assert!(
                got.to_bits() == all[0].0.to_bits(),
                "{}, {}: the norm has other bits on rank {rank} than on rank 0",
                kind(qwen3),
                many(tp * dp, "rank")
            );
        }
    }
}

#[test]
fn the_norm_of_a_llama() {
    norms_agree(false);
}

#[test]
fn the_norm_of_a_qwen3() {
    norms_agree(true);
}
