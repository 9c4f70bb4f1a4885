//! Gradients of the chapter's model on several ranks beside those of one, and copies of
//! its weights after some steps.
use super::{distance, length, many, ranks};
use crate::answer::ex2_norm_gradients::*;
use candle_core::{DType, Result};
use ch06_sequence_parallel::Config;
use ch06_sequence_parallel::config::Switch;
use ch06_sequence_parallel::model::Transformer;
use ch06_sequence_parallel::recompute::Recompute;
use ch06_sequence_parallel::tensor_parallel::TensorParallel;
use comm::{Layout, Mesh, Reduce};
use corpus::{Batch, IGNORE};
use hub::{Family, ModelConfig};
use params::ParamBuilder;

/// Of 4 ranks, each has two tokens.
const SEQ: usize = 8;
const VOCAB: usize = 11;
/// Rows of a step.
const ROWS: usize = 4;

/// Ranks that hold the model together, and how often they hold it.
const LAYOUTS: [(usize, usize); 5] = [(1, 1), (1, 3), (2, 1), (4, 1), (2, 3)];

/// Two layers of 4 heads and 2 key/value heads, which 4 ranks share, with all biases
/// that there can be; a Qwen3 normalizes queries and keys.
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
        o_bias: true,
        mlp_bias: true,
        initializer_range: 0.5,
        max_position_embeddings: SEQ,
        ..ModelConfig::defaults(Family::Llama)
    }
}

/// One of the rows of a step, as a micro-batch.
fn row(number: usize) -> Batch {
    let draw = |at: usize| ((number * 37 + at * at * 5 + at * 3) % VOCAB) as u32;
    let target = |at: usize| if at < 4 + number { draw(at + 1) } else { IGNORE };
    Batch {
        rows: 1,
        seq_len: SEQ,
        tokens: (0..SEQ).map(draw).collect(),
        targets: (0..SEQ).map(target).collect(),
        document_starts: None,
    }
}

/// What a rank has of one parameter after the last step.
struct Held {
    name: String,
    /// Where its elements are in the whole.
    at: Vec<usize>,
    grad: Vec<f64>,
    /// What backward had come to, summed over the replicas of the model.
    before: Vec<f64>,
    values: Vec<f64>,
    /// What the chapter says of it.
    partial: Option<&'static str>,
}

/// How the model is laid out.
#[derive(Clone, Copy)]
struct Case {
    qwen3: bool,
    tp: usize,
    dp: usize,
    sequence: bool,
}

impl Case {
    /// In words.
    fn name(&self) -> String {
        let Case { qwen3, tp, dp, sequence } = self;
        let model = if *qwen3 { "a Qwen3" } else { "a Llama" };
        let sp = if *sequence { "on" } else { "off" };
        format!("{model}, --tp {tp} --dp {dp} --sp {sp}")
    }
}

type Finish = fn(&mut [(String, Vec<f64>)], &TensorParallel, &Mesh) -> Result<()>;

/// Makes so many steps, by plain gradient descent.
fn steps(case: Case, count: usize, finish: Finish) -> Vec<Vec<Held>> {
    ranks(case.tp * case.dp, "a step's gradients", |world| {
        let layout = Layout { tp: case.tp, ..Layout::default() };
        let (mut mesh, config) = (Mesh::new(world, &layout)?, model(case.qwen3));
        let sequence = if case.sequence { Switch::On } else { Switch::Off };
        let tp = TensorParallel::new(&mut mesh, &config, sequence)?;
        let mut builder = ParamBuilder::new(1, DType::F64);
        let recompute = Recompute::new(&Config::default(), config.num_hidden_layers)?;
        let (seq, dtype) = (SEQ, DType::F64);
        let model =
            Transformer::new(&tp, &config, seq, dtype, &recompute, &mut builder)?;
        let params = builder.build(1)?;
        let targets: usize = (0..ROWS).map(|number| row(number).target_count()).sum();
        let mut held = vec![];
        for _ in 0..count {
            params.begin_step()?;
            for number in (mesh.data().rank()..ROWS).step_by(case.dp) {
                let scale = 1.0 / targets as f64;
                let (loss, tape) = ops::record(|| model.loss(&row(number), scale))?;
                tape.backward(&loss)?;
            }
            for flat in &params.flats {
                let mut grads = flat.grads.write::<f64>(0..flat.grads.len())?;
                mesh.data().all_reduce("gradients", &mut grads, Reduce::Sum)?;
            }
            let named = params
                .iter()
                .map(|param| Ok((param.name().into(), param.grad::<f64>()?.to_vec())));
            let before: Vec<(String, Vec<f64>)> = named.collect::<Result<_>>()?;
            let mut grads = before.clone();
            finish(&mut grads, &tp, &mesh)?;
            held.clear();
            let all = params.iter().zip(before).zip(grads);
            for ((param, (name, before)), (_, grad)) in all {
                let shard = param.shard();
                let n = shard.held_elements();
                let mut values = param.values_mut::<f64>()?;
                values.iter_mut().zip(&grad).for_each(|(x, grad)| *x -= 0.1 * grad);
                held.push(Held {
                    name,
                    at: (0..n).map(|i| shard.global_index(i)).collect(),
                    grad: grad[..n].to_vec(),
                    before: before[..n].to_vec(),
                    values: values[..n].to_vec(),
                    partial: shard.partial,
                });
            }
        }
        anyhow::Ok(held)
    })
}

