//! What a matrix product is asked for with: sizes and addresses.
use crate::launch::{Number, Ptr};
use std::fmt;

/// A matrix in a device's memory, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// What it is made of.
    pub number: Number,
    /// Where its first element is.
    pub at: Ptr,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// The leading dimension: elements from where a row starts to where the next does,
    /// in memory.
    pub stride: usize,
    /// What lies in memory is the transpose.
    pub(crate) transposed: bool,
}

impl Matrix {
    /// `[rows, cols]`, without gaps.
    pub fn new(number: Number, at: Ptr, rows: usize, cols: usize) -> Matrix {
        Matrix::strided(number, at, rows, cols, cols)
    }
    /// With `stride` elements from a row to the next: a part of a larger matrix.
    pub fn strided(
        number: Number,
        at: Ptr,
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Matrix {
        Matrix { number, at, rows, cols, stride, transposed: false }
    }
    /// The transpose. Nothing moves.
    pub fn t(self) -> Matrix {
        let Matrix { rows, cols, transposed, .. } = self;
        Matrix { rows: cols, cols: rows, transposed: !transposed, ..self }
    }
    /// Rows and columns, as they lie in memory.
    pub(crate) fn stored(&self) -> (usize, usize) {
        match self.transposed {
            false => (self.rows, self.cols),
            true => (self.cols, self.rows),
        }
    }
    /// An error says what is wrong with it.
    #[cfg(any(feature = "cuda", feature = "host"))]
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let (rows, cols) = self.stored();
        let (stride, size) = (self.stride, self.number.size());
        if self.rows.max(self.cols) > MAX_SIZE {
            return Err(format!("more than {MAX_SIZE} rows or columns"));
        }
        if stride < cols {
            return Err(format!("rows of {cols} do not fit into a stride of {stride}"));
        }
        // All of them, so that no arithmetic overflows later.
        let bytes = rows.checked_mul(stride).and_then(|all| all.checked_mul(size));
        let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let end = bytes.and_then(|bytes| self.at.0.checked_add(bytes as u64));
        if end.is_none() || i64::try_from(stride).is_err() {
            return Err("no memory has so many elements".into());
        }
        match self.at.0 % size as u64 {
            0 => Ok(()),
            _ => Err(format!("address {:#x} is not one of its elements", self.at.0)),
        }
    }
}

/// Rows, or columns: cuBLAS counts them in 32 bits.
#[cfg(any(feature = "cuda", feature = "host"))]
const MAX_SIZE: usize = i32::MAX as usize;

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Matrix { number, rows, cols, stride, .. } = self;
        write!(f, "{number:?} [{rows}, {cols}]")?;
        if self.transposed {
            write!(f, " transposed")?;
        }
        if *stride != self.stored().1 {
            write!(f, " of stride {stride}")?;
        }
        Ok(())
    }
}

/// What happens to what the result matrix held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    /// It is overwritten.
    Set,
    /// It is overwritten, and this vector, `[cols]` of its type, is in each row's sum.
    Bias(Ptr),
    /// The product is added to it, before it is rounded.
    Add,
}

/// How numbers in fp32 are multiplied. Those in bf16 are exact in either, and all sums
/// are in fp32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Math {
    /// As they are.
    #[default]
    Fp32,
    /// Rounded to the 10 bits of TF32: on tensor cores, several times as fast.
    Tf32,
}

/// `C += A · B`, with their sizes.
#[cfg(any(feature = "cuda", feature = "host"))]
pub(crate) struct Words<'a>(pub &'a Matrix, pub Store, pub &'a Matrix, pub &'a Matrix);

#[cfg(any(feature = "cuda", feature = "host"))]
impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Words(c, store, a, b) = self;
        let (equals, bias) = match store {
            Store::Set => ("=", ""),
            Store::Bias(_) => ("=", " + bias"),
            Store::Add => ("+=", ""),
        };
        write!(f, "C {c} {equals} A {a} · B {b}{bias}")
    }
}
