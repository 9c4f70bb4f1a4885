//! Steps of several ranks beside those of one that has all the data.
use super::{Grads, Model, alone, distance, grads, many, ranks, row};
use crate::answer::ex2_average_by_tokens::*;
use corpus::Batch;

/// Runs steps, each with the batches of every rank; what each rank has after the last.
fn steps(when: &str, steps: &[Vec<Vec<Batch>>]) -> Vec<(f64, Grads)> {
    ranks(steps[0].len(), when, |group| {
        let (model, params) = Model::new(false);
        let mut loss = f64::NAN;
        for batches in steps {
            let own = &batches[group.rank()];
            loss = gradients(&params, own, &group, |b, scale| model.loss(b, scale))?;
        }
        candle_core::Result::Ok((loss, grads(&params)?))
    })
}

/// Compares what each rank has after `all` with one rank that has the last step's data.
fn agrees(when: &str, all: &[Vec<Vec<Batch>>], why: &str) {
    let got = steps(when, all);
    let batches = &all[all.len() - 1];
    let (loss, want) = alone(false, &batches.concat());
    let who = many(got.len(), "rank");
    for (rank, (own, grads)) in got.iter().enumerate() {
        for ((name, grad), (_, want)) in grads.iter().zip(&want) {
            let apart = distance(grad, want);
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(
                apart <= 1e-12,
                "{who}, {when}: the gradient of {name} on rank {rank} has the \
                 length {:.6}, that of one rank with all the data {:.6}; they are \
                 {apart:.1e} apart, expected at most 1e-12. {why}",
                length(grad),
                length(want)
            );
            let first = &got[0].1.iter().find(|(other, _)| other == name).unwrap().1;
            assert!(
                grad == first,
                "{who}, {when}: the gradient of {name} has other bits on rank \
                 {rank} than on rank 0"
            );
        }
        assert!(
            (own - loss).abs() <= 1e-12 * loss.max(1.0),
            "{who}, {when}: rank {rank} returns a loss of {own}, expected {loss}, \
             the mean over the targets of all ranks. {why}"
        );
    }
}

/// A batch of each rank in each micro-batch, with so many targets of 8 tokens.
fn deal(counts: &[&[usize]]) -> Vec<Vec<Batch>> {
    let rank = |(rank, counts): (usize, &&[usize])| {
        let micro = |(micro, count): (usize, &usize)| row(rank * 10 + micro, 8, *count);
        counts.iter().enumerate().map(micro).collect()
    };
    counts.iter().enumerate().map(rank).collect()
}

#[test]
fn micro_batches_with_different_numbers_of_targets() {
    let why = "A mean of the micro-batches' means gives more weight to the targets of \
               a micro-batch that has few.";
    agrees("micro-batches of 8 and 1 targets", &[deal(&[&[8, 1]])], why);
    agrees("micro-batches of 3, 5 and 7 targets", &[deal(&[&[3, 5, 7]])], why);
}

#[test]
fn ranks_with_different_numbers_of_targets() {
    let why = "A mean of the ranks' means gives more weight to the targets of a rank \
               that has few; padding is no target.";
    agrees("with 8 and 1 targets", &[deal(&[&[8], &[1]])], why);
    agrees("with 8, 2 and 5 targets", &[deal(&[&[8], &[2], &[5]])], why);
    agrees("with 4 targets each, of 8 tokens", &[deal(&[&[4], &[4]])], why);
}

#[test]
fn both_and_other_numbers_of_micro_batches() {
    let why = "Every target counts one over the number of all of them.";
    agrees("with 8 + 1 and 2 + 3 targets", &[deal(&[&[8, 1], &[2, 3]])], why);
    agrees("with 8 + 1 + 4 and 6 targets", &[deal(&[&[8, 1, 4], &[6]])], why);
    let five: [&[usize]; 5] = [&[1], &[8, 8], &[2, 3, 4], &[7, 1], &[5]];
    agrees("with 1 to 16 targets in 1 to 3 micro-batches", &[deal(&five)], why);
}

#[test]
fn ranks_without_a_target() {
    let why = "A rank without a target takes part, and adds zeros.";
    agrees("of which the first has no target", &[deal(&[&[0], &[5, 0]])], why);
    let why = "Without any target, loss and gradients are zero: see that nothing is \
               divided by zero.";
    agrees("of which none has a target", &[deal(&[&[0], &[0, 0]])], why);
}

#[test]
fn a_second_step_starts_anew() {
    let why = "If a first step is right, the step before still counts in this one.";
    let both = [deal(&[&[8, 1], &[2]]), deal(&[&[1], &[7, 5]])];
    agrees("in the second step", &both, why);
}
