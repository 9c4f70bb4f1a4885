//! A step of several ranks beside that of one with all the data, and when buckets
//! leave.
use super::{Grads, Model, alone, distance, grads, many, ranks, row};
use crate::answer::ex3_step_with_buckets::*;
use corpus::Batch;
use ops::Pass;
use params::Buffer;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Of each rank, its micro-batches.
fn deal(n: usize, micro_batches: usize) -> Vec<Vec<Batch>> {
    let batch = |rank, micro| row(rank * 10 + micro, 8, 1 + (rank + 3 * micro) % 8);
    let rank = |rank| (0..micro_batches).map(|micro| batch(rank, micro)).collect();
    (0..n).map(rank).collect()
}

/// What each rank has in the end; how many buckets were under way when backward had
/// come to its end, in each micro-batch; and how many sums were made.
type Seen = (Grads, Vec<usize>, u64);

fn run(n: usize, micro_batches: usize, tied: bool, steps: usize) -> Vec<Seen> {
    let all = deal(n, micro_batches);
    let targets: usize = all.iter().flatten().map(Batch::target_count).sum();
    let when = format!("{} each", many(micro_batches, "micro-batch"));
    ranks(n, &when, |group| {
        let (model, params) = Model::new(tied);
        let own = &all[group.rank()];
        let seen = Rc::new(RefCell::new(vec![]));
        let flats = params.flats.iter();
        let buckets: Vec<_> = flats.map(|flat| flat.grads.clone()).collect();
        let notes = seen.clone();
        let observer = move |op, pass| {
            if (op, pass) == ("embedding", Pass::Backward) {
                // What is under way is lent to it, and not to be had.
                let lent = |b: &&Arc<Buffer>| b.read::<f64>(0..b.len()).is_err();
                notes.borrow_mut().push(buckets.iter().filter(lent).count());
            }
        };
        ops::observe(observer, || {
            (0..steps).try_for_each(|_| {
                step(&params, own, &group, |b| model.loss(b, 1.0 / targets as f64))
            })
        })?;
        let calls = group.ledger().family("gradients").calls;
        candle_core::Result::Ok((grads(&params)?, seen.take(), calls))
    })
}

fn agrees(n: usize, micro_batches: usize, tied: bool, steps: usize) {
    let (_, want) = alone(tied, &deal(n, micro_batches).concat());
    let of = if tied { "a tied model" } else { "an untied model" };
    let all = run(n, micro_batches, tied, steps);
    let (who, each) = (many(n, "rank"), many(micro_batches, "micro-batch"));
    for (rank, (got, ..)) in all.iter().enumerate() {
        for ((name, got), (_, want)) in got.iter().zip(&want) {
            let apart = distance(got, want);
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(
                apart <= 1e-12,
                "{who} with {each} each, {of}, step {steps}: the gradient of {name} on \
                 rank {rank} is {:.4} times as long as that of one rank with all the \
                 data, and {apart:.1e} from it, expected at most 1e-12: each \
                 micro-batch of each rank counts once",
                length(got) / length(want)
            );
        }
    }
}

#[test]
fn several_ranks_and_micro_batches_are_one_rank_with_all_the_data() {
    for tied in [false, true] {
        for n in 1..=3 {
            for micro_batches in 1..=3 {
                agrees(n, micro_batches, tied, 1);
            }
        }
    }
}

#[test]
fn a_later_step_does_not_count_the_earlier_ones() {
    agrees(2, 2, false, 3);
    agrees(3, 1, true, 2);
}

#[test]
fn each_bucket_leaves_once() {
    for micro_batches in 1..=3 {
        let each = many(micro_batches, "micro-batch");
        for (rank, (_, _, calls)) in run(2, micro_batches, false, 1).iter().enumerate()
        {
            assert!(
                *calls == 3,
                "2 ranks with {each} each: rank {rank} made \
                 {calls} sums in the family `gradients`, expected 3: each of the 3 \
                 buckets leaves once in a step, when its last gradient has arrived"
            );
        }
    }
}

#[test]
fn buckets_leave_while_backward_goes_on() {
    for micro_batches in 1..=3 {
        let each = many(micro_batches, "micro-batch");
        for (rank, (_, seen, _)) in run(2, micro_batches, false, 1).iter().enumerate() {
            let mut want = vec![0; micro_batches];
            want[micro_batches - 1] = 2;
            assert!(
                *seen == want,
                "2 ranks with {each} each: when rank {rank} has \
                 come to the end of backward, the embedding, {seen:?} buckets are \
                 under way, micro-batch by micro-batch; expected {want:?}: in the last \
                 one those of the layer and of the head, of which nobody has waited \
                 for the sums yet, and in the others none"
            );
        }
    }
}
