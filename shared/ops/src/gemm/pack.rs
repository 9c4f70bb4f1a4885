//! Packing: parts of A and B copied into the layout and type that kernels read, and
//! sums rounded to the type of C.
//!
//! Copying costs less than it saves: a panel of B is read once for every strip of C, in
//! one stream, converted already. It is also what lets kernels ignore strides and
//! storage types: a 16-bit operand is converted a panel at a time.

use super::simd::{Isa, Job, Vector};
use candle_core::DType;
use half::{bf16, f16};
use params::{Element, Real};

/// A matrix of any storage type in memory, without its size.
#[derive(Clone, Copy)]
pub struct Source {
    at: *const u8,
    pub kind: DType,
    pub row: usize,
    pub col: usize,
}

// SAFETY: it is only read from, and where it points is up to whoever reads.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}

impl Source {
    /// The matrix that begins at `at`, with strides in elements.
    pub fn new<T: Element>(at: *const T, row: usize, col: usize) -> Source {
        Source { at: at.cast(), kind: T::DTYPE, row, col }
    }

    /// From row `i` and column `j` on.
    #[inline(always)]
    pub fn from(self, i: usize, j: usize) -> Source {
        let offset = (i * self.row + j * self.col) * self.kind.size_in_bytes();
        Source { at: self.at.wrapping_add(offset), ..self }
    }

    /// The transpose.
    #[inline(always)]
    pub fn t(self) -> Source {
        Source { row: self.col, col: self.row, ..self }
    }

    /// Its first number, where it needs no conversion to `S`.
    pub fn start<S: Real>(self) -> Option<*const S> {
        (self.kind == S::DTYPE).then_some(self.at.cast())
    }
}

/// Copies a block into lines: `to[i * line + j] = from[i, j]` for `i < rows` and
/// `j < cols`, and zeros up to `j < line`.
#[derive(Clone, Copy)]
pub struct Lines<S> {
    pub from: Source,
    pub rows: usize,
    pub cols: usize,
    pub to: *mut S,
    pub line: usize,
}

impl<S: Real> Job<S> for Lines<S> {
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = S>>(self) {
        // SAFETY: the caller's promises. Naming the type here makes four loops that
        // know it, instead of one that asks for every number.
        unsafe {
            match self.from.kind {
                DType::BF16 => self.copy::<V, bf16>(DType::BF16),
                DType::F16 => self.copy::<V, f16>(DType::F16),
                _ => self.copy::<V, S>(S::DTYPE),
            }
        }
    }
}

