//! Norms and clipped gradients of the chapter's model on several ranks beside those of
//! one.
use super::{many, ranks};
use crate::answer::ex2_gradient_norm::*;
use candle_core::{DType, Result};
use ch08_zero::Config;
use ch08_zero::config::Switch;
use ch08_zero::model::Transformer;
use ch08_zero::recompute::Recompute;
use ch08_zero::tensor_parallel::TensorParallel;
use comm::{Layout, Mesh, Reduce};
use corpus::Batch;
use hub::{Family, ModelConfig};
use params::{Param, ParamBuilder, Params};
use std::collections::HashMap;
use std::slice;

const SEQ: usize = 6;
const VOCAB: usize = 11;
/// Rows of a step.
const ROWS: usize = 4;
const LAYERS: usize = 2;

/// Ranks that hold the model together, and ranks that see other data. With three of
/// these some parts end in padding.
const LAYOUTS: [(usize, usize); 6] = [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4), (2, 3)];

/// A Llama of which every gradient is whole on every rank that has it: two ranks share
/// no key/value head.
fn model() -> ModelConfig {
    ModelConfig {
        vocab_size: VOCAB,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: LAYERS,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        initializer_range: 0.5,
        max_position_embeddings: SEQ,
        ..ModelConfig::defaults(Family::Llama)
    }
}

/// One of the rows of a step, as a micro-batch.
fn row(number: usize) -> Batch {
    let draw = |at: usize| ((number * 37 + at * at * 5 + at * 3) % VOCAB) as u32;
    Batch {
        rows: 1,
        seq_len: SEQ,
        tokens: (0..SEQ).map(draw).collect(),
        targets: (0..SEQ).map(|at| draw(at + 1)).collect(),
        document_starts: None,
    }
}

/// What a rank has of one parameter's gradient in its part.
struct Held {
    name: String,
    /// Where the elements are in the whole parameter.
    at: Vec<usize>,
    grad: Vec<f64>,
}

/// What a rank has seen of a step.
struct Seen {
    /// What was returned.
    norm: f64,
    held: Vec<Held>,
    /// Sent, and what a reduce-scatter of all gradients sends.
    bytes: [u64; 2],
    /// What wrong ways to the norm come to, and which they are.
    wrong: Vec<(f64, String)>,
}

type Clip = fn(&Params, &Mesh, f64) -> Result<f64>;

/// Makes a step up to the optimizer.
fn step((tp, dp): (usize, usize), max_norm: f64, clip: Clip) -> Vec<Seen> {
    ranks(tp * dp, "a step's gradients", |world| {
        let layout = Layout { tp, ..Layout::default() };
        let (mut mesh, config) = (Mesh::new(world, &layout)?, model());
        let tp = TensorParallel::new(&mut mesh, &config, Switch::Off)?;
        let mut builder = ParamBuilder::new(1, DType::F64).multiple_of(dp);
        let recompute = Recompute::new(&Config::default(), LAYERS)?;
        let (layers, dtype) = (0..LAYERS, DType::F64);
        let model = Transformer::new(
            &tp,
            &config,
            slice::from_ref(&layers),
            &[0],
            SEQ,
            dtype,
            &recompute,
            &mut builder,
        )?;
        let params = builder.build(1)?;
        params.begin_step()?;
        for number in (mesh.data().rank()..ROWS).step_by(dp) {
            let scale = 1.0 / (ROWS * SEQ) as f64;
            let forward = || model.forward(0, None, &row(number), scale, |_| Ok(()));
            let (loss, tape) = ops::record(forward)?;
            tape.backward(&loss)?;
        }
        let before: Vec<Vec<f64>> = params
            .iter()
            .map(|param| Ok(param.grad::<f64>()?.to_vec()))
            .collect::<Result<_>>()?;
        let ledger = mesh.world().ledger().clone();
        ledger.keep_spans();
        let norm = clip(&params, &mesh, max_norm)?;
        let sent = ledger.take_spans().iter().map(|span| span.bytes).sum();
        let elements: usize = params.flats.iter().map(|flat| flat.grads.len()).sum();
        let scattered = (elements / dp * (dp - 1) * size_of::<f64>()) as u64;
        let (held, wrong) = (held(&params, &mesh)?, wrong(&params, &mesh, &before)?);
        anyhow::Ok(Seen { norm, held, bytes: [sent, scattered], wrong })
    })
}

