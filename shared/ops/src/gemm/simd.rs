//! Vectors of numbers: the few instructions that kernels and packing are written in.
//!
//! Everything generic over [`Vector`] is `#[inline(always)]` and gets compiled inside a
//! function with the target features of that vector; only there do the methods become
//! single instructions, and only there may they be called.

#[cfg(target_arch = "x86_64")]
mod x86;

use candle_core::DType;
use params::Real;

/// A register of numbers.
///
/// # Safety
/// All methods need the CPU to have the instructions of the type, and a pointer must
/// be good for `LANES` numbers; no alignment is asked for.
pub trait Vector: Copy {
    type Scalar: Real;
    const LANES: usize;
    /// Rows of the largest tile whose sums, two vectors a row, fit into the registers
    /// together with what is multiplied.
    const ROWS: usize;
    unsafe fn zero() -> Self;
    unsafe fn splat(x: Self::Scalar) -> Self;
    unsafe fn load(p: *const Self::Scalar) -> Self;
    unsafe fn store(self, p: *mut Self::Scalar);
    unsafe fn plus(self, x: Self) -> Self;
    /// `self + a · b`, rounded once.
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// Widens bf16, exactly.
    unsafe fn from_bf16(p: *const u16) -> Self;
    /// Widens f16, exactly.
    unsafe fn from_f16(p: *const u16) -> Self;
    /// Rounds to f16, ties to even.
    unsafe fn to_f16(self, p: *mut u16);
    /// Transposes a square block, one vector a row.
    unsafe fn transpose(block: &mut [Self]);

    /// Widens numbers of the storage type `kind`.
    #[inline(always)]
    unsafe fn widen(kind: DType, p: *const u8) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            match kind {
                DType::BF16 => Self::from_bf16(p.cast()),
                DType::F16 => Self::from_f16(p.cast()),
                _ => Self::load(p.cast()),
            }
        }
    }
}

/// Work for one kind of vector.
pub trait Job<S> {
    /// Does it. To be `#[inline(always)]`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; the rest is up to the job.
    unsafe fn run<V: Vector<Scalar = S>>(self);
}

/// A family of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// 512 bits (x86-64 servers, recent desktops).
    Avx512,
    /// 256 bits and fused multiply-add (x86-64 since 2013).
    Avx2,
    /// Plain Rust, vectorized by the compiler for whatever it builds for.
    Portable,
}

impl Isa {
    /// Whether this CPU has it.
    pub fn here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f") && Isa::Avx2.here(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// The widest this CPU has.
    pub fn best() -> Isa {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        let all = [Isa::Avx512, Isa::Avx2, Isa::Portable];
        *BEST.get_or_init(|| all.into_iter().find(|isa| isa.here()).unwrap())
    }

    /// Numbers in a vector.
    pub fn lanes<S: Real>(self) -> usize {
        self.bytes() / size_of::<S>()
    }

    /// Rows of the largest tile.
    pub fn rows(self) -> usize {
        match self {
            Isa::Avx512 => 12,
            Isa::Avx2 | Isa::Portable => 6,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Isa::Avx512 => 64,
            Isa::Avx2 => 32,
            Isa::Portable => 16,
        }
    }

    /// Does `job` with vectors of `f32`.
    ///
    /// # Safety
    /// [`Isa::here`] is true; the rest is up to the job.
    pub unsafe fn f32(self, job: impl Job<f32>) {
        // SAFETY: the CPU has the instructions by the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::avx512::<_, std::arch::x86_64::__m512>(job),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::avx2::<_, std::arch::x86_64::__m256>(job),
                _ => job.run::<Array<f32, 4>>(),
            }
        }
    }

    /// Does `job` with vectors of `f64`.
    ///
    /// # Safety
    /// As for [`Isa::f32`].
    pub unsafe fn f64(self, job: impl Job<f64>) {
        // SAFETY: as above.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::avx512::<_, std::arch::x86_64::__m512d>(job),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::avx2::<_, std::arch::x86_64::__m256d>(job),
                _ => job.run::<Array<f64, 2>>(),
            }
        }
    }
}

/// Swaps lanes of a block one at a time: for vectors without a faster way.
#[inline(always)]
unsafe fn transpose_by_lanes<V: Vector>(block: &mut [V]) {
    assert_eq!(block.len(), V::LANES);
    let p = block.as_mut_ptr().cast::<V::Scalar>();
    for i in 0..V::LANES {
        for j in 0..i {
            // SAFETY: a vector is `LANES` scalars without padding, so both places are
            // inside the block.
            unsafe { std::ptr::swap(p.add(i * V::LANES + j), p.add(j * V::LANES + i)) };
        }
    }
}

/// An array, for every machine: compilers vectorize loops over it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Array<T, const N: usize>([T; N]);

/// Whether the machine multiplies and adds in one instruction without being asked for
/// special features; elsewhere `mul_add` would call a slow function.
const FUSED: bool = cfg!(any(
    target_feature = "fma",
    target_arch = "aarch64",
    target_arch = "powerpc64",
    target_arch = "riscv64",
    target_arch = "s390x"
));

macro_rules! portable_vector {
    ($t:ty, $n:literal) => {
        impl Vector for Array<$t, $n> {
            type Scalar = $t;
            const LANES: usize = $n;
            const ROWS: usize = 6;
            #[inline(always)]
            unsafe fn zero() -> Self {
                Array([0.0; $n])
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                Array([x; $n])
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: readable by the caller's promise; read unaligned.
                unsafe { Array(p.cast::<[$t; $n]>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: writable by the caller's promise; written unaligned.
                unsafe { p.cast::<[$t; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn plus(self, x: Self) -> Self {
                Array(std::array::from_fn(|i| self.0[i] + x.0[i]))
            }
            #[inline(always)]
            unsafe fn fma(self, a: Self, b: Self) -> Self {
                Array(std::array::from_fn(|i| match FUSED {
                    true => a.0[i].mul_add(b.0[i], self.0[i]),
                    false => self.0[i] + a.0[i] * b.0[i],
                }))
            }
            #[inline(always)]
            unsafe fn from_bf16(p: *const u16) -> Self {
                // SAFETY: `LANES` numbers are readable by the caller's promise.
                let x = |i| unsafe { half::bf16::from_bits(p.add(i).read_unaligned()) };
                Array(std::array::from_fn(|i| x(i).to_f32() as $t))
            }
            #[inline(always)]
            unsafe fn from_f16(p: *const u16) -> Self {
                // SAFETY: as above.
                let x = |i| unsafe { half::f16::from_bits(p.add(i).read_unaligned()) };
                Array(std::array::from_fn(|i| x(i).to_f32() as $t))
            }
            #[inline(always)]
            unsafe fn to_f16(self, p: *mut u16) {
                for i in 0..$n {
                    let x = half::f16::from_f32(self.0[i] as f32);
                    // SAFETY: `LANES` numbers are writable by the caller's promise.
                    unsafe { p.add(i).write_unaligned(x.to_bits()) };
                }
            }
            #[inline(always)]
            unsafe fn transpose(block: &mut [Self]) {
                // SAFETY: the type is `N` scalars without padding.
                unsafe { transpose_by_lanes(block) }
            }
        }
    };
}
portable_vector!(f32, 4);
portable_vector!(f64, 2);
