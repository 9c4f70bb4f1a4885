//! Matrix products.
//!
//! [`fn@gemm`] multiplies matrices of any of the four storage types, with any strides,
//! summing in `f32` (`f64` for `f64`). It is built like BLIS (Van Zee and van de Geijn,
//! *BLIS: A Framework for Rapidly Instantiating BLAS Functionality*, 2015):
//!
//! - [`kernel`]: a strip of C held in registers while k runs;
//! - [`pack`]: B, and A where it must be, copied into the order kernels read, 16-bit
//!   numbers converted on the way;
//! - [`blocks`]: blocks that fit into caches, shared out to the rank's threads;
//! - [`simd`]: the instructions of the machine at hand.
//!
//! **The result is the same bit for bit** whatever the instruction set with fused
//! multiply-add, the number of threads and the plan: see [`kernel`].

mod blocks;
mod kernel;
mod other;
mod pack;
mod scratch;
mod simd;

use crate::flops;
use crate::threads;
use crate::tune::{self, Choice, Shape};
use blocks::Target;
pub(crate) use blocks::{Plan, Share, Size};
use candle_core::{DType, WithDType};
use pack::Source;
use params::Element;
pub(crate) use simd::Isa;

/// A matrix in memory.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    /// From the first element on.
    pub data: &'a [T],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from a row to the next.
    pub row_stride: usize,
    /// Elements from a column to the next.
    pub col_stride: usize,
}
impl<'a, T> Mat<'a, T> {
    /// Row-major, without gaps.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Mat<'a, T> {
        Mat { data, rows, cols, row_stride: cols, col_stride: 1 }
    }
    /// Row-major with `stride` elements from a row to the next.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        Mat { data, rows, cols, row_stride: stride, col_stride: 1 }
    }
    /// The transpose.
    pub fn t(self) -> Mat<'a, T> {
        Mat {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}
/// A row-major matrix to write.
pub struct MatMut<'a, T> {
    /// From the first element on.
    pub data: &'a mut [T],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from a row to the next.
    pub row_stride: usize,
}
impl<'a, T> MatMut<'a, T> {
    /// Row-major, without gaps.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> MatMut<'a, T> {
        MatMut { data, rows, cols, row_stride: cols }
    }
    /// Row-major with `stride` elements from a row to the next.
    pub fn strided(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        MatMut { data, rows, cols, row_stride: stride }
    }
}
/// What happens to what the result matrix held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    /// It is overwritten.
    Set,
    /// The product is added to it.
    Add,
}
/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum On {
    /// The calling thread alone: the caller already runs on all of its rank's threads.
    ThisThread,
    /// All threads of the calling rank.
    AllThreads,
}
/// `c = a · b`, or `c += a · b`, summed in `A::Acc` and rounded once to `C` (with
/// [`Store::Add`] after adding what was there).
///
/// # Panics
/// If the sizes do not fit together or a matrix reaches beyond its slice.
pub fn gemm<A: Element, B: Element<Acc = A::Acc>, C: Element<Acc = A::Acc>>(
    c: MatMut<C>,
    store: Store,
    a: Mat<A>,
    b: Mat<B>,
    on: On,
) {
    gemm_by(tune::pinned(), c, store, a, b, on);
}

/// [`gemm`], with what multiplies given.
fn gemm_by<A: Element, B: Element<Acc = A::Acc>, C: Element<Acc = A::Acc>>(
    choice: Choice,
    c: MatMut<C>,
    store: Store,
    a: Mat<A>,
    b: Mat<B>,
    on: On,
) {
    let (m, n, k) = (c.rows, c.cols, a.cols);
    assert!(
        a.rows == m && b.cols == n && b.rows == k,
        "gemm of [{}, {}] and [{}, {}] into [{m}, {n}]",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
    );
    // Everything below relies on these.
    inside("a", a.data.len(), (a.rows, a.row_stride), (a.cols, a.col_stride));
    inside("b", b.data.len(), (b.rows, b.row_stride), (b.cols, b.col_stride));
    inside("c", c.data.len(), (m, c.row_stride), (n, 1));
    assert!(m < 2 || c.row_stride >= n, "rows of c overlap");
    flops::add_product(m, n, k);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if store == Store::Set {
            for row in c.data.chunks_mut(c.row_stride.max(1)).take(m) {
                row[..n].fill(C::default());
            }
        }
        return;
    }
    let target = Target {
        at: c.data.as_mut_ptr().cast(),
        kind: C::DTYPE,
        row: c.row_stride,
        add: store == Store::Add,
    };
    let a = Source::new(a.data.as_ptr(), a.row_stride, a.col_stride);
    let b = Source::new(b.data.as_ptr(), b.row_stride, b.col_stride);
    let size = Size { m, n, k };
    // SAFETY: checked above, and C is borrowed mutably. `Element` names the sums' type.
    unsafe { product(choice, <A::Acc as WithDType>::DTYPE, size, target, a, b, on) }
}

