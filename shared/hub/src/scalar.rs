//! The element types of weights, in memory and in files, and conversions between them.

use half::{bf16, f16};

/// The element type of a tensor in a safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floating point.
    F32,
    /// bfloat16: f32's exponent with 8 bits of significand.
    BF16,
    /// IEEE half precision.
    F16,
    /// 64-bit floating point.
    F64,
}

impl Dtype {
    /// Bytes per element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::BF16 | Dtype::F16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }

    /// The name in a safetensors header.
    pub fn safetensors_name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::BF16 => "BF16",
            Dtype::F16 => "F16",
            Dtype::F64 => "F64",
        }
    }

    /// The name torch and `config.json` use.
    pub fn torch_name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::BF16 => "bfloat16",
            Dtype::F16 => "float16",
            Dtype::F64 => "float64",
        }
    }

    /// This type for a safetensors one, if weights can be read from it.
    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Dtype> {
        match dtype {
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::BF16 => Some(Dtype::BF16),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::F64 => Some(Dtype::F64),
            _ => None,
        }
    }
}

/// An element type weights can be read into and saved from: f32, f64, bf16 or f16.
///
/// Conversions round once, to nearest, ties to even; a conversion to the same type
/// keeps every bit.
pub trait Scalar: Copy + sealed::Sealed {
    /// This type's name in files.
    const DTYPE: Dtype;
    /// Converts to another of the four.
    fn to<T: Scalar>(self) -> T;
    /// Converts from f32.
    fn from_f32(value: f32) -> Self;
    /// Converts from f64.
    fn from_f64(value: f64) -> Self;
    /// Converts from bf16.
    fn from_bf16(value: bf16) -> Self;
    /// Converts from f16.
    fn from_f16(value: f16) -> Self;
    /// From its little-endian bytes, `DTYPE.bytes()` of them.
    fn from_bytes(bytes: &[u8]) -> Self;
    /// Appends its little-endian bytes.
    fn append(self, bytes: &mut Vec<u8>);
}

mod sealed {
    pub trait Sealed {}
}

/// `Scalar` for one type; `$from` is the constructor through which it reaches another,
/// the closures are how the other three reach it.
macro_rules! scalar {
    (
        $type:ident, $dtype:ident, $from:ident,
        $f32:expr, $f64:expr, $bf16:expr, $f16:expr
    ) => {
        impl sealed::Sealed for $type {}

        impl Scalar for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn to<T: Scalar>(self) -> T {
                T::$from(self)
            }

            fn from_f32(value: f32) -> Self {
                $f32(value)
            }

            fn from_f64(value: f64) -> Self {
                $f64(value)
            }

            fn from_bf16(value: bf16) -> Self {
                $bf16(value)
            }

            fn from_f16(value: f16) -> Self {
                $f16(value)
            }

            fn from_bytes(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(bytes);
                $type::from_le_bytes(array)
            }

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        }
    };
}

scalar!(f32, F32, from_f32, |v| v, |v: f64| v as f32, bf16::to_f32, f16::to_f32);
scalar!(f64, F64, from_f64, |v: f32| v as f64, |v| v, bf16::to_f64, f16::to_f64);
scalar!(bf16, BF16, from_bf16, bf16::from_f32, bf16_of_f64, |v| v, bf16_of_f16);
scalar!(f16, F16, from_f16, f16::from_f32, f16_of_f64, f16_of_bf16, |v| v);

fn bf16_of_f64(value: f64) -> bf16 {
    bf16::from_f32(to_odd(value))
}

fn bf16_of_f16(value: f16) -> bf16 {
    bf16::from_f32(value.to_f32())
}

fn f16_of_f64(value: f64) -> f16 {
    f16::from_f32(to_odd(value))
}

fn f16_of_bf16(value: bf16) -> f16 {
    f16::from_f32(value.to_f32())
}

