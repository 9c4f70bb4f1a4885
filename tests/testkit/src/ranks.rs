//! Several ranks in one test, of which one may panic.
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::Builder;
use std::time::Duration;

/// How long other ranks that are about to fail too may take to say so.
const GRACE: Duration = Duration::from_millis(500);

/// As much stack as training gives its ranks.
const STACK: usize = 64 << 20;

/// Runs `f(rank)` for each of `n` ranks, each a thread of its own, and returns what
/// they return, in the order of the ranks.
///
/// For a check on several ranks: once one of them has panicked, the call does, although
/// others may wait for it for ever, at a barrier or for a message. The panic repeats
/// what that rank said and names it: `rank 2 of 4 panicked: …`. Often one failure
/// brings about others (a channel is closed, a lock poisoned), and these may even be
/// known first; so all that are known within half a second are listed.
///
/// A rank that is stuck is left behind, with what it holds: there is no way to stop a
/// thread from outside. It ends with the process, which the test harness ends after the
/// last test. For that reason `f` and what it returns may not borrow from the caller.
///
/// Ranks that all wait for each other, with no panic, do hang: only whoever carries
/// their messages could tell.
///
/// # Panics
/// One of the ranks did, or the machine gives no more threads.
#[track_caller]
pub fn ranks<T: Send + 'static>(
    n: usize,
    f: impl Fn(usize) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let f = Arc::new(f);
    let (sender, outcomes) = mpsc::channel();
    for rank in 0..n {
        let (f, sender) = (f.clone(), sender.clone());
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| f(rank)));
            // Nobody listens any more if another rank failed before.
            let _ = sender.send((rank, outcome));
        };
        let thread = Builder::new().name(format!("rank {rank}")).stack_size(STACK);
        if let Err(error) = thread.spawn(run) {
            panic!("no thread for rank {rank} of {n}: {error}");
        }
    }
    let mut results: Vec<Option<T>> = (0..n).map(|_| None).collect();
    let mut failures = vec![];
    for _ in 0..n {
        let outcome = match failures.is_empty() {
            // Not disconnected: this function holds a sender itself.
            true => outcomes.recv().ok(),
            false => outcomes.recv_timeout(GRACE).ok(),
        };
        match outcome {
            Some((rank, Ok(result))) => results[rank] = Some(result),
            Some((rank, Err(panic))) => {
                failures.push(format!("rank {rank} of {n} panicked: {}", said(&*panic)))
            }
            None => break,
        }
    }
    if !failures.is_empty() {
        panic!("{}", failures.join("\n"));
    }
    results.into_iter().flatten().collect()
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let formatted = || panic.downcast_ref::<String>().map(String::as_str);
    literal.or_else(formatted).unwrap_or("(a value that is no text)")
}
