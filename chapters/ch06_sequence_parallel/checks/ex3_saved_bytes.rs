//! The count beside the bytes that the chapter's layer holds after forward.
use super::{many, ranks};
use crate::answer::ex3_saved_bytes::*;
use candle_core::{DType, Device, Tensor};
use ch06_sequence_parallel::Config;
use ch06_sequence_parallel::attention::Positions;
use ch06_sequence_parallel::block::Block;
use ch06_sequence_parallel::config::Switch;
use ch06_sequence_parallel::recompute::Recompute;
use ch06_sequence_parallel::tensor_parallel::TensorParallel;
use comm::{Layout, Mesh};
use hub::{Family, ModelConfig};
use memory::Family::Activations;
use ops::Rope;
use params::ParamBuilder;

const SEQ: usize = 16;
/// Sequences.
const ROWS: usize = 3;
const HEADS: usize = 8;

/// Type, and bytes of an element and of a log-sum-exp.
const TYPES: [(DType, usize, usize); 3] =
    [(DType::F32, 4, 4), (DType::BF16, 2, 4), (DType::F64, 8, 8)];

/// A layer whose sizes are all different; the heads are wider than the residual stream.
fn model(family: Family, kv_heads: usize) -> ModelConfig {
    ModelConfig {
        hidden_size: 40,
        intermediate_size: 56,
        num_attention_heads: HEADS,
        num_key_value_heads: kv_heads,
        head_dim: 6,
        max_position_embeddings: SEQ,
        ..ModelConfig::defaults(family)
    }
}

/// Bytes that each rank holds after the forward of one layer, for [`ROWS`] sequences.
/// Memory is booked to accounts from `account` on, which nobody else may use meanwhile.
fn measured(
    model: &ModelConfig,
    n: usize,
    sequence: bool,
    dtype: DType,
    account: usize,
) -> Vec<usize> {
    ranks(n, "forward of a layer", |world| {
        let account = account + world.rank();
        memory::set_rank(account);
        let layout = Layout { tp: n, ..Layout::default() };
        let mut mesh = Mesh::new(world, &layout)?;
        let sequence = if sequence { Switch::On } else { Switch::Off };
        let tp = TensorParallel::new(&mut mesh, model, sequence)?;
        let mut builder = ParamBuilder::new(1, dtype);
        let recompute = Recompute::new(&Config::default(), 1)?;
        let block = Block::new(&tp, model, "model.layers.0", &recompute, &mut builder);
        let params = builder.build(1)?;
        params.begin_step()?;
        let (frequencies, factor) = model.rope.frequencies(model.head_dim, SEQ);
        let rope = Rope::new(&frequencies, factor, 0..SEQ, dtype)?;
        let positions = Positions { rope, document_starts: None };
        let tokens = if tp.sequence { SEQ / n } else { SEQ };
        let held = |rows: usize| {
            let live = || {
                // What a call needs may be freed by another rank, the last one in it.
                mesh.world().barrier("measure")?;
                anyhow::Ok(memory::account(account)[Activations].live)
            };
            let before = live()?;
            let (y, tape) = ops::record(|| {
                let shape = (rows, tokens, model.hidden_size);
                let x = Tensor::ones(shape, dtype, &Device::Cpu)?;
                block.forward(&x, &positions)
            })?;
            // The input of the next layer, which is the one to save it.
            drop(y);
            let held = live()? - before;
            drop(tape);
            anyhow::Ok(held as usize)
        };
        // A thread's first recording also allocates what stays for the others.
        held(1)?;
        // What does not grow with the tokens is the tape's own.
        anyhow::Ok(held(1 + ROWS)? - held(1)?)
    })
}

const FAMILIES: [(&str, Family); 3] = [
    ("a Llama", Family::Llama),
    ("a Qwen 2, with biases", Family::Qwen2),
    ("a Qwen 3, with QK-norm", Family::Qwen3),
];

fn on(sequence: bool) -> &'static str {
    if sequence { "with sequence parallelism" } else { "without sequence parallelism" }
}

