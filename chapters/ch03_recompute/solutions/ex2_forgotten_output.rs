//! # Fill in: a segment without its output
//!
//! Whoever comes first runs `body` with a recording and leaves both results in the
//! shared place: the output, for the other operations that ask, and the tape, which the
//! segment's own backward takes out for good. If nobody asked, the segment runs `body`
//! itself. So there is always one second run, the same that a plain segment needs, and
//! forgetting the output costs no computation on top.
//!
//! The gain is that of the output's bytes, from forward until its first user's
//! backward; from then on it lives a little longer than it would have, until the
//! segment's own backward is over. Megatron-LM does the same for norms and activations
//! and calls it `CheckpointWithoutOutput` (`megatron/core/tensor_parallel/random.py`).
//!
//! No cell is borrowed while `body` runs. And no cycle of `Rc` keeps anything alive:
//! the place knows the input and the body, and neither knows the place.
use candle_core::{Result, Tensor};
use ops::{Saved, Tape};
use std::cell::RefCell;
use std::rc::Rc;

/// `body(input)`, of which `input` is kept for backward, and the output is forgotten.
///
/// # Errors
/// Those of `body`.
pub fn segment(
    input: &Tensor,
    body: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    let output = ops::unrecorded(|| body(input))?;
    let again = Rc::new(Again { input: ops::save(input), body, made: None.into() });
    let recall = again.clone();
    ops::forget(&output, move || recall.output());
    ops::note("segment", &output, &[input], move |dy| {
        let (output, tape) = again.take()?;
        Ok(vec![tape.backward_from(&output, dy)?.only()?])
    });
    Ok(output)
}

/// What the operations after the segment and its own backward share.
struct Again<F> {
    input: Saved,
    body: F,
    /// The output and its tape, from the first question until the segment's backward.
    made: RefCell<Option<(Tensor, Tape)>>,
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Again<F> {
    /// Takes what was made out of its place, or makes it.
    fn take(&self) -> Result<(Tensor, Tape)> {
        if let Some(made) = self.made.take() {
            return Ok(made);
        }
        let input = self.input.get()?;
        ops::record(|| (self.body)(&input))
    }
    /// The output; its tape stays, for the segment's backward.
    fn output(&self) -> Result<Tensor> {
        let (output, tape) = self.take()?;
        self.made.replace(Some((output.clone(), tape)));
        Ok(output)
    }
}
