//! What several ranks take together, beside the stream of one.
use super::many;
use crate::answer::ex4_dealing_rows::*;

/// Rows, ranks, and rows of a micro-batch: epochs of whole rounds, of parts of them,
/// and shorter than one.
fn cases() -> Vec<(usize, usize, usize)> {
    let mut all = vec![];
    for rows in [12, 13, 5, 3, 1] {
        for ranks in 1..=5 {
            all.extend((1..=3).map(|micro_batch| (rows, ranks, micro_batch)));
        }
    }
    all
}

/// The case in words.
fn words((rows, ranks, micro_batch): (usize, usize, usize)) -> String {
    let [rows, ranks] = [many(rows, "row"), many(ranks, "rank")];
    format!("{rows}, {ranks} with micro-batches of {micro_batch}")
}

const SEED: u64 = 3;
const EPOCHS: usize = 5;

/// The first epochs of the stream: at each place who takes it, and which row.
fn stream(
    (rows, ranks, micro_batch): (usize, usize, usize),
    seed: u64,
) -> Vec<(usize, usize)> {
    let sampler = |rank| Sampler::new(rows, seed, micro_batch, rank, ranks);
    let mut samplers: Vec<Sampler> = (0..ranks).map(sampler).collect();
    let mut all = vec![];
    while all.len() < EPOCHS * rows {
        for (rank, sampler) in samplers.iter_mut().enumerate() {
            let taken = sampler.next_micro_batch();
            assert!(
                taken.len() == micro_batch,
                "{}: rank {rank} takes {} rows, expected {micro_batch}",
                words((rows, ranks, micro_batch)),
                taken.len()
            );
            all.extend(taken.into_iter().map(|row| (rank, row)));
        }
    }
    all.truncate(EPOCHS * rows);
    all
}

#[test]
fn each_epoch_has_every_row_once() {
    for case in cases() {
        for (epoch, taken) in stream(case, SEED).chunks(case.0).enumerate() {
            for row in 0..case.0 {
                let all = taken.iter().filter(|(_, taken)| *taken == row);
                let by: Vec<usize> = all.map(|(rank, _)| *rank).collect();
                assert!(
                    by.len() == 1,
                    "{}: in epoch {epoch}, the first being 0, row {row} is taken {} by \
                     ranks {by:?}: each row is taken once in an epoch, by one of them",
                    words(case),
                    many(by.len(), "time")
                );
            }
        }
    }
}

#[test]
fn all_ranks_together_take_what_one_would() {
    for case in cases() {
        let (rows, ranks, micro_batch) = case;
        let want = stream((rows, 1, ranks * micro_batch), SEED);
        let got = stream(case, SEED);
        for (place, ((rank, got), (_, want))) in got.iter().zip(&want).enumerate() {
            assert!(
                got == want,
                "{}: at place {place} of the stream, which is in epoch {}, rank {rank} \
                 takes row {got}; one rank with micro-batches of {} takes row {want} \
                 there",
                words(case),
                place / rows,
                ranks * micro_batch
            );
        }
    }
}

#[test]
fn each_epoch_and_each_seed_has_an_order_of_its_own() {
    for ranks in 1..=4 {
        let case = (13, ranks, 2);
        let all = stream(case, SEED);
        let order = |n: usize| all[13 * n..13 * (n + 1)].iter().map(|(_, row)| *row);
        for epoch in 1..EPOCHS {
            for before in 0..epoch {
                assert!(
                    order(epoch).ne(order(before)),
                    "{}: the epochs {before} and {epoch} have the same order",
                    words(case)
                );
            }
        }
        let other = stream(case, SEED + 1);
        let same = all.iter().zip(&other).filter(|(a, b)| a.1 == b.1).count();
        assert!(
            same < all.len() / 2,
            "{}: two seeds give the same row at {same} of {} places",
            words(case),
            all.len()
        );
    }
}
