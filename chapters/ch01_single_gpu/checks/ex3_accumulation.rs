//! Uneven micro-batches through the chapter's decoder, beside all their rows at once.
use crate::answer::ex3_accumulation::*;
use candle_core::DType;
use ch01_single_gpu::model::Transformer;
use corpus::{Batch, IGNORE};
use hub::{Family, ModelConfig};
use params::{ParamBuilder, Params};

const SEQ_LEN: usize = 4;
const VOCAB: u32 = 32;

/// A small decoder in f64; its head is its embedding, so that this accumulates too.
fn model() -> (Transformer, Params) {
    let config = ModelConfig {
        vocab_size: VOCAB as usize,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        tie_word_embeddings: true,
        ..ModelConfig::defaults(Family::Llama)
    };
    let mut builder = ParamBuilder::new(1, DType::F64);
    let model = Transformer::new(&config, SEQ_LEN, DType::F64, &mut builder).unwrap();
    (model, builder.build(1).unwrap())
}

/// Two rows, of which the first `counted` positions have a target.
fn micro_batch(number: u32, counted: usize) -> Batch {
    let len = 2 * SEQ_LEN;
    let token = |at: usize| (number * 11 + at as u32 * 7) % VOCAB;
    let target = |at: usize| if at < counted { token(at + 1) } else { IGNORE };
    Batch {
        rows: 2,
        seq_len: SEQ_LEN,
        tokens: (0..len).map(token).collect(),
        targets: (0..len).map(target).collect(),
        document_starts: None,
    }
}

/// All rows of several batches as one.
fn joined(batches: &[Batch]) -> Batch {
    Batch {
        rows: batches.iter().map(|batch| batch.rows).sum(),
        seq_len: SEQ_LEN,
        tokens: batches.iter().flat_map(|batch| batch.tokens.clone()).collect(),
        targets: batches.iter().flat_map(|batch| batch.targets.clone()).collect(),
        document_starts: None,
    }
}

type Gradients = Vec<(String, Vec<f64>)>;

fn gradients(params: &Params) -> Gradients {
    let grad = |param: &params::Param| match param.grad::<f64>() {
        Ok(grad) => (param.name().to_string(), grad.to_vec()),
        Err(error) => panic!("after the step: {error}. Was `Tape::backward` called?"),
    };
    params.iter().map(grad).collect()
}

/// Mean loss and gradients of the rows of all `batches` as one batch.
fn as_one_batch(
    model: &Transformer,
    params: &Params,
    batches: &[Batch],
) -> (f64, Gradients) {
    let batch = joined(batches);
    let scale = 1.0 / batch.target_count() as f64;
    params.begin_step().unwrap();
    let (loss, tape) = ops::record(|| model.loss(&batch, scale)).unwrap();
    tape.backward(&loss).unwrap();
    (loss.to_scalar().unwrap(), gradients(params))
}

/// The parameter whose gradient is farthest off, and how far relative to its norm; a
/// gradient that is no number is farther off than any.
fn farthest(got: &Gradients, want: &Gradients) -> (String, f64) {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let off = |((name, got), (_, want)): (&(String, _), &(String, _))| {
        let (got, want): (&Vec<f64>, &Vec<f64>) = (got, want);
        let difference = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
        let off = difference / norm(&mut want.iter().copied());
        (name.clone(), if off.is_nan() { f64::INFINITY } else { off })
    };
    let all = got.iter().zip(want).map(off);
    all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// `counts` are the targets of each micro-batch.
fn agrees(counts: &[usize], why: &str) {
    let (model, params) = model();
    let number = |(number, count): (usize, &usize)| micro_batch(number as u32, *count);
    let batches: Vec<Batch> = counts.iter().enumerate().map(number).collect();
    let tokens: usize = counts.iter().sum();
    let (want, want_grads) = as_one_batch(&model, &params, &batches);
    let loss = accumulate(&model, &params, &batches).unwrap();
    let (name, off) = farthest(&gradients(&params), &want_grads);
    assert!(
        off <= 1e-12,
        "micro-batches of {counts:?} tokens: the gradient is not that of one batch of \
         {tokens}: {name} is off by {off:.1e} of its norm. {why}"
    );
    assert!(
        (loss - want).abs() <= 1e-12,
        "micro-batches of {counts:?} tokens: the gradient is right, but the loss is \
         {loss:.9}, and {want:.9} nats per token for one batch of {tokens}"
    );
}

#[test]
fn uneven_micro_batches_are_one_batch() {
    agrees(&[3, 5], "Does a token of the first count as much as one of the second?");
}

#[test]
fn one_micro_batch_is_the_batch() {
    agrees(
        &[6],
        "With one micro-batch there is nothing to weigh: is it the scale, or \
         something that was left from before?",
    );
}

#[test]
fn a_micro_batch_without_targets_counts_for_nothing() {
    agrees(&[4, 0, 7], "One of them has no target: what is it divided by?");
}

#[test]
fn the_step_before_is_forgotten() {
    let (model, params) = model();
    let before = [micro_batch(5, 8), micro_batch(6, 2)];
    accumulate(&model, &params, &before).unwrap();
    // As many tokens in each: weights are another check's business.
    let batches = [micro_batch(1, 4), micro_batch(2, 4)];
    accumulate(&model, &params, &batches).unwrap();
    let got = gradients(&params);
    let (_, want) = as_one_batch(&model, &params, &batches);
    let (name, off) = farthest(&got, &want);
    assert!(
        off <= 1e-12,
        "the second step's gradient is not that of its own tokens: {name} is off by \
         {off:.1e} of its norm. `Params::begin_step`, once a step, forgets the step \
         before"
    );
}
