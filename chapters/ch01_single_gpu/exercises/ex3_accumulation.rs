//! # Fill in: one step from several micro-batches
//!
//! A step's batch rarely fits in memory at once. So it is cut into micro-batches, and
//! their gradients are added up before the optimizer moves anything. How it is cut must
//! not change the result: loss and gradient are *means over all tokens of the step*, as
//! if all rows had been in one batch. Not every position has a target that counts, so
//! micro-batches of the same shape may have different numbers of tokens.
//!
//! Write the part of a training step that comes before the optimizer: for each
//! micro-batch forward and backward, so that in the end `params` holds the gradient of
//! the step; return the step's loss. What the step before left in the gradients must be
//! gone. A micro-batch may have no target at all.
//!
//! What you need: `Batch::target_count`, `Params::begin_step`, `Transformer::loss` (a
//! sum over the targets times the `scale` that you give it), `ops::record`,
//! `Tape::backward`, which adds to the gradients, and `Tensor::to_scalar::<f64>`.
//!
//! ## Hint
//!
//! Try two micro-batches on paper, one with the losses 1, 1, 1 and one with the loss 5.
//! Over four tokens the mean is 2. The mean of the two means is 3: the one token of the
//! second counts three times as much as each of the first. Which `scale`, known before
//! the first forward, makes all tokens count the same?
#![allow(unused_variables)]
use anyhow::Result;
use ch01_single_gpu::model::Transformer;
use corpus::Batch;
use params::Params;

/// Leaves the gradient of the step in `params` and returns its mean loss, in nats per
/// token; `batches` are the micro-batches of the step. The model is in f64.
///
/// # Errors
/// Those of forward and backward.
pub fn accumulate(
    model: &Transformer,
    params: &Params,
    batches: &[Batch],
) -> Result<f64> {
    todo!("forward and backward of each micro-batch")
}
