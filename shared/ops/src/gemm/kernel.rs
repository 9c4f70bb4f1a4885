//! The innermost loops: a strip of a few rows of C.
//!
//! A *tile* is as many sums as fit into the registers: up to [`Vector::ROWS`] rows of
//! two vectors. For each k it loads two vectors of B, and each number of A once into
//! all lanes; with 12 rows that is 14 loads for 24 multiply-adds, and the CPU does two
//! of each per cycle. A *strip* is a row of tiles: the rows of A stay in the
//! first-level cache while B, packed into panels as wide as a tile, streams by from the
//! second.
//!
//! The sums of a tile start at zero, take the products in the order of k, each with one
//! rounding, and are then stored in C or added to it. This order is what makes results
//! independent of instruction set, threads and everything the tuner may choose.

use super::simd::{Isa, Job, Vector};
use params::Real;

/// `c = a · b` or `c += a · b` for the rows of one tile and any number of columns.
#[derive(Clone, Copy)]
pub struct Strip<S> {
    pub k: usize,
    /// Of at least 1 and at most `isa.rows()` rows. One of its strides is 1.
    pub a: *const S,
    pub a_row: usize,
    pub a_col: usize,
    /// The first panel; from one panel to the next, and from one k to the next.
    pub b: *const S,
    pub b_panel: usize,
    pub b_row: usize,
    /// The last panel, with zeros beyond column `n`, if `n` is no multiple of a panel.
    pub b_last: *const S,
    pub b_last_row: usize,
    pub n: usize,
    pub c: *mut S,
    pub c_row: usize,
    pub add: bool,
}

/// Chooses the code for a number of rows.
macro_rules! by_rows {
    ($isa:ident . $run:ident, $strip:ident, $rows:ident: $($m:literal)*) => {
        match $rows {
            // SAFETY: by the caller's promise.
            $($m => unsafe { $isa.$run(Rows::<_, $m>($strip)) },)*
            _ => unreachable!("a tile of {} rows", $rows),
        }
    };
}

/// A number type that kernels compute in.
pub trait Sums: Real {
    /// Computes a strip.
    ///
    /// # Safety
    /// The CPU has `isa`, `1 <= rows <= isa.rows()`, and all of A, B and C that the
    /// fields describe can be read, respectively written by this thread alone.
    unsafe fn compute(strip: Strip<Self>, isa: Isa, rows: usize);
}

impl Sums for f32 {
    unsafe fn compute(strip: Strip<f32>, isa: Isa, rows: usize) {
        by_rows!(isa.f32, strip, rows: 1 2 3 4 5 6 7 8 9 10 11 12)
    }
}

impl Sums for f64 {
    unsafe fn compute(strip: Strip<f64>, isa: Isa, rows: usize) {
        by_rows!(isa.f64, strip, rows: 1 2 3 4 5 6 7 8 9 10 11 12)
    }
}

/// A strip of `M` rows.
struct Rows<S, const M: usize>(Strip<S>);

impl<S: Real, const M: usize> Job<S> for Rows<S, M> {
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = S>>(self) {
        if M > V::ROWS {
            unreachable!("a tile of {M} rows");
        }
        // SAFETY: by the caller's promise.
        unsafe {
            if self.0.a_col == 1 {
                sweep::<V, M, true>(self.0)
            } else {
                sweep::<V, M, false>(self.0)
            }
        }
    }
}