/// Of one rank's parameters the one that `held` is of, and what `held` is of it.
fn slice(all: &[Held], held: &Held) -> Vec<f64> {
    let whole = all.iter().find(|whole| whole.name == held.name);
    let whole = whole.expect("the same parameters on all ranks");
    held.at.iter().map(|i| whole.grad[*i]).collect()
}

/// What a gradient is, in words, where it is not what it should be.
fn called(held: &Held, want: &[f64], case: Case) -> String {
    let is = |times: f64| {
        let scaled: Vec<f64> = want.iter().map(|x| x * times).collect();
        distance(&held.grad, &scaled) <= 1e-10
    };
    let (tp, dp) = (case.tp as f64, case.dp as f64);
    match held.partial {
        _ if case.dp > 1 && is(dp) => format!(
            "{} times what it should be: it had been summed over the replicas of the \
             model already",
            case.dp
        ),
        None if is(tp) => format!(
            "{} times what it should be: every rank's backward had come to the whole \
             gradient, which stays as it is",
            case.tp
        ),
        Some(_) if is(tp) || is(2.0) => format!(
            "{} times what it should be: the parts were summed, and then that sum was",
            if is(2.0) { 2 } else { case.tp }
        ),
        _ if is(1.0 / tp) => "the average of the ranks' parts, not their sum".into(),
        Some("tp") if distance(&held.grad, &held.before) == 0.0 => {
            if held.name.contains("q_norm") || held.name.contains("k_norm") {
                "what this rank's heads come to, not the sum over all ranks' heads"
                    .into()
            } else {
                "what the tokens of this rank's part of the sequence come to, not the \
                 sum over all ranks' tokens"
                    .into()
            }
        }
        Some(_) if distance(&held.grad, &held.before) == 0.0 => {
            "what this rank's query heads come to, not the sum over the neighbours \
             that share its key/value head"
                .into()
        }
        _ => format!("{:.4} times as long", length(&held.grad) / length(want)),
    }
}

fn cases(sequence: bool) -> Vec<Case> {
    let both = [false, true].into_iter();
    let all = both.flat_map(|qwen3| {
        LAYOUTS.map(move |(tp, dp)| Case { qwen3, tp, dp, sequence })
    });
    all.collect()
}

fn gradients_agree(sequence: bool) {
    for case in cases(sequence) {
        // The whole gradients, as backward leaves them on one rank.
        let one = Case { tp: 1, dp: 1, ..case };
        let alone = steps(one, 1, |_, _, _| Ok(())).remove(0);
        for (rank, all) in steps(case, 1, finish).iter().enumerate() {
            for held in all {
                let want = slice(&alone, held);
                let apart = distance(&held.grad, &want);
                assert!(
                    apart <= 1e-10,
                    "{}: the gradient of {} on rank {rank} is {apart:.1e} from that on \
                     one rank, expected at most 1e-10. It is {}",
                    case.name(),
                    held.name,
                    called(held, &want, case)
                );
            }
        }
    }
}

#[test]
fn gradients_with_the_sequence_cut() {
    gradients_agree(true);
}

#[test]
fn gradients_with_the_sequence_whole() {
    gradients_agree(false);
}

#[test]
fn copies_stay_equal() {
    const STEPS: usize = 3;
    for case in cases(true).into_iter().chain(cases(false)) {
        let all = steps(case, STEPS, finish);
        for (rank, held) in all.iter().enumerate() {
            for held in held {
                let copies = all.iter().flatten();
                let copy =
                    |other: &&Held| other.name == held.name && other.at == held.at;
                let first = copies.into_iter().find(copy).map(|first| &first.values);
                let first = first.unwrap_or(&held.values);
                let bits =
                    |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert!(
                    bits(first) == bits(&held.values),
                    "{}, after {}: {} on rank {rank} and the copy of it on the first \
                     rank that has one are {:.1e} apart, and started equal. Copies \
                     stay equal as long as all ranks step by the same gradient",
                    case.name(),
                    many(STEPS, "step"),
                    held.name,
                    distance(&held.values, first)
                );
            }
        }
    }
}
