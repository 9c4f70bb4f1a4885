//! Gradients of weights that are put off.
//!
//! Nobody waits for them until the step of the optimizer, while other ranks may wait
//! for the gradient of an input: [`put_off`] makes backward compute these alone, and
//! hands out the rest for later (Qi et al. 2023, *Zero bubble pipeline parallelism*).
use crate::observe::{Pass, passed};
use candle_core::Result;
use std::cell::RefCell;

type Job = Box<dyn FnOnce() -> Result<()>>;

thread_local! {
    /// What was put off, while [`put_off`] is at work in this thread.
    static JOBS: RefCell<Option<Vec<Job>>> = const { RefCell::new(None) };
}

/// Products that were put off, with what they are of: for each the input of a linear
/// layer and the gradient of its output.
#[must_use = "these gradients are missing until they are computed"]
pub struct WeightGradients(Vec<Job>);

/// Runs `backward`, a walk along a tape, without the gradients of the weights and the
/// biases of linear layers. (Those of norms come with the gradient of their input, and
/// those of the head with the loss.)
///
/// # Errors
/// Those of `backward`.
pub fn put_off<T>(
    backward: impl FnOnce() -> Result<T>,
) -> Result<(T, WeightGradients)> {
    /// Puts back what was there before, even if `backward` panics.
    struct Before(Option<Vec<Job>>);
    impl Drop for Before {
        fn drop(&mut self) {
            JOBS.set(self.0.take());
        }
    }
    let before = Before(JOBS.replace(Some(vec![])));
    let result = backward()?;
    let jobs = JOBS.take().unwrap_or_default();
    drop(before);
    Ok((result, WeightGradients(jobs)))
}

impl WeightGradients {
    /// Computes them, and adds them to the main gradients.
    ///
    /// # Errors
    /// A gradient is in use.
    pub fn compute(self) -> Result<()> {
        let _tag = memory::tag(memory::Family::Scratch);
        // The last layer's first, as backward came by; each frees what it was of.
        for job in self.0 {
            job()?;
            passed("weight gradient", Pass::Backward);
        }
        Ok(())
    }
}

/// Runs `job`, unless it is to be put off.
pub(crate) fn now_or_later(job: impl FnOnce() -> Result<()> + 'static) -> Result<()> {
    let job: Job = Box::new(job);
    let now = JOBS.with_borrow_mut(|jobs| match jobs {
        Some(jobs) => {
            jobs.push(job);
            None
        }
        None => Some(job),
    });
    now.map_or(Ok(()), |job| job())
}