/// All tiles of a strip. `ROWS`: the numbers of a row of A are neighbours; otherwise
/// those of a column are.
#[inline(always)]
unsafe fn sweep<V: Vector, const M: usize, const ROWS: bool>(s: Strip<V::Scalar>) {
    let width = 2 * V::LANES;
    let stride = if ROWS { s.a_row } else { s.a_col };
    // SAFETY: by the caller's promise all of this is inside A, B and C; what reaches
    // beyond column `n` goes to `edge`.
    unsafe {
        for panel in 0..s.n / width {
            let (b, c) = (s.b.add(panel * s.b_panel), s.c.add(panel * width));
            tile::<V, M, 2, ROWS>(s.k, s.a, stride, b, s.b_row, c, s.c_row, s.add);
        }
        let rest = s.n % width;
        if rest == 0 {
            return;
        }
        // The part of a tile: computed whole, and what belongs to C copied.
        let mut edge = [[V::zero(); 2]; M];
        let (b, e) = (s.b_last, edge.as_mut_ptr().cast::<V::Scalar>());
        if rest <= V::LANES {
            tile::<V, M, 1, ROWS>(s.k, s.a, stride, b, s.b_last_row, e, width, false);
        } else {
            tile::<V, M, 2, ROWS>(s.k, s.a, stride, b, s.b_last_row, e, width, false);
        }
        for i in 0..M {
            let c = s.c.add(i * s.c_row + s.n - rest);
            for j in 0..rest {
                let sum = *e.add(i * width + j);
                *c.add(j) = if s.add { *c.add(j) + sum } else { sum };
            }
        }
    }
}

/// One tile of `M` rows and `N` vectors. `stride` leads from one row of A to the next
/// (`ROWS`), or from one column to the next.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize, const ROWS: bool>(
    k: usize,
    a: *const V::Scalar,
    stride: usize,
    b: *const V::Scalar,
    b_row: usize,
    c: *mut V::Scalar,
    c_row: usize,
    add: bool,
) {
    // SAFETY: `k` columns and `M` rows of A, `k` rows and `N` vectors of B, `M` rows
    // and `N` vectors of C are good, by the caller's promise.
    unsafe {
        for i in 0..M {
            for j in 0..N {
                soon(c.wrapping_add(i * c_row + j * V::LANES));
            }
        }
        let mut sums = [[V::zero(); N]; M];
        let mut b = b;
        // Twelve addresses would not fit into the registers: one for every three rows,
        // from which the stride, once and twice, leads to the others.
        let mut rows: [*const V::Scalar; 4] =
            std::array::from_fn(|g| a.wrapping_add(3 * g * stride));
        let mut column = a;
        // (A macro, since a closure's captures would live in memory.)
        macro_rules! step {
            ($offset:expr) => {
                if ROWS {
                    for g in 0..M.div_ceil(3) {
                        rows[g] = opaque(rows[g]);
                    }
                }
                let mut b_now = [V::zero(); N];
                for j in 0..N {
                    b_now[j] = V::load(b.add(j * V::LANES));
                }
                for i in 0..M {
                    let x = match ROWS {
                        true => rows[i / 3].wrapping_add(i % 3 * stride + $offset),
                        false => column.wrapping_add(i),
                    };
                    let x = V::splat(*x);
                    for j in 0..N {
                        sums[i][j] = sums[i][j].fma(x, b_now[j]);
                    }
                }
                b = b.wrapping_add(b_row);
                column = column.wrapping_add(stride);
            };
        }
        for _ in 0..k / 4 {
            for offset in 0..4 {
                step!(offset);
            }
            for g in 0..M.div_ceil(3) {
                rows[g] = rows[g].wrapping_add(4);
            }
        }
        for offset in 0..k % 4 {
            step!(offset);
        }
        for i in 0..M {
            for j in 0..N {
                let at = c.add(i * c_row + j * V::LANES);
                let sum = sums[i][j];
                (if add { V::load(at).plus(sum) } else { sum }).store(at);
            }
        }
    }
}

/// The same pointer, of which the compiler no longer knows where it comes from. Without
/// this it loads the numbers of A for several steps ahead, which takes more registers
/// than there are and halves the speed.
#[inline(always)]
fn opaque<T>(p: *const T) -> *const T {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut address = p as usize;
        // SAFETY: no instruction at all. The address keeps its provenance: the cast
        // exposes it.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) address,
                options(nomem, nostack, preserves_flags));
        }
        std::ptr::with_exposed_provenance(address)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    p
}

/// Asks for a cache line that will be written when the sums are done.
#[inline(always)]
fn soon<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which may point anywhere; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
