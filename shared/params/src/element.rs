//! The number types parameters and activations are stored in, and what sums them.
use candle_core::WithDType;
use half::{bf16, f16};

/// A storage type: `f64`, `f32`, `bf16` or `f16`.
///
/// Arithmetic happens in [`Element::Acc`]: a sum of many 16-bit numbers kept in 16 bits
/// stalls long before it is right (4096 ones add up to 256 in bf16), so those two
/// accumulate in `f32`.
pub trait Element: WithDType + Default {
    /// What products and sums of this type are held in.
    type Acc: Real;
    /// The same number in the accumulation type, exactly.
    fn widen(self) -> Self::Acc;
    /// The nearest number of the storage type, ties to even.
    fn narrow(x: Self::Acc) -> Self;
}

/// A type that accumulates: `f64` or `f32`. What kernels compute in.
pub trait Real: Element<Acc = Self> + std::ops::Neg<Output = Self> {
    /// The nearest value to `x`.
    fn of(x: f64) -> Self;
    /// This value as `f64`, exactly.
    fn f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `e` to the power of `self`; in `f32` within 2 ulp on [-87.3, 88.7], zero below
    /// -87.33 and infinity above 88.72, written so that loops over it vectorize.
    fn exp(self) -> Self;
}

impl Element for f64 {
    type Acc = f64;
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(x: f64) -> f64 {
        x
    }
}
impl Element for f32 {
    type Acc = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(x: f32) -> f32 {
        x
    }
}
impl Element for bf16 {
    type Acc = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        // The upper half of an f32. `bf16::to_f32` would branch on NaN.
        f32::from_bits((self.to_bits() as u32) << 16)
    }
    #[inline(always)]
    fn narrow(x: f32) -> bf16 {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // A NaN must not round into an infinity: keep its upper half, made quiet.
        let quiet = (bits >> 16) | 0x40;
        let upper = if x.is_nan() { quiet } else { rounded };
        bf16::from_bits(upper as u16)
    }
}
impl Element for f16 {
    type Acc = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn narrow(x: f32) -> f16 {
        f16::from_f32(x)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
}
impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self as f64
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        f32::ln(self)
    }
    /// `2^n · e^r`, `|r| <= ln 2 / 2`, with the polynomial of Cephes' `expf`.
    #[inline(always)]
    fn exp(self) -> f32 {
        // Adding 1.5 · 2^23 rounds to an integer and leaves it in the low mantissa
        // bits.
        const ROUND: f32 = 12_582_912.0;
        // NaN passes through both comparisons; beyond them are infinity and zero.
        let x = if self > 88.72 { f32::INFINITY } else { self };
        let x = if x < -87.33 { f32::NEG_INFINITY } else { x };
        let clamped = if x > 88.72 { 88.72 } else { x };
        let clamped = if clamped < -87.33 { -87.33 } else { clamped };
        let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let mut p = 1.987_569_1e-4_f32;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 0.5;
        let y = p * r * r + r + 1.0;
        // Two factors, so that n = 128 does not overflow the exponent field.
        let half = (shifted.to_bits() as i32 - ROUND.to_bits() as i32) >> 1;
        let rest = (shifted.to_bits() as i32 - ROUND.to_bits() as i32) - half;
        let two = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
        let y = y * two(half) * two(rest);
        let y = if x == f32::INFINITY { x } else { y };
        if x == f32::NEG_INFINITY { 0.0 } else { y }
    }
}

/// Calls a generic function with `T` bound to the type of a candle `DType`.
///
/// `with_float!(dtype, T => expression)`. Another type is an error that the enclosing
/// function returns.
#[macro_export]
macro_rules! with_float {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = $crate::bf16;
                $body
            }
            candle_core::DType::F16 => {
                type $t = $crate::f16;
                $body
            }
            other => Err(candle_core::Error::Msg(format!(
                "expected a float type (f64, f32, bf16 or f16), got {other:?}"
            )))?,
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0_f64;
        let mut x = -87.3_f32;
        while x < 88.7 {
            let want = (x as f64).exp();
            let ulp = f32::EPSILON as f64 * want;
            worst = worst.max((Real::exp(x) as f64 - want).abs() / ulp);
            x += 0.0037;
        }
        assert!(worst < 2.0, "{worst} ulp");
        assert_eq!(Real::exp(0.0_f32), 1.0);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(-100.0_f32), 0.0);
        assert_eq!(Real::exp(100.0_f32), f32::INFINITY);
        assert!(Real::exp(f32::NAN).is_nan());
    }

    #[test]
    fn bf16_converts_as_the_half_crate_does() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let x = f32::from_bits(bits);
            let (ours, theirs) = (<bf16 as Element>::narrow(x), bf16::from_f32(x));
            if x.is_nan() {
                assert!(ours.is_nan());
            } else {
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{x:e}");
            }
            let wide = Element::widen(theirs);
            assert!(wide.to_bits() == theirs.to_f32().to_bits() || wide.is_nan());
        }
    }
}
