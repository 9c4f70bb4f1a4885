//! # Fill in: a ring all-reduce
//!
//! In round $i$ of the reduce-scatter, rank $r$ sends chunk $r - i$ and receives chunk
//! $r - i - 1$, all numbers modulo $n$. So what it has just added to is what it sends
//! next. The last chunk that it receives is $r - (n - 1) = r + 1$: that one is finished
//! here, and the all-gather starts with it.
//!
//! A chunk has $\lceil \text{length} / n \rceil$ elements; the last ones have what is
//! left, which may be nothing. NCCL does the same with more chunks in flight, so that a
//! link never waits for an addition.
//!
//! Each chunk is summed in another order: chunk $c$ starts on rank $c$ and goes round.
//! In fp32 that gives other bits than the order of the ranks, but all ranks get the
//! same ones, since each chunk is summed once and then copied. Were every rank to add
//! up all data by itself, from its own on, the replicas would drift apart.
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
    let (n, rank, len) = (group.size(), group.rank(), data.len());
    let (next, previous) = ((rank + 1) % n, (rank + n - 1) % n);
    let size = len.div_ceil(n);
    let chunk = |number: usize| {
        let start = number % n * size;
        start.min(len)..(start + size).min(len)
    };
    let mut received = vec![0.0; size];
    for round in 0..n - 1 {
        // `+ n`, so that nothing falls below zero.
        let (to, from) = (chunk(rank + n - round), chunk(rank + n - round - 1));
        let received = &mut received[..from.len()];
        group.exchange(family, &data[to], next, received, previous)?;
        data[from].iter_mut().zip(received).for_each(|(sum, part)| *sum += *part);
    }
    for round in 0..n - 1 {
        let (to, from) = (chunk(rank + n - round + 1), chunk(rank + n - round));
        let received = &mut received[..from.len()];
        group.exchange(family, &data[to], next, received, previous)?;
        data[from].copy_from_slice(received);
    }
    Ok(())
}
