//! # Fill in: the average over the tokens of all ranks
//!
//! The loss of a step is a mean over its target tokens: each counts the same, on
//! whatever rank and in whatever micro-batch it is. But how many there are differs from
//! batch to batch. A target may not count at all: `corpus::IGNORE` stands in its place,
//! where a row is padded or a document ends. And ranks may have different numbers of
//! micro-batches.
//!
//! Write a step up to where the optimizer would take over. Every rank calls it with its
//! own `batches`, one or more, each a micro-batch. Afterwards, on every rank,
//!
//! - the main gradients of `params` are those of one rank that has the batches of all
//!   ranks, to a relative $10^{-12}$ in fp64, and the same bits on all ranks;
//! - what was returned is that rank's loss, the mean over all targets that count;
//! - if there is no such target on any rank, loss and gradients are zero.
//!
//! Whatever is in the gradients before is an earlier step's, and does not count.
//!
//! `loss(batch, scale)` runs the model and gives `scale` times the *sum* of the losses
//! of the batch's targets that count, a scalar in f64. What else you need:
//! `Batch::target_count`, `Params::begin_step`, `ops::record`, `Tape::backward`,
//! `Group::all_reduce`. The gradients of `params` lie in the flat buffers
//! `params.flats`: `flat.grads.write::<f64>(0..flat.grads.len())` lends one as a slice.
//!
//! ## Hint
//!
//! Take two ranks, one with 1 target and one with 99. What does the average of their
//! two means give the single target as its weight, and what should it have? A mean is a
//! sum over a number, and both can be summed over ranks. So which number does a rank
//! need to know before it can make a `scale` of it? `Reduce::Average` divides by the
//! number of ranks; has that number any part in the result?
#![allow(unused_variables)]
use candle_core::{Result, Tensor};
use comm::Group;
use corpus::Batch;
use params::Params;

/// Leaves the gradient of the mean loss over all targets of all ranks in `params`, and
/// returns that loss.
///
/// # Errors
/// Those of `loss`, or another rank failed.
pub fn gradients(
    params: &Params,
    batches: &[Batch],
    group: &Group,
    loss: impl Fn(&Batch, f64) -> Result<Tensor>,
) -> Result<f64> {
    todo!("count the targets of all ranks, accumulate, and sum over the ranks")
}