impl<S: Real> Lines<S> {
    #[inline(always)]
    unsafe fn copy<V: Vector<Scalar = S>, T: Element>(self, kind: DType) {
        let Lines { from, rows, cols, to, line } = self;
        let from = Source { kind, ..from };
        // Whole vectors, then what is left.
        let (i_end, j_end) = (rows - rows % V::LANES, cols - cols % V::LANES);
        // SAFETY: all reads are of `from[i, j]` with `i < rows` and `j < cols`, which
        // can be read by the caller's promise, as vectors only where neighbours in
        // memory are neighbours in the block; all writes are below `rows * line`.
        unsafe {
            if from.col == 1 {
                for i in 0..rows {
                    for j in (0..j_end).step_by(V::LANES) {
                        V::widen(kind, from.from(i, j).at).store(to.add(i * line + j));
                    }
                }
                self.scalars::<T>(0..rows, j_end..cols);
            } else if from.row == 1 {
                let mut square = [V::zero(); 16];
                let square = &mut square[..V::LANES];
                for j in (0..j_end).step_by(V::LANES) {
                    for i in (0..i_end).step_by(V::LANES) {
                        for l in 0..V::LANES {
                            square[l] = V::widen(kind, from.from(i, j + l).at);
                        }
                        V::transpose(square);
                        for l in 0..V::LANES {
                            square[l].store(to.add((i + l) * line + j));
                        }
                    }
                }
                self.scalars::<T>(i_end..rows, 0..j_end);
                self.scalars::<T>(0..rows, j_end..cols);
            } else {
                self.scalars::<T>(0..rows, 0..cols);
            }
            for i in 0..rows {
                for j in cols..line {
                    *to.add(i * line + j) = S::default();
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn scalars<T: Element>(
        self,
        rows: std::ops::Range<usize>,
        cols: std::ops::Range<usize>,
    ) {
        for i in rows {
            for j in cols.clone() {
                // SAFETY: inside the block and the lines, as the caller promises; `T`
                // is the type of `from`, and its `Acc` is `S`.
                unsafe {
                    let x: T = *self.from.from(i, j).at.cast();
                    let x: T::Acc = x.widen();
                    *self.to.add(i * self.line + j).cast() = x;
                }
            }
        }
    }
}

/// Copies several panels of a matrix whose rows lie in memory as rows: panel `q` takes
/// `line` columns from `starts[q]` on to `to + q * panel`, a row every `line` numbers.
/// Columns from `cols` on do not exist: zeros take their place.
///
/// All panels advance together, row by row, so that memory is read in the order in
/// which it lies; one panel after the other, it would be read in pieces of two cache
/// lines.
#[derive(Clone, Copy)]
pub struct Panels<'a, S> {
    pub from: Source,
    pub rows: usize,
    pub cols: usize,
    pub starts: &'a [usize],
    pub to: *mut S,
    pub panel: usize,
    pub line: usize,
}

impl<S: Real> Job<S> for Panels<'_, S> {
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = S>>(self) {
        // SAFETY: by the caller's promise; see `Lines::run`.
        unsafe {
            match self.from.kind {
                DType::BF16 => self.copy::<V>(DType::BF16),
                DType::F16 => self.copy::<V>(DType::F16),
                _ => self.copy::<V>(S::DTYPE),
            }
        }
    }
}

impl<S: Real> Panels<'_, S> {
    #[inline(always)]
    unsafe fn copy<V: Vector<Scalar = S>>(self, kind: DType) {
        let Panels { from, rows, cols, starts, to, panel, line } = self;
        let from = Source { kind, ..from };
        let whole = starts.iter().take_while(|start| **start + line <= cols).count();
        // SAFETY: reads are of rows below `rows` and columns below `cols`, writes to
        // the panels; the caller promises both.
        unsafe {
            for i in 0..rows {
                for (q, start) in starts[..whole].iter().enumerate() {
                    let to = to.add(q * panel + i * line);
                    for j in (0..line).step_by(V::LANES) {
                        V::widen(kind, from.from(i, start + j).at).store(to.add(j));
                    }
                }
            }
            for (q, start) in starts.iter().enumerate().skip(whole) {
                let to = to.add(q * panel);
                let (from, cols) = (from.from(0, *start), cols - start);
                Lines { from, rows, cols: cols.min(line), to, line }.run::<V>();
            }
        }
    }
}

/// Sums rounded to 16 bits: `to[i, j] = sums[i, j]`, or that added to it.
#[derive(Clone, Copy)]
pub struct Round {
    pub sums: *const f32,
    pub sums_row: usize,
    pub to: *mut u16,
    pub to_row: usize,
    pub kind: DType,
    pub rows: usize,
    pub cols: usize,
    pub add: bool,
}

impl Job<f32> for Round {
    #[inline(always)]
    unsafe fn run<V: Vector<Scalar = f32>>(self) {
        for i in 0..self.rows {
            // SAFETY: the caller promises the sums and C.
            unsafe {
                let sums = self.sums.add(i * self.sums_row);
                let to = self.to.add(i * self.to_row);
                if self.kind == DType::BF16 {
                    for j in 0..self.cols {
                        let to = to.add(j).cast::<bf16>();
                        let before = if self.add { Element::widen(*to) } else { 0.0 };
                        *to = Element::narrow(before + *sums.add(j));
                    }
                } else {
                    let end = self.cols - self.cols % V::LANES;
                    for j in (0..end).step_by(V::LANES) {
                        let mut sum = V::load(sums.add(j));
                        if self.add {
                            sum = V::from_f16(to.add(j)).plus(sum);
                        }
                        sum.to_f16(to.add(j));
                    }
                    for j in end..self.cols {
                        let to = to.add(j).cast::<f16>();
                        let before = if self.add { Element::widen(*to) } else { 0.0 };
                        *to = Element::narrow(before + *sums.add(j));
                    }
                }
            }
        }
    }
}

/// Copying and rounding, for the types that sum.
pub trait Packs: Real {
    /// Does the copy.
    ///
    /// # Safety
    /// The CPU has `isa`; the block can be read, its storage type sums in this type,
    /// and `rows * line` numbers can be written.
    unsafe fn lines(lines: Lines<Self>, isa: Isa);

    /// Copies panels.
    ///
    /// # Safety
    /// The CPU has `isa`; the block can be read, its storage type sums in this type,
    /// and the panels can be written.
    unsafe fn panels(panels: Panels<Self>, isa: Isa);

    /// Rounds `rows` by `cols` sums, a row every `sums_row`, to the 16-bit type `kind`.
    ///
    /// # Safety
    /// The CPU has `isa`, the sums can be read and the result be written.
    unsafe fn round(sums: *const Self, round: Round, isa: Isa);
}

impl Packs for f32 {
    unsafe fn panels(panels: Panels<f32>, isa: Isa) {
        // SAFETY: by the caller's promise.
        unsafe { isa.f32(panels) }
    }
    unsafe fn lines(lines: Lines<f32>, isa: Isa) {
        // SAFETY: by the caller's promise.
        unsafe { isa.f32(lines) }
    }
    unsafe fn round(sums: *const f32, round: Round, isa: Isa) {
        // SAFETY: by the caller's promise.
        unsafe { isa.f32(Round { sums, ..round }) }
    }
}

impl Packs for f64 {
    unsafe fn panels(panels: Panels<f64>, isa: Isa) {
        // SAFETY: by the caller's promise.
        unsafe { isa.f64(panels) }
    }
    unsafe fn lines(lines: Lines<f64>, isa: Isa) {
        // SAFETY: by the caller's promise.
        unsafe { isa.f64(lines) }
    }
    unsafe fn round(_: *const f64, _: Round, _: Isa) {
        unreachable!("16-bit numbers are summed in f32")
    }
}
