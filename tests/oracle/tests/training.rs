//! The whole of training: both sides make 20 steps alone, from the same weights,
//! and arrive at the same losses and weights. And our steps here are those of chapter
//! 1's and chapter 2's own `train`, bit for bit, so that what the oracle says of these
//! it says of the chapters.
use ch02_mixed_precision::config::Precision;
use oracle::cases;
use oracle::compare::{
    Distance, Trained, alone, assert_apart, assert_as_near, our_run,
};
use oracle::{Tensors, ours};
use runlog::Step;

/// Calls `check` with the distances of each case.
fn each(precision: Precision, check: fn(&[Distance])) {
    for case in cases::all().unwrap() {
        println!("{} in {precision:?}", case.name);
        check(&alone(&case, precision).unwrap());
    }
}

#[test]
fn fp64() {
    each(Precision::Fp64, |distances| {
        assert_apart(distances, "loss", 1e-13);
        assert_apart(distances, "norm", 1e-13);
        // AdamW divides each gradient by its size, so where one is nearly zero (a key's
        // bias) its rounding moves the weight.
        assert_apart(distances, "weights", 1e-10);
        assert_apart(distances, "all weights", 1e-12);
    });
}

#[test]
fn fp32() {
    each(Precision::Fp32, |distances| {
        assert_apart(distances, "loss", 5e-7);
        assert_apart(distances, "norm", 5e-6);
        assert_apart(distances, "all weights", 2e-4);
    });
}

#[test]
fn bf16() {
    each(Precision::Bf16, |distances| {
        assert_apart(distances, "loss", 1e-3);
        assert_apart(distances, "norm", 1e-2);
        assert_apart(distances, "all weights", 0.1);
        assert_as_near(distances, "loss", 2.0);
        assert_as_near(distances, "all weights", 1.5);
    });
}

#[test]
fn our_steps_are_those_of_the_chapters() {
    for case in cases::all().unwrap() {
        for precision in [Precision::Fp64, Precision::Fp32, Precision::Bf16] {
            let start = case.start().unwrap();
            let chapter_1 = ours::chapter_1(&case, precision, &start).unwrap();
            assert_eq!(chapter_1.is_some(), precision != Precision::Bf16);
            let chapter_2 = ours::chapter_2(&case, precision, &start).unwrap();
            let run = our_run(&case, precision).unwrap();
            for chapter in chapter_1.iter().chain([&chapter_2]) {
                println!("{} in {precision:?}", case.name);
                assert_same(&run, chapter);
            }
        }
    }
}

fn assert_same(run: &Trained, (steps, weights): &(Vec<Step>, Tensors)) {
    let losses: Vec<f64> = steps.iter().map(|step| step.loss).collect();
    let norms: Vec<f64> = steps.iter().map(|step| step.grad_norm).collect();
    assert_eq!(run.losses, losses);
    assert_eq!(run.norms, norms);
    for (name, weight) in weights {
        assert!(run.weights[name].equal(weight), "{name}");
    }
}
