//! Lookup and output matrix, tied and untied, beside the same with `ops::embedding`.
use crate::answer::ex7_tied_embedding::*;
use candle_core::{DType, Device, Result, Tensor};
use params::{Init, Param, ParamBuilder, Params};

const VOCAB: usize = 9;
const HIDDEN: usize = 4;

type Lookup = fn(&Tensor, &Param) -> Result<Tensor>;

/// The gradients after two micro-batches, or only the first, of a model of an embedding
/// and an output matrix: one parameter of both uses, or two.
fn gradients(lookup: Lookup, tied: bool, micro_batches: usize) -> Vec<Vec<f64>> {
    let mut builder = ParamBuilder::new(1, DType::F64);
    let shape = [VOCAB, HIDDEN];
    let table = builder.add("model.embed_tokens.weight", &shape, Init::Normal(0.3));
    let lm_head = match tied {
        true => table.clone(),
        false => builder.add("lm_head.weight", &shape, Init::Normal(0.3)),
    };
    let params: Params = builder.build(1).unwrap();
    params.begin_step().unwrap();
    // Token 3 occurs twice; tokens 0 and 6 are never looked up.
    let micro = [([3u32, 1, 3, 8], [1, 3, 8, 2]), ([5, 3, 2, 7], [3, 2, 7, 4])];
    for (tokens, targets) in &micro[..micro_batches] {
        let tokens = Tensor::from_slice(&tokens[..], (1, 4), &Device::Cpu).unwrap();
        let forward = || {
            let x = lookup(&tokens, &table)?;
            ops::head_loss(&x, &lm_head, targets, 0.125)
        };
        let (loss, tape) = ops::record(forward).unwrap();
        tape.backward(&loss).unwrap();
    }
    params.iter().map(|param| param.grad::<f64>().unwrap().to_vec()).collect()
}

/// How far `got` is from `want`, relative to its norm.
fn off(got: &[f64], want: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
    difference / norm(&mut want.iter().copied())
}

/// An untied model with one micro-batch: the answer and the op agree on both gradients.
fn a_simple_step_is_right() {
    let (got, want) =
        (gradients(embedding, false, 1), gradients(ops::embedding, false, 1));
    for (name, (got, want)) in
        ["table", "output matrix"].iter().zip(got.iter().zip(&want))
    {
        let off = off(got, want);
        assert!(
            off <= 1e-12,
            "untied, one micro-batch: the gradient of the {name} is off by {off:.1e} \
             of its norm. A token that occurs twice adds to its row twice; a row \
             that no token names is zero"
        );
    }
}

#[test]
fn a_tied_table_has_the_sum_of_both_gradients() {
    a_simple_step_is_right();
    let (got, want) =
        (gradients(embedding, true, 1), gradients(ops::embedding, true, 1));
    let off = off(&got[0], &want[0]);
    // No token looks up row 0, so that all of its gradient is the output matrix's.
    let (row, want_row) = (&got[0][..HIDDEN], &want[0][..HIDDEN]);
    assert!(
        off <= 1e-12,
        "tied: the table's gradient is off by {off:.1e} of its norm. Row 0, which no \
         token looks up but every softmax reads as the output matrix, has {row:.4?}, \
         expected {want_row:.4?}: where is what the output matrix had left there?"
    );
}

#[test]
fn micro_batches_add_up() {
    a_simple_step_is_right();
    let (got, want) =
        (gradients(embedding, false, 2), gradients(ops::embedding, false, 2));
    let off = off(&got[0], &want[0]);
    // Token 1 is looked up in the first micro-batch alone.
    let (row, want_row) = (&got[0][HIDDEN..][..HIDDEN], &want[0][HIDDEN..][..HIDDEN]);
    assert!(
        off <= 1e-12,
        "untied, two micro-batches: the table's gradient is off by {off:.1e} of its \
         norm. Row 1, which only the first looks up, has {row:.4?}, expected \
         {want_row:.4?}: the second must leave it alone"
    );
}
