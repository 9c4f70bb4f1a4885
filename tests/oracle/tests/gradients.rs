//! The model and its backward pass: at each step of our training, at our
//! weights, torch finds the same loss, norm and gradient of every parameter.
//!
//! In fp64 nothing can hide behind rounding. In fp32 and bf16 the absolute bounds are
//! at least three times what was measured (README.md), and each gradient must be about
//! as near to fp64 as torch's is. In bf16 torch has a handicap: it rounds each
//! micro-batch's gradient to bf16 before we add them up, while ours are never rounded.
use ch02_mixed_precision::config::Precision;
use oracle::cases;
use oracle::compare::{Distance, assert_apart, assert_as_near, same_weights};

/// Calls `check` with the distances of each case.
fn each(precision: Precision, check: fn(&[Distance])) {
    for case in cases::all().unwrap() {
        println!("{} in {precision:?}", case.name);
        check(&same_weights(&case, precision).unwrap());
    }
}

#[test]
fn fp64() {
    each(Precision::Fp64, |distances| {
        assert_apart(distances, "loss", 1e-14);
        assert_apart(distances, "norm", 1e-14);
        assert_apart(distances, "gradient", 1e-12);
    });
}

#[test]
fn fp32() {
    each(Precision::Fp32, |distances| {
        assert_apart(distances, "loss", 5e-7);
        assert_apart(distances, "norm", 5e-7);
        assert_apart(distances, "gradient", 5e-5);
        assert_as_near(distances, "loss", 2.0);
        assert_as_near(distances, "norm", 2.0);
        assert_as_near(distances, "gradient", 2.0);
    });
}

#[test]
fn bf16() {
    each(Precision::Bf16, |distances| {
        assert_apart(distances, "loss", 5e-4);
        assert_apart(distances, "norm", 1e-2);
        // Of a key's bias: its terms all but cancel.
        assert_apart(distances, "gradient", 0.2);
        assert_as_near(distances, "loss", 1.5);
        assert_as_near(distances, "norm", 1.5);
        assert_as_near(distances, "gradient", 1.5);
    });
}
