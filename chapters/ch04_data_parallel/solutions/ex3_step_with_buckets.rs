//! # Find the bug: a step with buckets
//!
//! The first bucket left after every micro-batch. The sum over the ranks stays where
//! the gradients accumulate: after the first micro-batch, each of $n$ ranks holds the
//! sum $S_1$ of all ranks. The second micro-batch adds a rank's own gradient to it, and
//! the next sum over the ranks counts $S_1$ once for each: $n S_1 + S_2$ in place of
//! $S_1 + S_2$. With $m$ micro-batches the first one counts $n^{m-1}$ times. Only with
//! one rank, or one micro-batch, is that 1.
//!
//! Now it leaves once, when all micro-batches are over. To sum after each micro-batch
//! would be right only if the sum were kept elsewhere, and would send $m$ times as
//! much; to divide by something afterwards would be right for no micro-batch but one.
//!
//! The loss would not have told. The wrong gradient points roughly where the right one
//! does, AdamW hardly cares how long it is, and all ranks are wrong alike, so that no
//! comparison between them finds it. PyTorch's `DistributedDataParallel` reduces in
//! every backward unless it is told not to (`no_sync`). That gives the right result,
//! since averages are linear and already equal on all ranks: the average of equal
//! numbers is that number. Sums do not forgive it.
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
    }
    // No mark lies before the first bucket: it is complete when backward is over.
    // There is nothing left to do meanwhile, so it is waited for.
    start(params, 0, group)?.wait()?;
    for pending in started {
        pending.wait()?;
    }
    Ok(())
}
