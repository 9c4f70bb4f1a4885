//! The segment: a stretch of the model that leaves no tape behind, and is run again, on
//! a tape of its own, when backward comes by.
use candle_core::{Result, Tensor};
use ops::{Saved, Tape};
use std::cell::RefCell;
use std::rc::Rc;

/// What stays in memory of a segment between its forward and its backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All that its operations save: nothing is computed again.
    All,
    /// Its input; and its output, for whoever saves that.
    Ends,
    /// Its input alone. The output is computed again as soon as the backward of an
    /// operation that would have saved it asks for it (Megatron-LM calls it a
    /// checkpoint without output).
    Input,
}

/// `body(input)`, of which `keep` is kept for backward.
///
/// `body` must compute the same whenever it is called: it is called again in backward,
/// unless its tape is kept. What it accumulates in the gradients of its parameters is
/// the same in any case.
///
/// # Errors
/// Those of `body`.
pub fn segment(
    input: &Tensor,
    keep: Keep,
    body: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    if keep == Keep::All {
        return body(input);
    }
    let output = ops::unrecorded(|| body(input))?;
    let (input_kept, body) = (ops::save(input), Box::new(body));
    let again = Rc::new(Again { input: input_kept, body, recorded: None.into() });
    if keep == Keep::Input {
        let again = again.clone();
        ops::forget(&output, move || again.output());
    }
    ops::note("segment", &output, &[input], move |dy| Ok(vec![again.backward(dy)?]));
    Ok(output)
}

/// A segment whose tape was not kept.
struct Again {
    input: Saved,
    body: Box<dyn Fn(&Tensor) -> Result<Tensor>>,
    /// Its output and its tape, once they have been made again.
    recorded: RefCell<Option<(Tensor, Tape)>>,
}

impl Again {
    fn record(&self) -> Result<(Tensor, Tape)> {
        let input = self.input.get()?;
        ops::record(|| (self.body)(&input))
    }
    /// The output, for the backward of an operation that would have kept it. Whoever
    /// asks first has the body recorded; the tape is there for [`Again::backward`].
    fn output(&self) -> Result<Tensor> {
        let made = self.recorded.take();
        let made = made.map_or_else(|| self.record(), Ok)?;
        let output = made.0.clone();
        self.recorded.replace(Some(made));
        Ok(output)
    }
    /// From the gradient of the output to that of the input.
    fn backward(&self, dy: Tensor) -> Result<Tensor> {
        let (output, tape) = match self.recorded.take() {
            Some(recorded) => recorded,
            None => self.record()?,
        };
        tape.backward_from(&output, dy)?.only()
    }
}
