//! # Fill in: the nearest bf16
//!
//! The lower half is between 0 and `0xffff`, and `0x8000` is halfway. With `0x7fff`
//! added, everything above halfway carries into the upper half, and halfway itself just
//! does not; with one more where the last bit that stays is 1, halfway carries as well,
//! and so ends at an even number. The exponent lies right above the mantissa, so a
//! carry out of a full mantissa gives the next power of two, and out of the largest
//! finite number infinity.
//!
//! A NaN has all bits of the exponent and any mantissa but zero. Cut off, `0x7f800001`
//! would be infinity; rounded, `0x7fffffff` would be a negative zero. So a NaN is not
//! rounded: one bit of its mantissa is set, the one that makes it quiet.

/// The bits of the bf16 nearest to the f32 with the bits `bits`, ties to even.
pub fn round_to_bf16(bits: u32) -> u16 {
    let upper = (bits >> 16) as u16;
    if f32::from_bits(bits).is_nan() {
        return upper | 0x40;
    }
    let last = bits >> 16 & 1;
    ((bits + 0x7fff + last) >> 16) as u16
}
