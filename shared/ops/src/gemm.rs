//! (being replaced) Matrix products.
use params::Element;

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
/// `c = a · b`, or `c += a · b`.
pub fn gemm<A: Element, B: Element<Acc = A::Acc>, C: Element<Acc = A::Acc>>(
    c: MatMut<C>,
    store: Store,
    a: Mat<A>,
    b: Mat<B>,
    on: On,
) {
    let _ = on;
    assert!(a.rows == c.rows && b.cols == c.cols && a.cols == b.rows);
    for i in 0..c.rows {
        for j in 0..c.cols {
            let mut sum = <A::Acc as Default>::default();
            for k in 0..a.cols {
                sum += a.data[i * a.row_stride + k * a.col_stride].widen()
                    * b.data[k * b.row_stride + j * b.col_stride].widen();
            }
            let at = &mut c.data[i * c.row_stride + j];
            *at = C::narrow(if store == Store::Add { at.widen() + sum } else { sum });
        }
    }
}
