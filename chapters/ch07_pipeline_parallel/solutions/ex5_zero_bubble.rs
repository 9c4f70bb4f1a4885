//! # Fill in: backward in halves
//!
//! Backward of a matrix is two products: $dX = dY\,A$ goes on along the tape, and
//! $dA = dY^\top X$ goes nowhere. `put_off` collects the second ones instead of making
//! them, and the walk reaches the chunk's input after half of the work. By then the
//! gradient is sent.
//!
//! What was put off holds the input of each matrix and the gradient of its output:
//! together about as many bytes as all of the micro-batch's activations. They are
//! freed by `W`, not by `I`, and so a schedule that puts off without bound needs as
//! much memory as GPipe. `zb-h1` makes the `W`s as soon as the stage would hold more
//! than $p$ micro-batches otherwise.
//!
//! Several micro-batches are between their halves at a time. So what was put off is
//! kept by its micro-batch, and removed when it is computed: it is added once.
use candle_core::{Result, Tensor, bail};
use ops::{Root, Tape, WeightGradients};
use std::collections::HashMap;

/// A stage on its way through a step.
#[derive(Default)]
pub struct Stage {
    /// By micro-batch.
    put_off: HashMap<usize, WeightGradients>,
}

impl Stage {
    /// `I` of micro-batch `micro`: forward recorded `tape` and came to `output`, whose
    /// gradient is `dy`. `send` takes the gradient of the input to the stage before.
    ///
    /// # Errors
    /// It cannot be computed, or not be sent.
    pub fn input(
        &mut self,
        micro: usize,
        output: Root,
        tape: Tape,
        dy: Tensor,
        send: impl FnOnce(Tensor) -> Result<()>,
    ) -> Result<()> {
        let walk = || tape.backward_from(output, dy)?.only();
        let (dx, weights) = ops::put_off(walk)?;
        send(dx)?;
        self.put_off.insert(micro, weights);
        Ok(())
    }
    /// `W` of micro-batch `micro`.
    ///
    /// # Errors
    /// There was no `I` of it, or its `W` has been; or a gradient is in use.
    pub fn weight(&mut self, micro: usize) -> Result<()> {
        let Some(weights) = self.put_off.remove(&micro) else {
            bail!("micro-batch {micro}: nothing of it was put off")
        };
        weights.compute()
    }
}
