//! The tape: what was computed, and how to walk back through it.
//!
//! Every operation of this crate works on candle tensors and, while a recording is on,
//! leaves a note of its backward on a tape. [`Tape::backward`] walks the notes in
//! reverse. candle's own backward is not used, for four reasons: at every edge of the
//! graph it fills a tensor with zeros and adds to it, three passes over memory for
//! nothing; it can start only from ones; it keeps every activation until the very end;
//! and its additions of more than 64 Ki elements run in a pool that all ranks of the
//! process share and block each other in. A tape also records operations whose inputs
//! are integers, which candle's graph forgets.
//!
//! The price: an operation of candle's own between two of ours is not recorded. It
//! cannot be missed, though: [`Tape::backward`] refuses a tape on which some result
//! received no gradient, or some gradient found nothing that it belongs to.
use crate::elementwise::sum;
use crate::observe::{Pass, passed};
use candle_core::{DType, Device, Result, Shape, Tensor, TensorId, bail};
use memory::Family;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// From the gradient of an operation's output to those of its inputs, in their order.
type Backward = Box<dyn FnOnce(Tensor) -> Result<Vec<Tensor>>>;

struct Note {
    op: &'static str,
    output: TensorId,
    inputs: Vec<TensorId>,
    backward: Backward,
}

/// The result of a recording, from which backward starts. It need not be kept for that.
#[derive(Clone, Debug)]
pub struct Root {
    id: TensorId,
    shape: Shape,
    dtype: DType,
}

impl From<&Tensor> for Root {
    fn from(x: &Tensor) -> Root {
        Root { id: x.id(), shape: x.shape().clone(), dtype: x.dtype() }
    }
}

impl Root {
    /// The gradient that a scalar has of itself.
    ///
    /// # Errors
    /// It is of a type that has no numbers.
    pub fn ones(&self) -> Result<Tensor> {
        Tensor::ones(&self.shape, self.dtype, &Device::Cpu)
    }
}

/// The operations of one recording, in order.
///
/// It holds what their backward needs, and so decides how long activations live: each
/// is freed as soon as [`Tape::backward`] has used it, and all of them if the tape is
/// dropped.
#[derive(Default)]
pub struct Tape(Vec<Entry>);

enum Entry {
    Note(Note),
    Mark(usize),
}

/// Computes a tensor again.
type Recall = Rc<dyn Fn() -> Result<Tensor>>;

/// A recording that is on.
#[derive(Default)]
struct Recording {
    tape: Tape,
    /// Of the tensors that are not to be kept, how to have them again.
    forgotten: HashMap<TensorId, Recall>,
}

thread_local! {
    /// The recordings that are on in this thread, the innermost last; `None` where
    /// [`unrecorded`] interrupts them.
    static RECORDINGS: RefCell<Vec<Option<Recording>>> =
        const { RefCell::new(vec![]) };
}

/// Runs `f` inside of `recording`, or of none, which ends even if `f` panics.
fn within<T>(
    recording: Option<Recording>,
    f: impl FnOnce() -> Result<T>,
) -> Result<(T, Option<Recording>)> {
    struct Innermost;
    impl Innermost {
        fn take(&self) -> Option<Recording> {
            RECORDINGS.with_borrow_mut(|recordings| recordings.pop()).flatten()
        }
    }
    impl Drop for Innermost {
        fn drop(&mut self) {
            drop(self.take());
        }
    }
    RECORDINGS.with_borrow_mut(|recordings| recordings.push(recording));
    let innermost = Innermost;
    let result = f()?;
    let recording = innermost.take();
    std::mem::forget(innermost);
    Ok((result, recording))
}

/// Runs `forward` and records its operations on a tape of its own.
///
/// Recordings nest: operations belong to the innermost one. Memory that `forward`
/// allocates counts as activations unless it says otherwise.
///
/// # Errors
/// Those of `forward`.
pub fn record<T>(forward: impl FnOnce() -> Result<T>) -> Result<(T, Tape)> {
    let forward = || {
        let _tag = memory::tag(Family::Activations);
        forward()
    };
    let (result, recording) = within(Some(Recording::default()), forward)?;
    Ok((result, recording.unwrap_or_default().tape))
}

/// Runs `forward` without recording its operations: nothing of it is kept.
///
/// # Errors
/// Those of `forward`.
pub fn unrecorded<T>(forward: impl FnOnce() -> Result<T>) -> Result<T> {
    Ok(within(None, forward)?.0)
}

/// Whether a recording is on in this thread.
pub fn recording() -> bool {
    innermost(|_| ()).is_some()
}

/// Lets `f` see the innermost recording, if one is on.
fn innermost<T>(f: impl FnOnce(&mut Recording) -> T) -> Option<T> {
    RECORDINGS.with_borrow_mut(|recordings| recordings.last_mut()?.as_mut().map(f))
}

/// Notes that `output` was computed from `inputs`, and how its gradient goes on to
/// theirs. While no recording is on it leaves no note; observers hear of it all the
/// same.
pub fn note(
    op: &'static str,
    output: &Tensor,
    inputs: &[&Tensor],
    backward: impl FnOnce(Tensor) -> Result<Vec<Tensor>> + 'static,
) {
    innermost(|recording| {
        recording.tape.0.push(Entry::Note(Note {
            op,
            output: output.id(),
            inputs: inputs.iter().map(|input| input.id()).collect(),
            backward: Box::new(backward),
        }))
    });
    passed(op, Pass::Forward);
}

/// Leaves a mark, with a number of the caller's choice, between the operations before
/// and those to come: [`Tape::backward_by_marks`] says when backward passes it.
pub fn mark(number: usize) {
    innermost(|recording| recording.tape.0.push(Entry::Mark(number)));
}

