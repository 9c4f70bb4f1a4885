//! A stored matrix on several ranks: what their heads mix, and what they store.
use super::{distance, elements, many, ranks, tensor};
use crate::answer::ex3_fused_qkv::*;
use candle_core::{Device, Result, Tensor};

const HIDDEN: usize = 4;

/// Query heads, key/value heads, and ranks.
const CASES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (4, 2, 1),
    (2, 2, 2),
    (3, 3, 3),
    (4, 4, 4),
    (4, 2, 2),
    (8, 4, 2),
    (8, 4, 4),
    (12, 3, 3),
];

fn heads(queries: usize, kv: usize) -> Heads {
    Heads { queries, kv, dim: 3 }
}

fn words((queries, kv, n): (usize, usize, usize)) -> String {
    let (queries, kv) = (many(queries, "query head"), many(kv, "key/value head"));
    format!("{queries}, {kv}, {}", many(n, "rank"))
}

/// Names of the rows in `part`, of a matrix whose rows have their own numbers in them,
/// head by head: `q0 k0 v0`.
fn named(part: &[f64], heads: &Heads) -> String {
    let name = |row: f64| match row as usize / heads.dim {
        head if head < heads.queries => format!("q{head}"),
        head if head < heads.queries + heads.kv => format!("k{}", head - heads.queries),
        head => format!("v{}", head - heads.queries - heads.kv),
    };
    let mut names: Vec<String> = part.iter().map(|row| name(*row)).collect();
    names.dedup();
    names.join(" ")
}

/// What is in a rank's part.
struct Part {
    rows: usize,
    names: String,
}

fn parts(heads: &Heads, n: usize) -> Vec<Part> {
    ranks(n, "cut", |group| {
        let all: Vec<f64> = (0..heads.rows()).map(|row| row as f64).collect();
        let fused = Tensor::from_vec(all, (heads.rows(), 1), &Device::Cpu)?;
        let part = elements(&cut(&fused, heads, &group)?)?;
        Result::Ok(Part { rows: part.len(), names: named(&part, heads) })
    })
}

/// What all ranks' heads mix, side by side, `[batch, seq, queries · dim]`, of a model
/// that was stored as `fused`.
fn mixed(fused: &Tensor, heads: &Heads, n: usize) -> Vec<f64> {
    let all = ranks(n, "cut and mix", |group| {
        let part = cut(fused, heads, &group)?;
        mix(&tensor(&[2, 5, HIDDEN], 2)?, &part, heads, &group)
    });
    elements(&Tensor::cat(&all, 2).unwrap()).unwrap()
}

/// The same of one rank that holds it whole, without anything of the answer.
fn alone(fused: &Tensor, heads: &Heads) -> Result<Vec<f64>> {
    let x = tensor(&[2, 5, HIDDEN], 2)?;
    let qkv = x.broadcast_matmul(&fused.t()?)?;
    elements(&ops::attention(&qkv, heads.queries, heads.kv, None)?)
}

#[test]
fn the_heads_of_all_ranks_mix_what_those_of_one_do() {
    for (queries, kv, n) in CASES {
        let heads = heads(queries, kv);
        let fused = tensor(&[heads.rows(), HIDDEN], 1).unwrap();
        for (rank, part) in parts(&heads, n).iter().enumerate() {
            assert!(
                part.rows == heads.rows() / n,
                "{}: the part of rank {rank} has {}, of {}, expected {} of {}",
                words((queries, kv, n)),
                many(part.rows, "row"),
                part.names,
                heads.rows() / n,
                heads.rows()
            );
        }
        let (got, want) = (mixed(&fused, &heads, n), alone(&fused, &heads).unwrap());
        let apart = distance(&got, &want);
        assert!(
            apart <= 1e-12,
            "{}: what the ranks' heads mix is {apart:.1e} from what one rank's do, \
             expected at most 1e-12. The ranks hold the rows of {}, and `mix` takes \
             the first {} of a rank's rows for queries, the next {} for keys and the \
             last {} for values",
            words((queries, kv, n)),
            parts(&heads, n)
                .iter()
                .map(|part| format!("[{}]", part.names))
                .collect::<Vec<_>>()
                .join(", "),
            queries * heads.dim / n,
            kv * heads.dim / n,
            kv * heads.dim / n
        );
    }
}

#[test]
fn what_is_stored_is_the_matrix_that_was_read() {
    for (queries, kv, n) in CASES {
        let heads = heads(queries, kv);
        let all = ranks(n, "cut and join", |group| {
            let numbers: Vec<f64> = (0..heads.rows()).map(|row| row as f64).collect();
            let fused = Tensor::from_vec(numbers, (heads.rows(), 1), &Device::Cpu)?;
            let part = cut(&fused, &heads, &group)?;
            elements(&join(&part, &heads, &group)?)
        });
        for (rank, got) in all.iter().enumerate() {
            let want: Vec<f64> = (0..heads.rows()).map(|row| row as f64).collect();
            assert!(
                *got == want,
                "{}: what rank {rank} would store has {}, the heads {}, expected the \
                 {} that were read, {}",
                words((queries, kv, n)),
                many(got.len(), "row"),
                named(got, &heads),
                want.len(),
                named(&want, &heads)
            );
        }
    }
}

#[test]
fn a_model_trained_on_some_ranks_serves_any_other_number() {
    for (queries, kv) in [(4, 4), (8, 4)] {
        let heads = heads(queries, kv);
        let fused = tensor(&[heads.rows(), HIDDEN], 1).unwrap();
        let want = alone(&fused, &heads).unwrap();
        for from in [1, 2, 4] {
            let stored = ranks(from, "cut and join", |group| {
                join(&cut(&fused, &heads, &group)?, &heads, &group)
            });
            for to in [1, 2, 4] {
                let got = mixed(&stored[0], &heads, to);
                let apart = distance(&got, &want);
                assert!(
                    apart <= 1e-12,
                    "{} and {}, stored by {} and read by {}: what the heads mix is \
                     {apart:.1e} from what they should, expected at most 1e-12",
                    many(queries, "query head"),
                    many(kv, "key/value head"),
                    many(from, "rank"),
                    many(to, "rank")
                );
            }
        }
    }
}