/// What of a parameter lies in this rank's part: places in the parameter.
fn in_part(param: &Param, len: usize, mesh: &Mesh) -> Result<Vec<usize>> {
    let each = len / mesh.data().size();
    let own = mesh.data().rank() * each..(mesh.data().rank() + 1) * each;
    let start = param.range()?.start;
    let held = 0..param.shard().held_elements();
    Ok(held.filter(|i| own.contains(&(start + i))).collect())
}

fn held(params: &Params, mesh: &Mesh) -> Result<Vec<Held>> {
    let mut found = vec![];
    for flat in &params.flats {
        for param in &flat.params {
            let grad = param.grad::<f64>()?;
            let places = in_part(param, flat.grads.len(), mesh)?;
            found.push(Held {
                name: param.name().into(),
                at: places.iter().map(|i| param.shard().global_index(*i)).collect(),
                grad: places.iter().map(|i| grad[*i]).collect(),
            });
        }
    }
    Ok(found)
}

/// The length of what one may take for the gradient, summed over the ranks that one may
/// take for all; `before` is what this rank's backward came to.
fn wrong(
    params: &Params,
    mesh: &Mesh,
    before: &[Vec<f64>],
) -> Result<Vec<(f64, String)>> {
    let kinds = [
        "what lies in each rank's part, each copy once",
        "whole parameters, of which all but the rank's part is from before the sum",
        "what lies in each rank's part, with every copy that ranks of `tp` have",
        "the parameters that lie in one part with all their elements",
        "what each rank's own backward came to",
        "all sums, on each rank that could have them",
    ];
    let mut squares = vec![0.0; kinds.len()];
    let flats = params.flats.iter();
    let all = flats.flat_map(|flat| flat.params.iter().map(|p| (p, flat.grads.len())));
    for ((param, len), before) in all.zip(before) {
        let mut sums = before.clone();
        mesh.data().all_reduce("to compare", &mut sums, Reduce::Sum)?;
        let places = in_part(param, len, mesh)?;
        let square = |x: &[f64], i: &usize| x[*i] * x[*i];
        let all = |x: &[f64]| (0..x.len()).map(|i| square(x, &i)).sum::<f64>();
        let part = |x: &[f64]| places.iter().map(|i| square(x, i)).sum::<f64>();
        squares[2] += part(&sums);
        if !param.shard().counts() {
            continue;
        }
        squares[0] += part(&sums);
        squares[1] += part(&sums) + all(before) - part(before);
        if places.len() == param.shard().held_elements() {
            squares[3] += part(&sums);
        }
        squares[4] += all(before);
        squares[5] += all(&sums);
    }
    let mut found = vec![];
    for (words, group) in [
        ("over all ranks", Some(mesh.world())),
        ("over the ranks that hold the model together", Some(mesh.model())),
        ("over the ranks that see other data", Some(mesh.data())),
        ("on this rank alone", None),
    ] {
        let mut sums = squares.clone();
        if let Some(group) = group {
            group.all_reduce("to compare", &mut sums, Reduce::Sum)?;
        }
        let with_words = |(sum, kind): (f64, &str)| {
            [
                (sum.sqrt(), format!("{kind}, {words}")),
                (sum, format!("{kind}, {words}, without the root")),
            ]
        };
        found.extend(sums.into_iter().zip(kinds).flat_map(with_words));
    }
    Ok(found)
}