/// What an operation keeps of a tensor for its backward: the tensor, or, if it was
/// [forgotten](forget), how to compute it again.
pub struct Saved(Kept);

enum Kept {
    Tensor(Tensor),
    Recall(Recall),
}

impl Saved {
    /// The tensor.
    ///
    /// # Errors
    /// It cannot be computed again.
    pub fn get(&self) -> Result<Tensor> {
        match &self.0 {
            Kept::Tensor(tensor) => Ok(tensor.clone()),
            Kept::Recall(recall) => recall(),
        }
    }
}

/// Keeps `x` for a backward. Operations keep their inputs by it.
pub fn save(x: &Tensor) -> Saved {
    let recall = innermost(|recording| recording.forgotten.get(&x.id()).cloned());
    Saved(match recall.flatten() {
        Some(recall) => Kept::Recall(recall),
        None => Kept::Tensor(x.clone()),
    })
}

/// From here on, operations of this recording that [`save`] `x` keep `recall` in its
/// place, so that `x` is freed as soon as forward has no more use for it. Those of a
/// recording within this one keep `x` itself.
///
/// Each of their backwards calls it; that it computes only once is its own concern.
pub fn forget(x: &Tensor, recall: impl Fn() -> Result<Tensor> + 'static) {
    innermost(|recording| recording.forgotten.insert(x.id(), Rc::new(recall)));
}

impl Tape {
    /// Backward from the scalar `loss` of a recording that started from tokens: the
    /// gradients of all parameters are accumulated, and none is left over.
    ///
    /// # Errors
    /// As for [`Tape::backward_from`]; or a gradient is left over, because what it is
    /// for was computed by an operation that is not recorded.
    pub fn backward(self, loss: &Tensor) -> Result<()> {
        self.backward_by_marks(loss, |_| Ok(()))
    }
    /// As [`Tape::backward`]; calls `at_mark` with the number of each [`mark`] of
    /// this recording as soon as all that was recorded after it has gone backward.
    ///
    /// # Errors
    /// As for [`Tape::backward`]; or those of `at_mark`.
    pub fn backward_by_marks(
        self,
        loss: &Tensor,
        at_mark: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        self.backward_from_by_marks(loss, loss.ones_like()?, at_mark)?.finish()
    }
    /// Backward from `output`, whose gradient is `grad`: accumulates the gradients of
    /// all parameters on the way, and returns those of the tensors the recording
    /// started from.
    ///
    /// # Errors
    /// A recorded result received no gradient, because it was not used or because an
    /// operation that is not recorded stands between it and `output`; or `grad` is not
    /// of `output`'s shape and type.
    pub fn backward_from(
        self,
        output: impl Into<Root>,
        grad: Tensor,
    ) -> Result<Gradients> {
        self.backward_from_by_marks(output, grad, |_| Ok(()))
    }
    /// As [`Tape::backward_from`], and as [`Tape::backward_by_marks`].
    ///
    /// # Errors
    /// As for both.
    pub fn backward_from_by_marks(
        self,
        output: impl Into<Root>,
        grad: Tensor,
        mut at_mark: impl FnMut(usize) -> Result<()>,
    ) -> Result<Gradients> {
        let Root { id, shape, dtype } = output.into();
        if *grad.shape() != shape || grad.dtype() != dtype {
            bail!(
                "a gradient {:?} {:?} of a result {dtype:?} {shape:?}",
                grad.dtype(),
                grad.shape()
            )
        }
        let _tag = memory::tag(Family::Scratch);
        let mut grads = HashMap::from([(id, grad)]);
        for entry in self.0.into_iter().rev() {
            let note = match entry {
                Entry::Note(note) => note,
                Entry::Mark(number) => {
                    at_mark(number)?;
                    continue;
                }
            };
            let Some(grad) = grads.remove(&note.output) else {
                bail!(
                    "the result of `{}` received no gradient: it was not used, or used \
                     by an operation that is not one of `ops`: only these are recorded",
                    note.op
                )
            };
            let found = (note.backward)(grad)?;
            passed(note.op, Pass::Backward);
            for (input, grad) in note.inputs.into_iter().zip(found) {
                let total = match grads.remove(&input) {
                    Some(other) => sum(&other, &grad)?,
                    None => grad,
                };
                grads.insert(input, total);
            }
        }
        Ok(Gradients(grads))
    }
}

/// The gradients of the tensors that a recording started from.
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of `input`.
    ///
    /// # Errors
    /// `input` was not used in the recording.
    pub fn take(&mut self, input: &Tensor) -> Result<Tensor> {
        match self.0.remove(&input.id()) {
            Some(grad) => Ok(grad),
            None => bail!("no gradient of a {:?}: it was not used", input.shape()),
        }
    }
    /// The gradient of the one tensor that the recording started from.
    ///
    /// # Errors
    /// There is not exactly one.
    pub fn only(self) -> Result<Tensor> {
        let n = self.0.len();
        match self.0.into_values().next() {
            Some(grad) if n == 1 => Ok(grad),
            _ => bail!("the gradient of one tensor was expected, and there are {n}"),
        }
    }
    /// # Errors
    /// A gradient was not taken: what it is for is neither a tensor that the recording
    /// started from nor the result of an operation that is recorded.
    pub fn finish(self) -> Result<()> {
        match self.0.into_values().next() {
            Some(grad) => bail!(
                "a gradient of shape {:?} was left over: what it is for was computed \
                 by an operation that is not one of `ops`, which alone are recorded",
                grad.shape()
            ),
            None => Ok(()),
        }
    }
}
