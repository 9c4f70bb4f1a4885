//! # Fill in: the average over the tokens of all ranks
//!
//! The targets of all micro-batches and ranks are counted first, which costs one
//! all-reduce of 8 bytes. Then every loss is divided by that number as it is made, so
//! that all that is left to do is to add: micro-batches in the main gradients, ranks by
//! an all-reduce. The number of ranks does not occur.
//!
//! Dividing at the end is as right: sum with a `scale` of 1, then multiply the sums by
//! one over the number. That is one more pass over all gradients, and in 16 bits sums
//! would overflow that means would not.
//!
//! `DistributedDataParallel` of PyTorch averages over ranks, and so is right only where
//! all have as many targets. Whoever uses it with padded rows has to multiply the loss
//! by the number of ranks and divide it by the targets of all of them; Hugging Face's
//! Trainer does so with `average_tokens_across_devices`.
use candle_core::{Result, Tensor};
use comm::{Group, Reduce};
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
    let mut targets = [batches.iter().map(|b| b.target_count() as i64).sum::<i64>()];
    group.all_reduce("targets", &mut targets, Reduce::Sum)?;
    let scale = 1.0 / targets[0].max(1) as f64;
    params.begin_step()?;
    let mut sum = [0.0];
    for batch in batches {
        let (micro_loss, tape) = ops::record(|| loss(batch, scale))?;
        tape.backward(&micro_loss)?;
        sum[0] += micro_loss.to_scalar::<f64>()?;
    }
    for flat in &params.flats {
        let mut grads = flat.grads.write::<f64>(0..flat.grads.len())?;
        group.all_reduce("gradients", &mut grads, Reduce::Sum)?;
    }
    group.all_reduce("loss", &mut sum, Reduce::Sum)?;
    Ok(sum[0])
}
