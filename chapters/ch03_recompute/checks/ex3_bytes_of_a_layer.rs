//! The count beside the bytes that the chapter's model holds after forward.
use crate::answer::ex3_bytes_of_a_layer::*;
use candle_core::DType;
use ch03_recompute::model::Transformer;
use ch03_recompute::recompute::Recompute;
use ch03_recompute::segment::Keep::{self, All, Ends, Input};
use corpus::Batch;
use hub::{Family, ModelConfig};
use params::ParamBuilder;

const SEQ_LEN: usize = 4;
const LAYERS: usize = 3;

/// Three layers whose sizes are all different; the heads are wider than the model.
fn model(family: Family) -> ModelConfig {
    ModelConfig {
        vocab_size: 32,
        hidden_size: 16,
        intermediate_size: 56,
        num_hidden_layers: LAYERS,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 4,
        ..ModelConfig::defaults(family)
    }
}

/// Each layer for itself, all kept.
fn nothing() -> Recompute {
    Recompute {
        norm: All,
        attention: All,
        swiglu: All,
        segments: vec![(1, All); LAYERS],
    }
}

/// Bytes held after the forward of so many rows.
fn held(model: &ModelConfig, recompute: &Recompute, dtype: DType, rows: usize) -> u64 {
    let mut builder = ParamBuilder::new(1, dtype);
    let model =
        Transformer::new(model, SEQ_LEN, dtype, recompute, &mut builder).unwrap();
    let params = builder.build(1).unwrap();
    params.begin_step().unwrap();
    let tokens: Vec<u32> = (0..(rows * SEQ_LEN) as u32).map(|at| at * 7 % 32).collect();
    let targets = tokens.clone();
    let seq_len = SEQ_LEN;
    let batch = Batch { rows, seq_len, tokens, targets, document_starts: None };
    let live = || memory::account(memory::rank())[memory::Family::Activations].live;
    let before = live();
    let (_loss, _tape) = ops::record(|| model.loss(&batch, 1.0)).unwrap();
    live() - before
}

/// Bytes per token that the layers of the chapter's model hold after forward.
fn measured(model: &ModelConfig, recompute: &Recompute, dtype: DType) -> usize {
    // A thread's first recording also allocates what stays for the others.
    held(model, recompute, dtype, 1);
    // What does not grow with the tokens is the tape's own.
    let per_token = |model: &ModelConfig, recompute: &Recompute| {
        let [one, two] = [1, 2].map(|rows| held(model, recompute, dtype, rows));
        (two - one) as usize / SEQ_LEN
    };
    // What is outside of the layers is what a model without layers holds.
    let empty = ModelConfig { num_hidden_layers: 0, ..model.clone() };
    let none = Recompute { segments: vec![], ..nothing() };
    per_token(model, recompute) - per_token(&empty, &none)
}

/// Compares count and measurement in several types.
fn agrees(name: &str, model: &ModelConfig, recompute: &Recompute, why: &str) {
    let types = [
        (DType::F32, 4, 4),
        (DType::BF16, 2, 4),
        (DType::F16, 2, 4),
        (DType::F64, 8, 8),
    ];
    for (dtype, element, accumulator) in types {
        let got = saved_per_token(model, recompute, element, accumulator);
        let want = measured(model, recompute, dtype);
        let ModelConfig { head_dim: dim, .. } = model;
        assert!(
            got == want,
            "{name}, {dtype:?}, {} layers, {recompute:?}: you count {got} bytes per \
             token, measured {want}: {:+} elements in all. {why} (hidden {}, heads {} \
             and {} of {dim}, intermediate {})",
            model.num_hidden_layers,
            (got as f64 - want as f64) / element as f64,
            model.hidden_size,
            model.num_attention_heads,
            model.num_key_value_heads,
            model.intermediate_size,
        );
    }
}

const FAMILIES: [(&str, Family); 3] = [
    ("a Llama", Family::Llama),
    ("a Qwen 2, with biases", Family::Qwen2),
    ("a Qwen 3, with QK-norm", Family::Qwen3),
];

#[test]
fn without_recomputation() {
    memory::set_rank(50);
    for (name, family) in FAMILIES {
        let why = "Each operation's input, each tensor once, and a log-sum-exp for \
                   each head, which is no element of the model's type.";
        agrees(name, &model(family), &nothing(), why);
        let multi_head = ModelConfig { num_key_value_heads: 6, ..model(family) };
        agrees(name, &multi_head, &nothing(), why);
        let narrow = ModelConfig { head_dim: 2, hidden_size: 40, ..model(family) };
        agrees(name, &narrow, &nothing(), why);
    }
}

#[test]
fn with_some_outputs_computed_again() {
    memory::set_rank(51);
    for (name, family) in FAMILIES {
        for which in 1..8u8 {
            let keep = |bit: u8| if which >> bit & 1 == 1 { Input } else { All };
            let (norm, attention, swiglu) = (keep(0), keep(1), keep(2));
            let recompute = Recompute { norm, attention, swiglu, ..nothing() };
            let why = "A module that is computed again keeps its input and nothing \
                       else, neither its output nor what lies in between.";
            agrees(name, &model(family), &recompute, why);
        }
    }
}

#[test]
fn with_segments_of_layers() {
    memory::set_rank(52);
    let cuts: [&[(usize, Keep)]; 6] = [
        &[(1, Ends), (1, Ends), (1, Ends)],
        &[(2, Ends), (1, Ends)],
        &[(3, Ends)],
        &[(1, Ends), (1, All), (1, All)],
        &[(1, Ends), (1, Ends), (1, All)],
        &[(1, Ends), (2, All)],
    ];
    for (name, family) in FAMILIES {
        for cut in cuts {
            let recompute = Recompute { segments: cut.to_vec(), ..nothing() };
            let why = "A segment that is computed again keeps its input, however many \
                       layers it has; a layer outside of such keeps all it did.";
            agrees(name, &model(family), &recompute, why);
        }
    }
}