/// f64 to f32 by rounding to odd, so that rounding on to 16 bits rounds but once (Boldo
/// and Melquiond 2008). half's own `from_f64` drops the lowest 32 bits, ties and all.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if value.is_nan() || nearest as f64 == value {
        return nearest;
    }
    let away = (nearest as f64).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(away)) | 1)
}

/// Converts little-endian elements of `dtype` into `out`; `bytes` holds as many.
pub(crate) fn decode<T: Scalar>(dtype: Dtype, bytes: &[u8], out: &mut [T]) {
    fn each<S: Scalar, T: Scalar>(bytes: &[u8], out: &mut [T]) {
        for (chunk, out) in bytes.chunks_exact(size_of::<S>()).zip(out) {
            *out = S::from_bytes(chunk).to();
        }
    }
    match dtype {
        Dtype::F32 => each::<f32, T>(bytes, out),
        Dtype::F64 => each::<f64, T>(bytes, out),
        Dtype::BF16 => each::<bf16, T>(bytes, out),
        Dtype::F16 => each::<f16, T>(bytes, out),
    }
}

/// Appends `values` to `bytes` as little-endian elements of `dtype`.
pub(crate) fn encode<T: Scalar>(dtype: Dtype, values: &[T], bytes: &mut Vec<u8>) {
    bytes.reserve(values.len() * dtype.bytes());
    match dtype {
        Dtype::F32 => values.iter().for_each(|v| v.to::<f32>().append(bytes)),
        Dtype::F64 => values.iter().for_each(|v| v.to::<f64>().append(bytes)),
        Dtype::BF16 => values.iter().for_each(|v| v.to::<bf16>().append(bytes)),
        Dtype::F16 => values.iter().for_each(|v| v.to::<f16>().append(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit pattern, NaNs with payloads included, keeps its bits.
    #[test]
    fn same_type_keeps_every_bit() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut b = vec![bf16::ZERO; 65536];
        decode(Dtype::BF16, &bytes, &mut b);
        let mut f = vec![f16::ZERO; 65536];
        decode(Dtype::F16, &bytes, &mut f);
        let (mut from_b, mut from_f) = (vec![], vec![]);
        encode(Dtype::BF16, &b, &mut from_b);
        encode(Dtype::F16, &f, &mut from_f);
        assert_eq!(from_b, bytes);
        assert_eq!(from_f, bytes);
    }

    /// 1 + 2^-8 + 2^-30 is just above the middle of two bf16 neighbours. Rounded once
    /// it goes up; by way of f32 it would first fall onto the tie, then to even, down.
    #[test]
    fn rounds_once_to_nearest_even() {
        let above_tie = 1.0 + 2f64.powi(-8) + 2f64.powi(-30);
        assert_eq!(above_tie.to::<bf16>().to_bits(), 0x3f81);
        assert_eq!((-above_tie).to::<bf16>().to_bits(), 0xbf81);
        let below_tie = 1.0 + 2f64.powi(-8) + 2f64.powi(-7) - 2f64.powi(-40);
        assert_eq!(below_tie.to::<bf16>().to_bits(), 0x3f81);
        let above_tie = 1.0 + 2f64.powi(-11) + 2f64.powi(-45);
        assert_eq!(above_tie.to::<f16>().to_bits(), 0x3c01);
        assert_eq!(1e300f64.to::<bf16>(), bf16::INFINITY);
        assert_eq!((-1e300f64).to::<f16>(), f16::NEG_INFINITY);
        assert_eq!(1e-300f64.to::<bf16>().to_bits(), 0);
        assert!(f64::NAN.to::<bf16>().is_nan());
        let tie = 1.0f32 + 2f32.powi(-8);
        assert_eq!(tie.to::<bf16>().to_bits(), 0x3f80);
        assert_eq!((tie + 2f32.powi(-7)).to::<bf16>().to_bits(), 0x3f82);
        assert_eq!(f16::from_f32(0.1).to::<f64>(), 1638.0 / 16384.0);
        assert_eq!(bf16::from_f32(0.1).to::<f32>(), 205.0 / 2048.0);
    }
}