/// Checks that a matrix lies inside its slice.
fn inside(name: &str, len: usize, rows: (usize, usize), cols: (usize, usize)) {
    if rows.0 == 0 || cols.0 == 0 {
        return;
    }
    let last = |(n, stride): (usize, usize)| (n - 1).checked_mul(stride);
    let end = last(rows).zip(last(cols)).and_then(|(i, j)| i.checked_add(j));
    assert!(
        end.is_some_and(|end| end < len),
        "gemm: {name} of {} rows every {} and {} columns every {} does not fit into \
         {len}",
        rows.0,
        rows.1,
        cols.0,
        cols.1,
    );
}

/// Not generic, so that it is compiled with this crate, whose profile has no checks in
/// inner loops, and not with whoever calls it.
///
/// # Safety
/// As for [`blocks::product`].
unsafe fn product(
    choice: Choice,
    sums: DType,
    size: Size,
    c: Target,
    a: Source,
    b: Source,
    on: On,
) {
    let parallel = on == On::AllThreads && threads::count() > 1 && worth_sharing(size);
    if choice == Choice::Gemm && [a.kind, b.kind, c.kind] == [sums; 3] {
        // SAFETY: by the caller's promise; the types are the same.
        return unsafe {
            match sums {
                DType::F64 => other::product::<f64>(size, c, a, b, parallel),
                _ => other::product::<f32>(size, c, a, b, parallel),
            }
        };
    }
    let shape = Shape {
        choice,
        size,
        kinds: [a.kind, b.kind, c.kind],
        rows: [a.col == 1, b.col == 1],
        threads: if parallel { threads::count() } else { 1 },
    };
    let usual = usual(choice, size, a);
    tune::tuned(
        shape,
        usual,
        || others(usual, shape),
        |plan| {
            // SAFETY: by the caller's promise.
            unsafe {
                match sums {
                    DType::F64 => blocks::shared::<f64>(plan, size, c, a, b, parallel),
                    _ => blocks::shared::<f32>(plan, size, c, a, b, parallel),
                }
            }
        },
    );
}

/// Whether a product takes long enough for other threads to help.
fn worth_sharing(size: Size) -> bool {
    size.m * size.n * size.k > 1 << 18
}

/// The plan that is best for most products.
fn usual(choice: Choice, size: Size, a: Source) -> Plan {
    let isa = match choice {
        Choice::Avx512 => Isa::Avx512,
        Choice::Avx2 => Isa::Avx2,
        Choice::Portable => Isa::Portable,
        Choice::Auto | Choice::Gemm => Isa::best(),
    };
    // Rows a multiple of 2 KiB apart compete for the same places in the cache. Columns
    // reach over many pages. Either costs less than copying where the copy is used for
    // a few panels only.
    let compete = (a.row * a.kind.size_in_bytes()).is_multiple_of(2048);
    let pack_a = (a.row == 1 || compete) && size.n > 128;
    // A few rows use a panel too seldom to pay for packing it.
    let pack_b = size.m > 96;
    let share = if size.m < size.n { Share::Columns } else { Share::Rows };
    Plan { isa, pack_a, pack_b, share }
}

/// The usual plan and what to compare it with.
fn others(usual: Plan, shape: Shape) -> Vec<Plan> {
    let other_share = match usual.share {
        Share::Rows => Share::Columns,
        Share::Columns => Share::Rows,
    };
    let mut plans = vec![usual];
    if shape.threads > 1 {
        plans.push(Plan { share: other_share, ..usual });
    }
    let [a, b, _] = shape.kinds.map(|kind| matches!(kind, DType::F32 | DType::F64));
    if a {
        plans.push(Plan { pack_a: !usual.pack_a, ..usual });
    }
    if b && shape.rows[1] {
        plans.push(Plan { pack_b: !usual.pack_b, ..usual });
    }
    if shape.choice == Choice::Auto && usual.isa == Isa::Avx512 {
        // Some CPUs slow down for it. (Never the portable kernel: it may round
        // differently.)
        plans.push(Plan { isa: Isa::Avx2, ..usual });
    }
    plans
}

#[cfg(test)]
mod tests;
