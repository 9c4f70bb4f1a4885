//! # Find the bug: a step with buckets
//!
//! Several ranks make one step. Each goes forward and backward through its
//! micro-batches, which accumulate in its main gradients. In the last one the gradients
//! leave, to be summed over the ranks, bucket by bucket: as soon as backward has
//! completed a bucket (a flat buffer of the model), its sum is started, and backward
//! goes on. In the end each rank should have the gradients of one rank with all the
//! data, and each bucket should have left once.
//!
//! With one rank every gradient is right to the last digit, and so it is with several
//! ranks that have one micro-batch each. With several ranks *and* several micro-batches
//! it is not. Nothing is reported, all ranks have the same gradients to the last bit,
//! and the loss falls.
//!
//! It is wrong in one place. Afterwards, too, the sums of the other buckets are under
//! way while backward goes on.
//!
//! ## Hint
//!
//! Take two ranks and two micro-batches, and one number for each bucket. Write down
//! what both ranks have in each bucket after each line: after the first micro-batch's
//! backward, after the first sum, after the second backward. How often does the first
//! micro-batch's gradient count in the end? Then ask for each bucket when it leaves,
//! and how often.
use candle_core::{Result, Tensor};
use comm::{Group, Pending, Reduce};
use corpus::Batch;
use params::{Params, Write};

/// Starts to sum bucket `number` over the ranks.
fn start(params: &Params, number: usize, group: &Group) -> Result<Pending<Write<f64>>> {
    let grads = &params.flats[number].grads;
    let bucket = grads.write::<f64>(0..grads.len())?;
    Ok(group.start_all_reduce("gradients", bucket, Reduce::Sum)?)
}

/// Leaves in `params`, in fp64, the gradients of `loss` of all batches of all ranks;
/// each rank has one batch or more, and all as many.
///
/// `loss(batch)` is a sum over the batch's targets, divided by the number of all
/// targets of all ranks. It leaves a mark named `i` before the operations of flat
/// buffer `i`, for each but the first.
///
/// # Errors
/// Those of `loss`, or another rank failed.
pub fn step(
    params: &Params,
    batches: &[Batch],
    group: &Group,
    loss: impl Fn(&Batch) -> Result<Tensor>,
) -> Result<()> {
    params.begin_step()?;
    let mut started = vec![];
    for (i, batch) in batches.iter().enumerate() {
        let last = i + 1 == batches.len();
        let (micro_loss, tape) = ops::record(|| loss(batch))?;
        tape.backward_by_marks(&micro_loss, |bucket| {
            // Behind its mark a bucket is complete, if no micro-batch is to come.
            if last {
                started.push(start(params, bucket, group)?);
            }
            Ok(())
        })?;
        // No mark lies before the first bucket: it is complete when backward is over.
        // There is nothing left to do meanwhile, so it is waited for.
        start(params, 0, group)?.wait()?;
    }
    for pending in started {
        pending.wait()?;
    }
    Ok(())
}
