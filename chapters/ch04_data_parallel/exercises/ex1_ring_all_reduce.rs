//! # Fill in: a ring all-reduce
//!
//! `Group::all_reduce` adds up what all ranks have, and leaves the sum on each. The
//! simplest way to do that without it, everyone's data to everyone, has each of $n$
//! ranks send $n - 1$ times its data. A *ring* (Patarasuk and Yuan 2009) sends less
//! than twice the data, however many ranks there are. Each rank sends to the next one
//! only, and the last to the first.
//!
//! Cut the data into $n$ chunks, the same on all ranks. First comes a reduce-scatter:
//! in each of $n - 1$ rounds a rank sends one chunk to the next rank, and adds what it
//! receives from the one before to its own. Afterwards it has one chunk of the whole
//! sum. Then comes an all-gather: in $n - 1$ more rounds the finished chunks are handed
//! on, until every rank has them all.
//!
//! Write it out of `Group::exchange` and nothing else:
//!
//! - `data` becomes the sum, the same bits on every rank;
//! - it works for any number of ranks, also for one, which sends nothing;
//! - it works for any length: one that $n$ does not divide, one below $n$, zero;
//! - a rank sends at most $2(n - 1)$ messages, to the next rank only, of at most
//!   $\lceil \text{length} / n \rceil$ elements each. An empty message is allowed.
//!
//! ## Hint
//!
//! Write down for three ranks who has which part of which chunk after each round. If
//! rank $r$ starts with chunk $r$, which one does it receive, and so send in the next
//! round? Which one is finished on rank $r$ in the end? Numbers of chunks and ranks go
//! round: `(r + n - 1) % n` is the one before $r$, and `r - 1` is not, for unsigned $r$
//! of 0. The last chunks may be shorter than the others, or empty; what a rank receives
//! is as long as the chunk that it adds it to. `exchange` cannot receive into the slice
//! that it sends from.
#![allow(unused_variables)]
use comm::{Group, Result};

/// `data` becomes the sum of the `data` of all ranks of `group`, booked as `family`.
///
/// # Errors
/// Another rank failed, or has data of another length.
pub fn ring_all_reduce(
    group: &Group,
    family: &'static str,
    data: &mut [f32],
) -> Result<()> {
    todo!("reduce-scatter round the ring, then all-gather round the ring")
}
