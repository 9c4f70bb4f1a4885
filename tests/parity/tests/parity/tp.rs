//! Tensor and sequence parallelism: every rank has a part of each matrix, and the
//! training is that of one rank.
use params::Params;
use parity::Distance;
use parity::tp::{Case, Chapter, Rank, STEPS, cases};
use std::collections::BTreeMap;

/// The covering set, printed.
fn layouts(chapter: Chapter) -> Vec<Case> {
    let cases = cases(chapter).unwrap();
    println!("{} layouts", cases.len());
    cases.iter().for_each(|case| println!("  {}", case.name));
    cases
}

fn train(case: &Case, precision: &str, steps: u64) -> Vec<Rank> {
    case.train(precision, steps).unwrap_or_else(|e| panic!("{}: {e:#}", case.name))
}

fn to_the_ninth_digit(chapter: Chapter) {
    for case in layouts(chapter) {
        let reference = case.reference(STEPS).unwrap();
        let ranks = train(&case, "fp64", STEPS);
        for (rank, run) in ranks.iter().enumerate() {
            let found = reference.compare(&run.steps, run.val_loss, &run.params);
            let within = found.and_then(|found| found.check(&Distance::all(1e-9)));
            within.unwrap_or_else(|e| panic!("{}: rank {rank}: {e}", case.name));
        }
        let params: Vec<&Params> = ranks.iter().map(|run| &run.params).collect();
        reference.check_ranks(&params).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
}

#[test]
fn fp64_of_chapter_5_is_chapter_1_to_the_ninth_digit() {
    to_the_ninth_digit(Chapter::Five)
}

#[test]
fn fp64_of_chapter_6_is_chapter_1_to_the_ninth_digit() {
    to_the_ninth_digit(Chapter::Six)
}

/// At most `times` as far from fp64 as one rank in the same precision.
fn as_near_as_one_rank(chapter: Chapter, precision: &str, times: f64) {
    for case in layouts(chapter) {
        let reference = case.reference(STEPS).unwrap();
        let distance = |ranks: &[Rank]| {
            let params: Vec<&Params> = ranks.iter().map(|rank| &rank.params).collect();
            let first = &ranks[0];
            reference.compare_all(&first.steps, first.val_loss, &params).unwrap()
        };
        let alone = case.train_alone(precision, STEPS).unwrap();
        let bound = distance(&[alone]).times(times);
        let found = distance(&train(&case, precision, STEPS));
        println!("{}: {found}; bound {bound}", case.name);
        let within = found.check(&bound);
        within.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
}

#[test]
fn fp32_is_as_near_to_fp64_as_one_rank_is() {
    as_near_as_one_rank(Chapter::Five, "fp32", 4.0);
    as_near_as_one_rank(Chapter::Six, "fp32", 4.0);
}

/// Twice would do for data parallelism. Here every rank's term of a sum is rounded to
/// 16 bits before they are added: what one rank adds up in fp32 is rounded once more.
#[test]
fn bf16_and_fp16_stay_in_the_band_of_one_rank() {
    for precision in ["bf16", "fp16"] {
        as_near_as_one_rank(Chapter::Five, precision, 4.0);
        as_near_as_one_rank(Chapter::Six, precision, 4.0);
    }
}

/// What several ranks hold stays the same on them, bit for bit: nothing would bring it
/// together again.
#[test]
fn copies_are_equal_after_fifty_steps() {
    for chapter in [Chapter::Five, Chapter::Six] {
        for case in layouts(chapter).iter().filter(|case| case.tp > 1) {
            let reference = case.reference(1).unwrap();
            for precision in ["fp32", "bf16"] {
                let ranks = train(case, precision, 50);
                let params: Vec<&Params> =
                    ranks.iter().map(|run| &run.params).collect();
                let same = reference.check_ranks(&params);
                same.unwrap_or_else(|e| panic!("{}, {precision}: {e}", case.name));
                let losses = |rank: &Rank| -> Vec<[u64; 2]> {
                    let steps = rank.steps.iter();
                    steps.map(|s| [s.loss.to_bits(), s.grad_norm.to_bits()]).collect()
                };
                let first = losses(&ranks[0]);
                assert!(
                    ranks.iter().all(|rank| losses(rank) == first),
                    "{}",
                    case.name
                );
            }
        }
    }
}

/// Everything that is sent, family by family, and nothing else.
#[test]
fn the_ledger_is_the_closed_form() {
    for chapter in [Chapter::Five, Chapter::Six] {
        for case in layouts(chapter) {
            for (precision, size, acc) in
                [("fp64", 8, 8), ("fp32", 4, 4), ("bf16", 2, 4)]
            {
                for (rank, run) in train(&case, precision, 2).iter().enumerate() {
                    let want = case.predict(2, &run.params, size, acc);
                    let mut got = BTreeMap::new();
                    for line in &run.communication {
                        let key = (line.family, line.group.as_str(), line.operation);
                        got.insert(key, [line.entry.calls, line.entry.bytes]);
                    }
                    assert_eq!(got, want, "{}, {precision}: rank {rank}", case.name);
                }
            }
        }
    }
}
