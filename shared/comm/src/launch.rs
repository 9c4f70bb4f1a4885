//! Starts ranks.
use crate::error::Error;
use crate::group::Group;
use crate::threads::Threads;
use crate::world::World;
use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, scope};

/// Deep graphs are walked by recursion in places; 64 MiB, of which only what is touched
/// takes memory.
const STACK: usize = 64 << 20;

/// Runs `f` on so many ranks, each a thread of its own with its group of all, and
/// returns what they return, in the order of the ranks.
///
/// When one rank fails or panics, the others' next calls fail, so that all come to an
/// end.
///
/// # Errors
/// A rank failed: of several, the one that failed first, with its number. Or there are
/// no ranks.
pub fn launch<T: Send, E: Display + Send>(
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    if ranks == 0 {
        return Err(Error::new("0 ranks: expected at least 1"));
    }
    let world = World::new(ranks);
    let run = |rank: usize| {
        memory::set_rank(rank);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let engine = Arc::new(Threads::new(world.clone(), rank));
            let group = Group::world(engine, "world".into(), ranks, rank);
            let group = group.map_err(|error| error.to_string())?;
            f(group).map_err(|error| format!("rank {rank}: {error:#}"))
        }));
        let (outcome, why) = match outcome {
            Ok(Ok(result)) => (Some(result), None),
            Ok(Err(error)) => (None, Some(error)),
            Err(panic) => {
                let why = format!("rank {rank} panicked: {}", said(&*panic));
                // Dropping it could panic again.
                std::mem::forget(panic);
                (None, Some(why))
            }
        };
        world.returned(rank, why.map(Error::new));
        outcome
    };
    let results: Vec<Option<T>> = scope(|scope| {
        let mut threads = vec![];
        for rank in 0..ranks {
            let thread = Builder::new().name(format!("rank {rank}")).stack_size(STACK);
            match thread.spawn_scoped(scope, move || run(rank)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let why = format!("no thread for rank {rank} of {ranks}: {error}");
                    world.returned(rank, Some(Error::new(why)));
                    break;
                }
            }
        }
        // A panic was caught, and is a failure of the world.
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    match world.failure() {
        Some(error) => Err(error),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let formatted = || panic.downcast_ref::<String>().map(String::as_str);
    literal.or_else(formatted).unwrap_or("(a value that is no text)")
}
