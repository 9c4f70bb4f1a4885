//! The optimizer: moments, bias correction, weight decay, clipping, the learning
//! rate and bf16's master weights. Both optimizers are fed our gradients for 20 steps;
//! distances are in parts of how far the weights have moved.
use ch02_mixed_precision::config::Precision;
use oracle::adamw::learning_rate;
use oracle::cases;
use oracle::compare::{Distance, assert_apart, assert_as_near, same_gradients};

/// Calls `check` with the distances of each case.
fn each(precision: Precision, check: fn(&[Distance])) {
    for case in cases::all().unwrap() {
        println!("{} in {precision:?}", case.name);
        check(&same_gradients(&case, precision).unwrap());
    }
}

#[test]
fn fp64() {
    each(Precision::Fp64, |distances| assert_apart(distances, "weights", 1e-12));
}

/// After the first step the weights have moved by a part in a thousand and are rounded
/// to 24 bits: most of the distance is that.
#[test]
fn fp32() {
    each(Precision::Fp32, |distances| {
        assert_apart(distances, "weights", 1e-4);
        assert_as_near(distances, "weights", 1.2);
    });
}

/// Masters that differ in their last bit may round to neighbours in bf16, which in a
/// small tensor is much: so only all weights together have a bound, and each must be as
/// near to fp64 as the oracle's.
#[test]
fn bf16() {
    each(Precision::Bf16, |distances| {
        assert_apart(distances, "all weights", 1e-3);
        assert_as_near(distances, "weights", 1.2);
    });
}

#[test]
fn learning_rates_are_the_same() {
    let config = &cases::all().unwrap()[0].config;
    for (steps, warmup) in [(20, 4), (100, 1), (7, 6)] {
        for step in 1..=steps {
            let config = ch02_mixed_precision::Config {
                steps,
                warmup: Some(warmup),
                ..config.clone()
            };
            let theirs = learning_rate(step, steps, warmup, 2e-3);
            let ours = config.lr_at(step, 2e-3);
            assert!(
                (ours / theirs - 1.0).abs() < 1e-14,
                "step {step}: {ours}, {theirs}"
            );
        }
    }
}
