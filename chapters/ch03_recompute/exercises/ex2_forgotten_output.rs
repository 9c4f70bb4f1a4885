//! # Fill in: a segment without its output
//!
//! The output of a segment is kept all the same if the next operation saves it: the
//! projection behind a norm saves the norm's output, to compute the gradient of its
//! weight. A norm costs next to nothing, so it could be computed again for that.
//!
//! `ops::forget(&x, recall)` says that, from here on, an operation of this recording
//! that would save `x` keeps `recall` in its place, and calls it in its backward. Write
//! a segment that forgets its output:
//!
//! - in forward `body` runs once, without a recording. Of the segment only its input is
//!   kept for backward, and neither its output nor what lies in between;
//! - in backward `body` runs *once* more, no matter how many operations would have
//!   saved its output: two, one, or none. Which of them asks first is not for you to
//!   know;
//! - the gradient of `input` and what is accumulated in the gradients of `body`'s
//!   parameters are, to the last bit, what they are without a segment;
//! - the input may itself be the forgotten output of another segment, and must stay
//!   forgotten: keep it by `ops::save`, and have it again by `Saved::get`;
//! - once the segment's backward is over, nothing of it is left;
//! - outside of a recording `body` runs once, and nothing is kept. `body`'s errors are
//!   handed on.
//!
//! What else you need: `ops::unrecorded`, `ops::record`, `ops::note`,
//! `Tape::backward_from`, `Gradients::only`; `Rc` and `RefCell`.
//!
//! ## Hint
//!
//! Backward comes by the operations that use the output first, and by the segment
//! last. Whoever comes first has to run `body`, with a recording. What comes out of
//! that, and who will need which part of it? So two closures share one place, which is
//! empty at first. `Rc` is for sharing, `RefCell` for putting something in. A tape can
//! be used up only once: who may take it out of the place for good?
#![allow(unused_variables)]
use candle_core::{Result, Tensor};

/// `body(input)`, of which `input` is kept for backward, and the output is forgotten.
///
/// # Errors
/// Those of `body`.
pub fn segment(
    input: &Tensor,
    body: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    todo!("forget the output, and compute it again only once")
}
