//! Watching operations go by, for pictures of a step.
use std::cell::RefCell;

/// Which way an operation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// From its inputs to its output.
    Forward,
    /// From the gradient of its output to those of its inputs.
    Backward,
    /// From gradients to a step of the optimizer.
    Update,
}

type Observer = Box<dyn FnMut(&'static str, Pass)>;

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Runs `f`, and calls `observer` after each operation of this thread meanwhile, with
/// its name; an operation that is made again in backward goes forward there. One
/// observer at a time: an inner one hides the outer.
pub fn observe<T>(
    observer: impl FnMut(&'static str, Pass) + 'static,
    f: impl FnOnce() -> T,
) -> T {
    /// Puts back the observer before, even if `f` panics.
    struct Before(Option<Observer>);
    impl Drop for Before {
        fn drop(&mut self) {
            OBSERVER.set(self.0.take());
        }
    }
    let _before = Before(OBSERVER.replace(Some(Box::new(observer))));
    f()
}

/// An operation is over.
pub(crate) fn passed(op: &'static str, pass: Pass) {
    // Not borrowed during the call: what the observer does may pass here again.
    if let Some(mut observer) = OBSERVER.take() {
        observer(op, pass);
        OBSERVER.set(Some(observer));
    }
}
