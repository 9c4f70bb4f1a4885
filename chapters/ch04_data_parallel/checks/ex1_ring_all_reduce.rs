//! Sums, their bits, and what the ledger says was sent.
use super::{many, ranks};
use crate::answer::ex1_ring_all_reduce::*;
use comm::Span;

/// Lengths that divide, that do not, and that are shorter than the number of ranks.
const LENGTHS: [usize; 11] = [0, 1, 2, 3, 4, 5, 7, 12, 13, 60, 1001];

/// What each rank has afterwards, and the calls that its ledger has.
fn reduced(
    n: usize,
    len: usize,
    data: fn(usize, usize) -> f32,
) -> Vec<(Vec<f32>, Vec<Span>)> {
    ranks(n, &many(len, "element"), |group| {
        let mut own: Vec<f32> = (0..len).map(|at| data(group.rank(), at)).collect();
        group.ledger().keep_spans();
        ring_all_reduce(&group, "gradients", &mut own)?;
        comm::Result::Ok((own, group.ledger().take_spans()))
    })
}

/// A whole number: sums of it are exact, in any order.
fn whole(rank: usize, at: usize) -> f32 {
    ((rank + 1) * 1000 + at * (rank + 2)) as f32
}

/// A number whose sums are rounded, so that their bits show the order.
fn odd(rank: usize, at: usize) -> f32 {
    let size = 10f32.powi(((rank * 7 + at * 3) % 6) as i32 - 3);
    size * ((rank * 31 + at * 17) as f32 * 0.618).sin()
}

#[test]
fn every_rank_has_the_sum() {
    for n in 1..=5 {
        for len in LENGTHS {
            for (rank, (got, _)) in reduced(n, len, whole).iter().enumerate() {
                for (at, got) in got.iter().enumerate() {
                    let parts: Vec<f32> = (0..n).map(|rank| whole(rank, at)).collect();
                    let want: f32 = parts.iter().sum();
                    assert!(
                        *got == want,
                        "{}, {} in chunks of {}: element {at} of rank {rank} is {got}, \
                         expected {want}, the sum of {parts:?}",
                        many(n, "rank"),
                        many(len, "element"),
                        len.div_ceil(n)
                    );
                }
            }
        }
    }
}

#[test]
fn every_rank_has_the_same_bits_summed_once_round_the_ring() {
    for n in 1..=5 {
        for len in LENGTHS {
            let all = reduced(n, len, odd);
            let case = format!("{}, {}", many(n, "rank"), many(len, "element"));
            for at in 0..len {
                let got = all[0].0[at];
                for (rank, (other, _)) in all.iter().enumerate() {
                    assert!(
                        other[at].to_bits() == got.to_bits(),
                        "{case}: element {at} is {got:e} on rank 0 \
                         and {:e} on rank {rank}: each chunk is summed once, and the \
                         sum is copied to all",
                        other[at]
                    );
                }
                // From one rank on, each next one adds its part to what it receives.
                let from = |first: usize| {
                    let parts = (first..first + n).map(|rank| odd(rank % n, at));
                    parts.reduce(|sum, part| sum + part).unwrap_or_default()
                };
                assert!(
                    (0..n).any(|first| from(first).to_bits() == got.to_bits()),
                    "{case}: element {at} is {got:e}; added up from \
                     one rank to the next, it is one of {:?}, as it starts on one rank \
                     or another. Does each rank send to the next, and is what arrives \
                     the sum so far?",
                    (0..n).map(from).collect::<Vec<f32>>()
                );
            }
        }
    }
}

#[test]
fn no_rank_sends_more_than_a_ring_does() {
    for n in 1..=5 {
        for len in LENGTHS {
            for (rank, (_, calls)) in reduced(n, len, whole).iter().enumerate() {
                let who = format!("rank {rank} of {n}, {}", many(len, "element"));
                for Span { operation, family, .. } in calls {
                    assert!(
                        ["send", "recv"].contains(operation),
                        "{who}: the ledger has `{operation}`: build it of `exchange`, \
                         which is booked as `send` and `recv`"
                    );
                    assert!(
                        *family == "gradients",
                        "{who}: booked as `{family}`, expected the caller's family, \
                         `gradients`"
                    );
                }
                let sent = calls.iter().filter(|call| call.operation == "send");
                let sizes: Vec<u64> = sent.map(|call| call.bytes / 4).collect();
                let (messages, chunk) = (2 * (n - 1), len.div_ceil(n));
                assert!(
                    sizes.len() <= messages,
                    "{who}: it sends {}, expected at most 2 (n - 1) = {messages}",
                    many(sizes.len(), "message")
                );
                assert!(
                    sizes.iter().all(|size| *size <= chunk as u64),
                    "{who}: it sends messages of {sizes:?} elements, expected at most \
                     {chunk} in each: a chunk, and as even ones as can be"
                );
            }
        }
    }
}
