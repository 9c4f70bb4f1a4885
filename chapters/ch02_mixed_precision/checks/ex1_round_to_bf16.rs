//! Every bf16 and what lies around it, against `half` and `params::Element::narrow`.
use crate::answer::ex1_round_to_bf16::*;
use params::{Element, bf16};

/// An f32 by its bits and its value.
fn shown(bits: u32) -> String {
    format!("0x{bits:08x} ({:e})", f32::from_bits(bits))
}

/// A bf16 by its bits and its value.
fn shown_bf16(bits: u16) -> String {
    format!("0x{bits:04x} ({:e})", bf16::from_bits(bits).widen())
}

/// Checks the answer on one number; `why` tells what is special about it.
fn rounds(bits: u32, why: &str) {
    let (got, x) = (round_to_bf16(bits), f32::from_bits(bits));
    let want = bf16::from_f32(x).to_bits();
    assert!(
        want == <bf16 as Element>::narrow(x).to_bits(),
        "half and params::Element::narrow disagree on {}",
        shown(bits)
    );
    let same = if x.is_nan() { bf16::from_bits(got).is_nan() } else { got == want };
    assert!(
        same,
        "{} becomes {}, expected {}: {why}",
        shown(bits),
        shown_bf16(got),
        if x.is_nan() { "a NaN".to_owned() } else { shown_bf16(want) }
    );
}

/// The upper halves of all numbers that are finite.
fn finite() -> impl Iterator<Item = u16> {
    (0..=u16::MAX).filter(|upper| bf16::from_bits(*upper).is_finite())
}

#[test]
fn what_is_a_bf16_already_stays() {
    for upper in finite() {
        rounds((upper as u32) << 16, "its lower half is zero, so it is a bf16 already");
    }
    for infinity in [f32::INFINITY, f32::NEG_INFINITY] {
        rounds(infinity.to_bits(), "infinity stays, with its sign");
    }
}

/// All numbers, subnormal ones included, a little, almost half and more than half of
/// the way to the next.
#[test]
fn the_nearer_of_two_neighbours() {
    for upper in finite() {
        for (lower, why) in [
            (0x0001, "the lower half is almost nothing, so it rounds to the upper"),
            (0x7fff, "the lower half is just below halfway, so it is cut off"),
            (0x8001, "the lower half is just above halfway, so the upper grows by one"),
            (0xffff, "the lower half is almost a whole, so the upper grows by one"),
        ] {
            rounds((upper as u32) << 16 | lower, why);
        }
    }
    // All over the range.
    for bits in (0..50_000u32).map(|i| i.wrapping_mul(0x9e37_79b1)) {
        if !f32::from_bits(bits).is_nan() {
            rounds(bits, "the nearest is asked for, and halfway the even one");
        }
    }
}

#[test]
fn ties_go_to_even() {
    for upper in finite() {
        let why = match upper & 1 {
            0 => "halfway, and the upper half is even, so it stays",
            _ => "halfway, and the upper half is odd, so it grows by one, to even",
        };
        rounds((upper as u32) << 16 | 0x8000, why);
    }
}

#[test]
fn beyond_the_largest_is_infinity() {
    for sign in [0, 1 << 31] {
        let below = "nearer to the largest finite bf16 than to what would come next";
        rounds(sign | 0x7f7f_7fff, below);
        let above = "2^128, which would come next, is as near as the largest finite \
                     bf16 or nearer: infinity, as in f32 itself";
        rounds(sign | 0x7f7f_8000, above);
        rounds(sign | f32::MAX.to_bits(), above);
    }
}

#[test]
fn nan_stays_nan() {
    for sign in [0, 1 << 31] {
        let why = "all that tells it from infinity is in the lower half: set a bit of \
                   the mantissa that stays";
        for mantissa in [0x1, 0x7fff, 0x8000, 0xffff] {
            rounds(sign | 0x7f80_0000 | mantissa, why);
        }
        let why = "a NaN is not rounded: a carry would run through the exponent into \
                   the sign";
        for mantissa in [0x40_0000, 0x7f_8000, 0x7f_ffff] {
            rounds(sign | 0x7f80_0000 | mantissa, why);
        }
    }
}
