//! A tally of a whole step, and the chapter's model, beside the formula.
use crate::answer::ex5_layers_of_a_segment::*;
use candle_core::DType;
use ch03_recompute::config::{Config, Granularity};
use ch03_recompute::model::Transformer;
use ch03_recompute::recompute::Recompute;
use corpus::Batch;
use hub::{Family, ModelConfig};
use memory::Family::Activations;
use params::ParamBuilder;

/// The peak, by walking through backward.
fn tally(layers: usize, n: usize, input: usize, layer: usize) -> usize {
    let sizes: Vec<usize> =
        (0..layers).step_by(n).map(|start| n.min(layers - start)).collect();
    let mut kept = sizes.len() * input;
    let mut peak = 0;
    for size in sizes.iter().rev() {
        peak = peak.max(kept + size * layer);
        kept -= input;
    }
    peak
}

/// Inputs and layers of several proportions.
const BYTES: [(usize, usize); 6] =
    [(1, 1), (1, 4), (2, 9), (1, 16), (7, 3), (4096, 65_792)];

#[test]
fn the_peak_is_the_tallys() {
    for layers in 1..=40 {
        for n in 1..=layers {
            for (input, layer) in BYTES {
                let got = peak(layers, n, input, layer);
                let want = tally(layers, n, input, layer);
                let last = layers - (layers - 1) / n * n;
                assert!(
                    got == want,
                    "{layers} layers in segments of {n}, the last of {last}, {input} \
                     bytes for an input and {layer} for a layer: your peak is {got}, \
                     by the tally {want}"
                );
            }
        }
    }
}

#[test]
fn the_best_length_is_the_best_of_all() {
    for layers in 1..=100 {
        for (input, layer) in BYTES {
            let got = best(layers, input, layer);
            let tally = |n: usize| tally(layers, n, input, layer);
            let want = (1..=layers).min_by_key(|n| tally(*n)).unwrap();
            let allowed = (1..=layers).contains(&got);
            assert!(
                allowed,
                "{layers} layers: your best length is {got}, expected 1 to {layers}"
            );
            assert!(
                got == want,
                "{layers} layers, {input} bytes for an input and {layer} for a layer: \
                 your best length is {got}, with a peak of {}; {want} has {}. Of equal \
                 ones, the smallest is asked for",
                tally(got),
                tally(want)
            );
        }
    }
}

const SEQ_LEN: usize = 256;
const LAYERS: usize = 10;

/// A model whose layers save little beside their input, so that longer segments pay.
fn model() -> ModelConfig {
    ModelConfig {
        vocab_size: 16,
        hidden_size: 256,
        intermediate_size: 8,
        num_hidden_layers: LAYERS,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 4,
        ..ModelConfig::defaults(Family::Llama)
    }
}

/// The most that is held as activations during backward, in bytes per token.
fn measured(n: usize) -> usize {
    let config = Config {
        recompute: Granularity::Full,
        recompute_layers: Some(n),
        ..Config::default()
    };
    let recompute = Recompute::new(&config, LAYERS).unwrap();
    let mut builder = ParamBuilder::new(1, DType::F32);
    let model =
        Transformer::new(&model(), SEQ_LEN, DType::F32, &recompute, &mut builder)
            .unwrap();
    let params = builder.build(1).unwrap();
    params.begin_step().unwrap();
    let tokens: Vec<u32> = (0..SEQ_LEN as u32).map(|at| at % 16).collect();
    let (rows, seq_len, targets) = (1, SEQ_LEN, tokens.clone());
    let batch = Batch { rows, seq_len, tokens, targets, document_starts: None };
    let (loss, tape) = ops::record(|| model.loss(&batch, 1.0)).unwrap();
    memory::reset_peak(memory::rank());
    tape.backward(&loss).unwrap();
    memory::account(memory::rank())[Activations].peak as usize / SEQ_LEN
}

#[test]
fn the_chapters_model_has_that_peak() {
    memory::set_rank(55);
    let model = model();
    let input = model.hidden_size * 4;
    // One head of queries, keys, values and mixture, its log-sum-exp, and the gate.
    let head = 4 * model.head_dim + 1;
    let layer = 4 * input + 4 * (head + 3 * model.intermediate_size);
    let measured: Vec<usize> = (1..=LAYERS).map(measured).collect();
    for (n, measured) in (1..).zip(&measured) {
        let got = peak(LAYERS, n, input, layer);
        // For a moment a layer also has what it adds to the residual stream, as much
        // as an input; and tensors and notes take some bytes by themselves.
        let more = (*measured as f64 - got as f64) / input as f64;
        assert!(
            (1.0..1.25).contains(&more),
            "{LAYERS} layers of the chapter's model in segments of {n}, {input} bytes \
             per token for an input and {layer} for a layer: your peak is {got}, and \
             {measured} were measured, {more:.2} inputs more; expected between 1 and \
             1.25 inputs more, which is what a layer has in memory for a moment only"
        );
    }
    let got = best(LAYERS, input, layer);
    let want = (1..=LAYERS).min_by_key(|n| measured[n - 1]).unwrap();
    assert!(
        got == want,
        "{LAYERS} layers of the chapter's model: your best length is {got}, and the \
         lowest measured peak is that of {want}: {measured:?} for the lengths from 1 on"
    );
}