/// The whole gradients, as backward leaves them on one rank, and their length.
fn alone() -> (HashMap<String, Vec<f64>>, f64) {
    let held = step((1, 1), 1.0, |_, _, _| Ok(0.0)).remove(0).held;
    let squares: f64 = held.iter().flat_map(|held| &held.grad).map(|x| x * x).sum();
    (held.into_iter().map(|held| (held.name, held.grad)).collect(), squares.sqrt())
}

/// What gradients are clipped to, in lengths of the whole one: that is short enough for
/// the first. (Scaled down, an average is as long as a sum.)
const CLIPS: [f64; 2] = [3.0, 0.3];

#[test]
fn the_norm_is_the_whole_models() {
    let (_, want) = alone();
    let is = |got: f64, want: f64| (got - want).abs() <= 1e-10 * want;
    for (tp, dp) in LAYOUTS {
        for clips in CLIPS {
            let all = step((tp, dp), clips * want, clip);
            for (rank, Seen { norm, wrong, bytes: [sent, scattered], .. }) in
                all.iter().enumerate()
            {
                let called = format!("--tp {tp} --dp {dp}, rank {rank}");
                let way = wrong.iter().find(|(wrong, _)| is(*norm, *wrong));
                assert!(
                    is(*norm, want),
                    "{called}: the norm is {norm:.9}, expected {want:.9}. {}",
                    match way {
                        Some((_, words)) => format!("That is the length of {words}"),
                        None if is(*norm * dp as f64, want) => {
                            "That is the length of the average over the ranks that see \
                             other data, not of the sum"
                                .into()
                        }
                        None if is(*norm, clips * want) => {
                            "That is what it is scaled down to".into()
                        }
                        None => "Each element of the model counts once, on the rank \
                                 that has its sum in its part"
                            .into(),
                    }
                );
                assert!(
                    norm.to_bits() == all[0].norm.to_bits(),
                    "{called}: the norm has other bits than on rank 0"
                );
                // One number takes twice the way round a ring.
                let number = (16 * tp * dp) as u64;
                assert!(
                    *sent <= scattered + number,
                    "{called}: it sends {sent} bytes, and a reduce-scatter of all \
                     gradients takes {scattered}, one number at most {number}: no rank \
                     needs the sums of another's part"
                );
            }
        }
    }
}

#[test]
fn every_part_is_scaled_alike() {
    let (alone, norm) = alone();
    for (tp, dp) in LAYOUTS {
        for clips in CLIPS {
            let factor = (clips * norm / (norm + 1e-6)).min(1.0);
            let all = step((tp, dp), clips * norm, clip);
            for (rank, held) in all.iter().enumerate() {
                for held in &held.held {
                    let whole = &alone[&held.name];
                    let want: Vec<f64> = held.at.iter().map(|i| whole[*i]).collect();
                    let dot = |a: &[f64]| {
                        a.iter().zip(&want).map(|(a, b)| a * b).sum::<f64>()
                    };
                    // By what the sums are multiplied here.
                    let by = dot(&held.grad) / dot(&want);
                    let is = |by: f64| {
                        let mut each = held.grad.iter().zip(&want);
                        each.all(|(got, want)| (got - by * want).abs() <= 1e-10 * norm)
                    };
                    let what = match is(by) {
                        true => format!(
                            "They are the sums times {by:.6}, expected {factor:.6}: \
                             every rank scales by the same factor"
                        ),
                        false => "They are not the sums over all data, by whatever \
                                  factor"
                            .into(),
                    };
                    assert!(
                        is(factor),
                        "--tp {tp} --dp {dp}, {}: of the gradient of {}, rank {rank} \
                         has {} in its part. {what}",
                        match clips < 1.0 {
                            true => "a gradient that is too long",
                            false => "a gradient that is short enough",
                        },
                        held.name,
                        many(want.len(), "element")
                    );
                }
            }
        }
    }
}