/// What a wrong count may have left out or counted too often, if it is so many elements
/// too high per token on one of `n` ranks; a log-sum-exp takes as much as `log_sum`
/// elements.
fn guess(
    model: &ModelConfig,
    n: usize,
    sequence: bool,
    over: f64,
    log_sum: f64,
) -> &'static str {
    let [hidden, dim, kv_heads, ranks] =
        [model.hidden_size, model.head_dim, model.num_key_value_heads, n]
            .map(|n| n as f64);
    let is = |elements: f64| (over - elements).abs() < 1e-6;
    // Of what is divided, what the other ranks have.
    let others = 1.0 - 1.0 / ranks;
    let own = (kv_heads / ranks).max(1.0);
    // Keys and values, projected and rotated.
    let per_head = 2.0 * dim * if model.qk_norm { 2.0 } else { 1.0 };
    let heads = HEADS as f64;
    let qkv = heads / ranks * dim + 2.0 * own * dim;
    match () {
        _ if sequence && is(4.0 * hidden * others) => {
            "A rank's norms see its part of the tokens. "
        }
        _ if sequence && (is(2.0 * hidden) || is(2.0 * hidden * others)) => {
            "Is what was gathered kept, or gathered again? "
        }
        _ if !sequence && is(-4.0 * hidden * others) => {
            "Every rank has all tokens in front of its norms and behind them. "
        }
        _ if is(per_head * (kv_heads - own)) => {
            "A rank has its own key/value heads only. "
        }
        _ if own > kv_heads / ranks
            && (is(-per_head * own) || is(per_head * (kv_heads / ranks - own))) =>
        {
            "A key/value head that ranks share is whole on each. "
        }
        _ if is(-heads / ranks * log_sum) => "There are log-sum-exps. ",
        _ if is(heads * others * log_sum) => {
            "A rank has the log-sum-exps of its own heads. "
        }
        _ if is(heads / ranks * (1.0 - log_sum)) => {
            "A log-sum-exp is not of the elements' type. "
        }
        _ if model.qk_norm && is(-qkv) => {
            "QK-norm saves what it normalizes, besides what attention saves. "
        }
        _ => "",
    }
}

fn agrees(sequence: bool, account: usize) {
    for (name, family) in FAMILIES {
        for kv_heads in [HEADS, 2, 1] {
            let model = model(family, kv_heads);
            // On 2 ranks some wrong counts are as far off as others.
            for n in [1, 4, 2, 8] {
                for (dtype, element, accumulator) in TYPES {
                    let tokens = ROWS * SEQ;
                    let got =
                        saved_bytes(&model, tokens, n, sequence, element, accumulator);
                    let all = measured(&model, n, sequence, dtype, account);
                    for (rank, want) in all.into_iter().enumerate() {
                        let over = got as f64 - want as f64;
                        let each = over / (element * tokens) as f64;
                        let log_sum = accumulator as f64 / element as f64;
                        assert!(
                            got == want,
                            "{name}, {dtype:?}, {tokens} tokens, {}, {}: you count \
                             {got} bytes, rank {rank} holds {want}, {each:+.3} \
                             elements per token. {}(hidden {}, heads {HEADS} and \
                             {kv_heads} of {}, intermediate {})",
                            many(n, "rank"),
                            on(sequence),
                            guess(&model, n, sequence, each, log_sum),
                            model.hidden_size,
                            model.head_dim,
                            model.intermediate_size,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn tensor_parallel() {
    agrees(false, 16);
}

#[test]
fn tensor_and_sequence_parallel() {
    agrees(true, 24);
}

/// Two measurements say both numbers: of 1 and of 2 ranks, which share no key/value
/// head.
#[test]
fn what_is_divided_and_what_is_not() {
    for (name, family) in FAMILIES {
        for kv_heads in [HEADS, 2] {
            let model = model(family, kv_heads);
            for sequence in [false, true] {
                for (dtype, element, accumulator) in TYPES {
                    let got = split(&model, sequence, element, accumulator);
                    let [one, two] = [1, 2].map(|n| {
                        measured(&model, n, sequence, dtype, 32)[0] / (ROWS * SEQ)
                    });
                    let want = Split { whole: 2 * two - one, divided: 2 * (one - two) };
                    assert!(
                        got == want,
                        "{name}, {dtype:?}, {}: you say that {} bytes per token are on \
                         every rank and {} are divided; measured on 1 and 2 ranks: {} \
                         and {} (hidden {}, heads {HEADS} and {kv_heads} of {}, \
                         intermediate {})",
                        on(sequence),
                        got.whole,
                        got.divided,
                        want.whole,
                        want.divided,
                        model.hidden_size,
                        model.head_dim,
                        model.intermediate_size,
                    );
                }
            }
        }
    }
}
