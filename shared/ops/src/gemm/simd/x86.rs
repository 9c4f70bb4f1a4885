//! The vectors of AVX2 with FMA, and of AVX-512.

use super::{Job, Vector, transpose_by_lanes};
use std::arch::x86_64::*;

/// Compiles a job for AVX-512.
///
/// # Safety
/// The CPU has AVX-512 F, AVX2, FMA and F16C; the rest is up to the job.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub unsafe fn avx512<J: Job<V::Scalar>, V: Vector>(job: J) {
    // SAFETY: by the caller's promise.
    unsafe { job.run::<V>() }
}

/// Compiles a job for AVX2.
///
/// # Safety
/// The CPU has AVX2, FMA and F16C; the rest is up to the job.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn avx2<J: Job<V::Scalar>, V: Vector>(job: J) {
    // SAFETY: by the caller's promise.
    unsafe { job.run::<V>() }
}

/// The methods that differ in their names only.
macro_rules! common {
    ($t:ty, $n:literal, $rows:literal, $zero:ident, $splat:ident, $load:ident,
     $store:ident, $add:ident, $fma:ident) => {
        type Scalar = $t;
        const LANES: usize = $n;
        const ROWS: usize = $rows;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: here and below, the CPU has the instruction and pointers are
            // good, by the promise of the trait's caller.
            unsafe { $zero() }
        }
        #[inline(always)]
        unsafe fn splat(x: $t) -> Self {
            // SAFETY: see `zero`.
            unsafe { $splat(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const $t) -> Self {
            // SAFETY: see `zero`.
            unsafe { $load(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut $t) {
            // SAFETY: see `zero`.
            unsafe { $store(p, self) }
        }
        #[inline(always)]
        unsafe fn plus(self, x: Self) -> Self {
            // SAFETY: see `zero`.
            unsafe { $add(self, x) }
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            // SAFETY: see `zero`.
            unsafe { $fma(a, b, self) }
        }
    };
}

/// 16-bit numbers are never summed in `f64`.
macro_rules! no_16_bit {
    () => {
        unsafe fn from_bf16(_: *const u16) -> Self {
            unreachable!("bf16 is summed in f32")
        }
        unsafe fn from_f16(_: *const u16) -> Self {
            unreachable!("f16 is summed in f32")
        }
        unsafe fn to_f16(self, _: *mut u16) {
            unreachable!("f16 is summed in f32")
        }
    };
}

impl Vector for __m512 {
    common!(
        f32,
        16,
        12,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps
    );
    #[inline(always)]
    unsafe fn from_bf16(p: *const u16) -> Self {
        // SAFETY: see `zero`; the pointer is good for 16 numbers of 16 bits.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn from_f16(p: *const u16) -> Self {
        // SAFETY: see `from_bf16`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn to_f16(self, p: *mut u16) {
        // SAFETY: see `from_bf16`.
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<0>(self)) }
    }
    /// Two rounds inside each quarter of the registers, two that move quarters.
    #[inline(always)]
    unsafe fn transpose(r: &mut [Self]) {
        assert_eq!(r.len(), 16);
        // SAFETY: see `zero`.
        unsafe {
            let mut t = [_mm512_setzero_ps(); 16];
            for i in (0..16).step_by(4) {
                let ab_lo = _mm512_unpacklo_ps(r[i], r[i + 1]);
                let ab_hi = _mm512_unpackhi_ps(r[i], r[i + 1]);
                let cd_lo = _mm512_unpacklo_ps(r[i + 2], r[i + 3]);
                let cd_hi = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
                t[i] = _mm512_shuffle_ps::<0x44>(ab_lo, cd_lo);
                t[i + 1] = _mm512_shuffle_ps::<0xee>(ab_lo, cd_lo);
                t[i + 2] = _mm512_shuffle_ps::<0x44>(ab_hi, cd_hi);
                t[i + 3] = _mm512_shuffle_ps::<0xee>(ab_hi, cd_hi);
            }
            // Now t[4g + c] holds, in quarter q, column 4q + c of rows 4g to 4g + 3.
            for c in 0..4 {
                let even_01 = _mm512_shuffle_f32x4::<0x88>(t[c], t[4 + c]);
                let even_23 = _mm512_shuffle_f32x4::<0x88>(t[8 + c], t[12 + c]);
                let odd_01 = _mm512_shuffle_f32x4::<0xdd>(t[c], t[4 + c]);
                let odd_23 = _mm512_shuffle_f32x4::<0xdd>(t[8 + c], t[12 + c]);
                r[c] = _mm512_shuffle_f32x4::<0x88>(even_01, even_23);
                r[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even_01, even_23);
                r[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd_01, odd_23);
                r[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd_01, odd_23);
            }
        }
    }
}

impl Vector for __m512d {
    common!(
        f64,
        8,
        12,
        _mm512_setzero_pd,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_add_pd,
        _mm512_fmadd_pd
    );
    no_16_bit!();
    #[inline(always)]
    unsafe fn transpose(block: &mut [Self]) {
        // SAFETY: the type is 8 `f64` without padding.
        unsafe { transpose_by_lanes(block) }
    }
}

impl Vector for __m256 {
    common!(
        f32,
        8,
        6,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
    #[inline(always)]
    unsafe fn from_bf16(p: *const u16) -> Self {
        // SAFETY: see `zero`; the pointer is good for 8 numbers of 16 bits.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn from_f16(p: *const u16) -> Self {
        // SAFETY: see `from_bf16`.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn to_f16(self, p: *mut u16) {
        // SAFETY: see `from_bf16`.
        unsafe { _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<0>(self)) }
    }
    #[inline(always)]
    unsafe fn transpose(r: &mut [Self]) {
        assert_eq!(r.len(), 8);
        // SAFETY: see `zero`.
        unsafe {
            let mut t = [_mm256_setzero_ps(); 8];
            for i in (0..8).step_by(4) {
                let ab_lo = _mm256_unpacklo_ps(r[i], r[i + 1]);
                let ab_hi = _mm256_unpackhi_ps(r[i], r[i + 1]);
                let cd_lo = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
                let cd_hi = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
                t[i] = _mm256_shuffle_ps::<0x44>(ab_lo, cd_lo);
                t[i + 1] = _mm256_shuffle_ps::<0xee>(ab_lo, cd_lo);
                t[i + 2] = _mm256_shuffle_ps::<0x44>(ab_hi, cd_hi);
                t[i + 3] = _mm256_shuffle_ps::<0xee>(ab_hi, cd_hi);
            }
            for c in 0..4 {
                r[c] = _mm256_permute2f128_ps::<0x20>(t[c], t[4 + c]);
                r[4 + c] = _mm256_permute2f128_ps::<0x31>(t[c], t[4 + c]);
            }
        }
    }
}

impl Vector for __m256d {
    common!(
        f64,
        4,
        6,
        _mm256_setzero_pd,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_fmadd_pd
    );
    no_16_bit!();
    #[inline(always)]
    unsafe fn transpose(block: &mut [Self]) {
        // SAFETY: the type is 4 `f64` without padding.
        unsafe { transpose_by_lanes(block) }
    }
}
