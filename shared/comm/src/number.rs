//! What can be sent and summed.
use candle_core::WithDType;
use half::{bf16, f16};

/// Kernels rely on what these types are.
mod sealed {
    pub trait Sealed {}
}

/// A type of numbers that ranks exchange: f64, f32, bf16, f16, i64, u32 and u8.
pub trait Number: WithDType + sealed::Sealed {
    /// What sums of it are made in.
    type Sum: Copy + Send;
    /// The same number there.
    fn widen(self) -> Self::Sum;
    /// The nearest number of this type.
    fn narrow(sum: Self::Sum) -> Self;
    /// `a + b`; integers wrap.
    fn plus(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// The larger one; NaN if either is.
    fn larger(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// `sum / n`; `None` of integers, which have no average.
    fn average(sum: Self::Sum, n: usize) -> Option<Self::Sum>;
}

macro_rules! float {
    ($t:ty, $sum:ty, $widen:expr, $narrow:expr) => {
        impl sealed::Sealed for $t {}
        impl Number for $t {
            type Sum = $sum;
            #[inline(always)]
            fn widen(self) -> $sum {
                $widen(self)
            }
            #[inline(always)]
            fn narrow(sum: $sum) -> $t {
                $narrow(sum)
            }
            #[inline(always)]
            fn plus(a: $sum, b: $sum) -> $sum {
                a + b
            }
            #[inline(always)]
            fn larger(a: $sum, b: $sum) -> $sum {
                // A NaN is larger than everything: it must not be lost.
                if b > a || b.is_nan() { b } else { a }
            }
            #[inline(always)]
            fn average(sum: $sum, n: usize) -> Option<$sum> {
                Some(sum / n as $sum)
            }
        }
    };
}

macro_rules! integer {
    ($t:ty) => {
        impl sealed::Sealed for $t {}
        impl Number for $t {
            type Sum = $t;
            #[inline(always)]
            fn widen(self) -> $t {
                self
            }
            #[inline(always)]
            fn narrow(sum: $t) -> $t {
                sum
            }
            #[inline(always)]
            fn plus(a: $t, b: $t) -> $t {
                a.wrapping_add(b)
            }
            #[inline(always)]
            fn larger(a: $t, b: $t) -> $t {
                Ord::max(a, b)
            }
            #[inline(always)]
            fn average(_: $t, _: usize) -> Option<$t> {
                None
            }
        }
    };
}

float!(f64, f64, |x| x, |x| x);
float!(f32, f32, |x| x, |x| x);
float!(bf16, f32, bf16::to_f32, bf16::from_f32);
float!(f16, f32, f16::to_f32, f16::from_f32);
integer!(i64);
integer!(u32);
integer!(u8);
