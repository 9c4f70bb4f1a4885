//! # Fill in: a segment
//!
//! The closure holds two things: the input and the body. The outer tape knows forward's
//! output, since that is what the operations after the segment were given; the inner
//! tape knows the one computed again, so backward starts from that, with the gradient
//! that arrived. Parameters need nothing: the operations of the inner tape accumulate
//! in them as those of any tape do, and in the same order.
//!
//! `unrecorded` matters twice. Without it the operations would stand on the outer tape
//! as well as in the segment's note. And `record`, with its tape thrown away, would
//! compute the same but hold everything until the segment's end.
//!
//! Outside of a recording `note` drops the closure, and the input with it, so that no
//! case of its own is needed. Nor is one for segments inside of `body`: the recording
//! that they find in backward is the inner one. Their bodies run three times, though:
//! in forward, when the segment around them runs again, and in their own backward.
use candle_core::{Result, Tensor};

/// `body(input)`, of which `input` is kept for backward and nothing else.
///
/// # Errors
/// Those of `body`.
pub fn segment(
    input: &Tensor,
    body: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    let output = ops::unrecorded(|| body(input))?;
    // A tensor's clone is a handle on the same memory.
    let kept = input.clone();
    ops::note("segment", &output, &[input], move |dy| {
        let (again, tape) = ops::record(|| body(&kept))?;
        Ok(vec![tape.backward_from(&again, dy)?.only()?])
    });
    Ok(output)
}
