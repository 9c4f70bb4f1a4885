//! Each rank computes on its own share of the cores.
//!
//! A rank is a thread. [`own`] gives the calling thread a pool of its own: the caller
//! is worker 0 and `n - 1` threads wait for it. No other rank can put work into that
//! pool or block it, which is what goes wrong when ranks share one (two ranks that wait
//! for each other inside a shared pool wait for ever). A thread that never called
//! [`own`] computes alone.
//!
//! ```
//! let _pool = ops::threads::own(ops::threads::available());
//! let mut squares = vec![0; 1000];
//! let out = ops::threads::Disjoint::new(&mut squares);
//! ops::threads::split(1000, 100, |range| {
//!     // SAFETY: the ranges that `split` hands out do not overlap.
//!     let part = unsafe { out.part(range.clone()) };
//!     part.iter_mut().zip(range).for_each(|(x, i)| *x = i * i);
//! });
//! assert_eq!(squares[31], 961);
//! ```
//!
//! A training step has hundreds of short regions, so entering one must cost little:
//! workers look for the next region a moment before they sleep (see [`pool`]). Regions
//! do not nest: inside one, everything runs on the thread it is on.

mod pool;

use crate::flops::{self, Made};
use pool::Pool;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Mutex;

thread_local! {
    /// The pool this thread owns. Empty while it is in use, so that a nested region
    /// finds none and runs serially.
    static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) };
    /// Threads of `POOL`, also while it is in use; 1 inside a region.
    static COUNT: Cell<usize> = const { Cell::new(1) };
}

/// Cores this process may run on.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// The same, asked of the system once: it costs system calls.
fn available_once() -> usize {
    static ONCE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *ONCE.get_or_init(available)
}

/// Gives the calling thread a pool of `n` threads, itself one of them, until the guard
/// is dropped; then the pool it had before is back. `n` of 0 or 1 means: compute alone.
///
/// In a region the pool's threads book what they allocate to the rank that the caller
/// works for then (`memory::set_rank`).
pub fn own(n: usize) -> Owned {
    let pool = (n > 1).then(|| Pool::new(n));
    let before = POOL.replace(pool);
    let count = COUNT.replace(n.max(1));
    Owned { before, count, _not_send: PhantomData }
}

/// The pool of a thread, see [`own`]. Dropping it ends the pool's threads.
#[must_use = "the pool ends when this is dropped: bind it to a name, `let _pool = …`"]
pub struct Owned {
    before: Option<Pool>,
    count: usize,
    /// A pool belongs to one thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        POOL.set(self.before.take());
        COUNT.set(self.count);
    }
}

/// Threads of the calling rank; 1 inside a region, where nothing more runs in parallel.
pub fn count() -> usize {
    COUNT.get()
}

/// Calls `f` with every number below `tasks`, on the calling rank's threads, in no
/// particular order; returns when all calls have.
///
/// # Panics
/// If a call panics, calls not yet begun are dropped and the panic goes on in the
/// caller.
pub fn run(tasks: usize, f: impl Fn(usize) + Sync) {
    if tasks < 2 || count() == 1 {
        return (0..tasks).for_each(f);
    }
    let Some(mut pool) = POOL.take() else {
        return (0..tasks).for_each(f);
    };
    let threads = COUNT.replace(1);
    // What helpers multiply counts for the caller, and no counter is shared meanwhile
    // by tasks that multiply nothing.
    let made = Mutex::new(Made::default());
    let outcome = pool.run(tasks, &|task| {
        let here = flops::take(|| f(task));
        if here != Made::default() {
            *made.lock().unwrap_or_else(|e| e.into_inner()) += here;
        }
    });
    COUNT.set(threads);
    flops::add(made.into_inner().unwrap_or_else(|e| e.into_inner()));
    POOL.set(Some(pool));
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `f` over `0..n` in pieces of at least `grain` (the last may be smaller), on the
/// calling rank's threads. Pieces are handed out as threads become free, so which
/// thread gets which is left to chance: `f` must compute the same whatever the pieces
/// are.
pub fn split(n: usize, grain: usize, f: impl Fn(Range<usize>) + Sync) {
    if n == 0 {
        return;
    }
    // Several pieces for each thread, so that one that is held up has less to do.
    let piece = n.div_ceil(4 * count()).max(grain).max(1);
    if piece >= n || count() == 1 {
        return f(0..n);
    }
    run(n.div_ceil(piece), |i| f(i * piece..((i + 1) * piece).min(n)));
}

/// A slice that several threads write, each to its own part.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    _slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]`, from which `part` lends disjoint pieces to
// threads: what `T: Send` allows.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Borrows `slice` until the last part is gone.
    pub fn new(slice: &'a mut [T]) -> Disjoint<'a, T> {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), _slice: PhantomData }
    }

    /// One part, to write.
    ///
    /// # Safety
    /// No two parts that are alive at the same time may overlap.
    ///
    /// # Panics
    /// If `range` reaches beyond the slice.
    #[expect(clippy::mut_from_ref, reason = "the caller promises disjoint parts")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?}");
        // SAFETY: inside the slice by the assertion, which is borrowed mutably for 'a;
        // not aliased by the caller's promise.
        unsafe {
            let start = self.start.add(range.start);
            std::slice::from_raw_parts_mut(start, range.end - range.start)
        }
    }
}

#[cfg(test)]
mod tests;
