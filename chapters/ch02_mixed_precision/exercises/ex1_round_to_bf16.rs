//! # Fill in: the nearest bf16
//!
//! A bf16 is the upper half of an f32: the same sign bit, the same 8 bits of exponent,
//! and the first 7 of its 23 bits of mantissa. So it reaches as far as fp32 does, with
//! two to three decimal digits. To widen it is to put 16 zeros behind it. To narrow an
//! f32 is to pick the *nearest* bf16:
//!
//! - of the two neighbours the nearer; halfway between them, the one whose last bit is
//!   zero (*ties to even*, so that errors do not all go one way);
//! - infinity beyond the largest finite number, from halfway to the one that would
//!   come next;
//! - an infinity stays what it is, and so do both zeros;
//! - NaN stays NaN, whichever.
//!
//! Do it on the bits. The check compares with the crate `half` and with what the
//! chapter uses, `params::Element::narrow`.
//!
//! ## Hint
//!
//! Read as integers, the bits of positive floats are in the floats' own order, also
//! across powers of two, and after the largest finite number comes infinity. So to
//! round up is to add one to the upper half, and a carry into the exponent is right by
//! itself. What could you add to all 32 bits, so that the carry into the upper half
//! comes exactly when it should? For ties, let it depend on the last bit that stays.
//! Look at NaN first: its lower half may be all that tells it from infinity.
#![allow(unused_variables)]

/// The bits of the bf16 nearest to the f32 with the bits `bits`, ties to even.
pub fn round_to_bf16(bits: u32) -> u16 {
    todo!("the upper half, rounded")
}
