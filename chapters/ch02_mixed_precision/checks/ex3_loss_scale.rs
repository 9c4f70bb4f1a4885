//! Small cases by hand, and long ones beside the chapter's `LossScale`.
use crate::answer::ex3_loss_scale::*;
use ch02_mixed_precision::config::{Config, Precision};
use ch02_mixed_precision::loss_scale::LossScale;
use params::{Init, Shard};

/// Follows the rule over `steps`, where `x` is an overflow and `.` none, and compares
/// the scale after each with `want`.
fn follow(start: f64, window: u64, steps: &str, want: &[f64], rule: &str) {
    let mut scaler = LossScaler { scale: start, window, good: 0 };
    let mut scales = vec![];
    for (i, step) in steps.chars().enumerate() {
        let (overflow, makes) = (step == 'x', scaler.update(step == 'x'));
        assert!(
            makes != overflow,
            "scale {start}, window {window}, steps {steps} (x: overflow): step {} is \
             {}, expected the other: a step with an overflow is skipped, and no other",
            i + 1,
            if makes { "made" } else { "skipped" }
        );
        scales.push(scaler.scale);
    }
    assert!(
        scales == want,
        "scale {start}, window {window}, steps {steps} (x: overflow): after each, the \
         scale is\n {scales:?}, expected\n {want:?}. {rule}"
    );
}

#[test]
fn it_doubles_after_each_window_without_overflow() {
    let rule = "It doubles with the last step of a window, and then once in each";
    follow(8.0, 3, ".......", &[8.0, 8.0, 16.0, 16.0, 16.0, 32.0, 32.0], rule);
    follow(1.0, 2, ".....", &[1.0, 2.0, 2.0, 4.0, 4.0], rule);
    follow(4.0, 1, "...", &[8.0, 16.0, 32.0], rule);
    follow(4.0, 9, "....", &[4.0; 4], rule);
}

#[test]
fn an_overflow_halves_it_and_starts_the_count_anew() {
    let rule = "An overflow halves it, and the good steps before do not count any more";
    follow(8.0, 3, "x...", &[4.0, 4.0, 4.0, 8.0], rule);
    follow(8.0, 3, "..x...", &[8.0, 8.0, 4.0, 4.0, 4.0, 8.0], rule);
    follow(8.0, 2, ".x.x..", &[8.0, 4.0, 4.0, 2.0, 2.0, 4.0], rule);
    follow(8.0, 1, ".x.", &[16.0, 8.0, 16.0], rule);
}

#[test]
fn it_never_falls_below_one() {
    let rule = "It is never below 1, where an overflow skips the step all the same \
                and starts the count anew";
    follow(4.0, 2, "xxxx..", &[2.0, 1.0, 1.0, 1.0, 1.0, 2.0], rule);
    follow(1.0, 2, ".x..", &[1.0, 1.0, 1.0, 2.0], rule);
}

/// The chapter's, for a run in fp16.
fn reference(scale: f64, window: u64) -> LossScale {
    let config = Config {
        precision: Precision::Fp16,
        initial_loss_scale: Some(scale),
        loss_scale_window: Some(window),
        ..Config::default()
    };
    LossScale::new(&config).unwrap()
}

/// Overflows at random, from one in two steps to one in forty.
#[test]
fn the_chapter_decides_the_same() {
    const STEPS: usize = 200;
    for (seed, above) in [0.0, 0.5, 1.0, 1.5, 2.0].into_iter().enumerate() {
        for window in [1, 2, 3, 7] {
            let shard = Shard::whole(&format!("overflow {window}"), &[STEPS]);
            let draw = Init::Normal(1.0).draw(seed as u64, &shard, 0..STEPS);
            let mut scaler = LossScaler { scale: 64.0, window, good: 0 };
            let mut theirs = reference(64.0, window);
            let mut steps = String::new();
            for x in draw {
                // The chapter's scale has an upper end, which yours need not have.
                let overflow = x > above || theirs.scale() >= 2f64.powi(30);
                steps.push(if overflow { 'x' } else { '.' });
                let makes = scaler.update(overflow);
                if !overflow {
                    theirs.made();
                } else if theirs.overflowed().is_err() {
                    // The chapter's run ends here; this is how it would go on.
                    theirs = reference(1.0, window);
                }
                let (scale, want) = (scaler.scale, theirs.scale());
                assert!(
                    makes != overflow && scale == want,
                    "scale 64, window {window}, steps {steps} (x: overflow): the last \
                     is {}, expected {}, and the scale after it {scale}, expected \
                     {want}",
                    if makes { "made" } else { "skipped" },
                    if overflow { "skipped" } else { "made" }
                );
            }
        }
    }
}
