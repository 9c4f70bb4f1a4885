//! # Fill in: backward in halves
//!
//! The stage before waits for the gradient of a stage's input. For the gradients of its
//! weights nobody waits until the optimizer's step. So zero-bubble schedules have
//! backward in two actions (Qi et al. 2023, *Zero bubble pipeline parallelism*):
//!
//! - `I`: a micro-batch's tape is walked back, and the gradient of its input is sent.
//!   Nothing is added to the gradients of the matrices yet;
//! - `W`: the gradients of the matrices are computed, and added to their main
//!   gradients.
//!
//! Write both, for a stage of one chunk. Between the two, a micro-batch may have to
//! wait: other micro-batches come to their `I` and their `W` meanwhile, in any order.
//! Each `W` adds what its own micro-batch gives, and no other's.
//!
//! `ops::put_off` runs a backward without the products for the matrices' gradients and
//! returns them, to be computed later. (The gradients of norms come with that of their
//! input, in `I`.) `tape.backward_from(output, dy)?.only()?` is the whole walk, from
//! the gradient of the chunk's output to that of its one input.
//!
//! The checks let your stage go through real tensors in the order of `zb-h1`, and in
//! others, and look at the main gradients before, while and after you send.
//!
//! ## Hint
//!
//! What does the closure for `put_off` have to return, and what does `put_off` return
//! besides? Where is that until its `W` comes, if another micro-batch has its `I` in
//! between? What should be said to a `W` whose `I` never was, or whose `W` has been?
#![allow(unused_variables)]
use candle_core::{Result, Tensor};
use ops::{Root, Tape};

/// A stage on its way through a step.
#[derive(Default)]
pub struct Stage {
    // Put here what it has to remember.
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
        todo!("the gradient of the input, sent before anything else is computed")
    }
    /// `W` of micro-batch `micro`.
    ///
    /// # Errors
    /// There was no `I` of it, or its `W` has been; or a gradient is in use.
    pub fn weight(&mut self, micro: usize) -> Result<()> {
        todo!("the gradients of the weights")
    }
}
