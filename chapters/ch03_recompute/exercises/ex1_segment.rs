//! # Fill in: a segment
//!
//! A *segment* is a stretch of the model that saves its input alone. In forward it runs
//! without a recording. When backward comes by, it runs again, this time with a
//! recording of its own, and backward goes through that. To whoever records the model
//! it is one operation.
//!
//! Write it, for `body`, a function of operations of `ops` that gives the same whenever
//! it is called:
//!
//! - in forward `body` runs once, and of what it computes only its output is left, for
//!   as long as the caller has a use for it;
//! - in backward `body` runs once more. The gradient of `input` and what is accumulated
//!   in the gradients of `body`'s parameters are, to the last bit, what they are
//!   without a segment;
//! - outside of a recording `body` runs once, and nothing is kept;
//! - `body` may have segments in it, and its errors are handed on.
//!
//! The shapes of `input` and of the output are `body`'s business. What you need:
//! `ops::unrecorded`, `ops::record`, `ops::note`, `Tape::backward_from`,
//! `Gradients::only`.
//!
//! ## Hint
//!
//! `ops::note` is given a closure, which is called, much later, with the gradient of
//! the output. What does it need of today, and so has to hold? There will be two
//! outputs, equal in every bit: forward's, and the one computed again. Which of them
//! does the outer tape know, and which the inner? And with which gradient does the
//! backward of the inner tape start?
#![allow(unused_variables)]
use candle_core::{Result, Tensor};

/// `body(input)`, of which `input` is kept for backward and nothing else.
///
/// # Errors
/// Those of `body`.
pub fn segment(
    input: &Tensor,
    body: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    todo!("run it now, and again in backward")
}
