//! What kernels are written with: slices of tensors, vector units, disjoint writes.
use crate::threads::{self, Disjoint};
use candle_core::{Device, Layout, Result, Shape, Storage, Tensor, bail};
use params::{Element, Real};
use std::ops::Range;

/// `read!(xs: [T] = x)` binds `xs` to the elements of tensor `x`, in row-major order; a
/// view with gaps is copied first.
macro_rules! read {
    ($name:ident : [$t:ty] = $tensor:expr) => {
        let contiguous = $tensor.contiguous()?;
        let guard = contiguous.storage_and_layout();
        let $name: &[$t] = $crate::kernel::slice(&guard.0, guard.1)?;
    };
}
pub(crate) use read;

/// The elements of a contiguous tensor.
pub(crate) fn slice<'a, T: Element>(
    storage: &'a Storage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let Storage::Cpu(cpu) = storage else {
        bail!("this operation has no kernel for {:?} yet", storage.device())
    };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a {:?} with gaps", layout.shape())
    };
    Ok(&T::cpu_storage_as_slice(cpu)?[start..end])
}

/// A tensor on the CPU that owns `data`.
pub(crate) fn tensor<T: Element>(
    data: Vec<T>,
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let shape = shape.into();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// The same leading dimensions, `width` elements in the last.
pub(crate) fn with_width(x: &Tensor, width: usize) -> Result<Shape> {
    let mut dims = x.dims().to_vec();
    match dims.last_mut() {
        Some(last) => *last = width,
        None => bail!("a scalar, where a tensor with a last dimension is expected"),
    }
    Ok(Shape::from(dims))
}

/// `n` elements that the caller overwrites, every one, before reading any.
#[allow(clippy::uninit_vec)]
pub(crate) fn uninit<T: Element>(n: usize) -> Vec<T> {
    let mut data = Vec::with_capacity(n);
    // SAFETY: floats: every bit pattern is a value and nothing is dropped. Zeroing
    // would cost a pass over memory in each operation.
    unsafe { data.set_len(n) };
    data
}

/// Fills `out`, rows of `width` elements, in parallel: `f(rows, out of these rows)`, in
/// pieces of at least `grain` elements.
pub(crate) fn fill_rows<T: Element>(
    out: &mut [T],
    width: usize,
    grain: usize,
    f: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    let rows = out.len() / width.max(1);
    let out = Disjoint::new(out);
    threads::split(rows, grain.div_ceil(width.max(1)), |rows| {
        // SAFETY: `split` hands out each row once.
        let part = unsafe { out.part(rows.start * width..rows.end * width) };
        f(rows, part)
    })
}

/// Elements for which starting another thread pays, in a loop bound by memory.
pub(crate) const GRAIN: usize = 16 * 1024;

/// Compiles a function for AVX-512, for AVX2 and for the baseline, and calls the best
/// that the processor has. The body is inlined into each, and so vectorized for it.
macro_rules! simd {
    ($(#[$meta:meta])* pub fn $name:ident<$t:ident: $bound:ident>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        pub(crate) fn $name<$t: $bound>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$t: $bound>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                #[target_feature(enable = "avx2,fma")]
                fn avx512<$t: $bound>($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<$t: $bound>($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has these features.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: likewise.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use simd;

/// Partial sums kept side by side, so that a sum vectorizes.
pub(crate) const LANES: usize = 32;

/// `Σ f(i)` for `i` in `0..n`, in an order that depends on `n` alone.
#[inline(always)]
pub(crate) fn sum_over<A: Real>(n: usize, f: impl Fn(usize) -> A) -> A {
    let mut lanes = [A::of(0.0); LANES];
    let whole = n / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            lanes[lane] += f(i + lane);
        }
    }
    let mut sum = A::of(0.0);
    for lane in lanes {
        sum += lane;
    }
    for i in whole..n {
        sum += f(i);
    }
    sum
}

/// The largest of `x`; `-inf` of none.
#[inline(always)]
pub(crate) fn max_of<A: Real>(x: &[A]) -> A {
    let larger = |a: A, b: A| if b > a { b } else { a };
    let mut lanes = [A::of(f64::NEG_INFINITY); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes.iter().chain(rest).copied().fold(A::of(f64::NEG_INFINITY), larger)
}
