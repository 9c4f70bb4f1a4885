//! Products against sums in f64, of every type, shape and plan.
use super::*;
use crate::threads;
use half::{bf16, f16};
use params::Real;

/// Numbers between -1 and 1, the same each time.
fn numbers<T: Element>(n: usize, seed: u64) -> Vec<T> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        T::from_f64((x >> 11) as f64 / 2f64.powi(52) - 1.0)
    };
    (0..n).map(|_| next()).collect()
}

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Lay {
    Rows,
    Columns,
    /// Rows with a gap.
    Gap,
    /// Columns with a gap.
    ColumnGap,
    /// No two numbers are neighbours.
    Apart,
}

const LAYS: [Lay; 5] = [Lay::Rows, Lay::Columns, Lay::Gap, Lay::ColumnGap, Lay::Apart];

struct Matrix<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
    strides: (usize, usize),
}

impl<T: Element> Matrix<T> {
    fn new(rows: usize, cols: usize, lay: Lay, seed: u64) -> Self {
        let strides = match lay {
            Lay::Rows => (cols, 1),
            Lay::Columns => (1, rows),
            Lay::Gap => (cols + 3, 1),
            Lay::ColumnGap => (1, rows + 5),
            Lay::Apart => (2 * cols + 1, 2),
        };
        // Not a number more than needed, so that reading beyond would be noticed.
        let len = match rows * cols {
            0 => 0,
            _ => (rows - 1) * strides.0 + (cols - 1) * strides.1 + 1,
        };
        Matrix { data: numbers(len, seed), rows, cols, strides }
    }

    fn view(&self) -> Mat<'_, T> {
        Mat {
            data: &self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.strides.0,
            col_stride: self.strides.1,
        }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.strides.0 + j * self.strides.1].widen().f64()
    }
}

/// Checks one product against sums in `f64`, and that nothing else was written.
fn check<A: Element, B: Element<Acc = A::Acc>, C: Element<Acc = A::Acc>>(
    choice: Choice,
    (m, n, k): (usize, usize, usize),
    (lay_a, lay_b): (Lay, Lay),
    on: On,
) {
    let a = Matrix::<A>::new(m, k, lay_a, 1);
    let b = Matrix::<B>::new(k, n, lay_b, 2);
    for store in [Store::Set, Store::Add] {
        for gap in [0, 3] {
            let stride = n + gap;
            let before = numbers::<C>(m * stride, 3);
            let mut c = before.clone();
            let len = (m * stride).saturating_sub(gap);
            let to = MatMut::strided(&mut c[..len], m, n, stride);
            gemm_by(choice, to, store, a.view(), b.view(), on);
            // Of large products some rows, or this would take long.
            for i in (0..m).step_by(1 + m * n * k / 10_000_000) {
                for j in 0..stride {
                    let at = i * stride + j;
                    let got = c[at].widen().f64();
                    let old = before[at].widen().f64();
                    if j >= n {
                        assert_eq!(got, old, "beyond the row");
                        continue;
                    }
                    let kept = if store == Store::Add { old } else { 0.0 };
                    let terms = (0..k).map(|p| a.at(i, p) * b.at(p, j));
                    let size = kept.abs() + terms.clone().map(f64::abs).sum::<f64>();
                    let want = kept + terms.sum::<f64>();
                    // k roundings of sums (Higham, Accuracy and Stability, (3.5)), and
                    // one to the type of C. Half an ulp is at most epsilon / 2.
                    let sums = (k + 2) as f64 * epsilon::<A::Acc>() / 2.0 * size;
                    let bound = sums + epsilon::<C>() / 2.0 * (want.abs() + sums);
                    assert!(
                        (got - want).abs() <= bound,
                        "{:?}·{:?} into {:?} {store:?} {m} {n} {k} {lay_a:?} {lay_b:?} \
                         {on:?}: c[{i}, {j}] = {got}, not {want} ± {bound:e}",
                        A::DTYPE,
                        B::DTYPE,
                        C::DTYPE,
                    );
                }
            }
        }
    }
}

/// The distance from 1 to the next number.
fn epsilon<T: Element>() -> f64 {
    match T::DTYPE {
        DType::F64 => f64::EPSILON,
        DType::F32 => f32::EPSILON as f64,
        DType::BF16 => 2f64.powi(-7),
        _ => 2f64.powi(-10),
    }
}

#[test]
fn all_types() {
    let _pool = threads::own(2);
    macro_rules! types {
        ($($a:ty, $b:ty => $c:ty;)*) => {
            $(for size in [(13, 37, 19), (65, 70, 401)] {
                for on in [On::ThisThread, On::AllThreads] {
                    for lays in [(Lay::Rows, Lay::Columns), (Lay::Columns, Lay::Rows)] {
                        check::<$a, $b, $c>(Choice::Auto, size, lays, on);
                    }
                }
            })*
        };
    }
    types! {
        f64, f64 => f64;
        f32, f32 => f32; f32, f32 => bf16; f32, f32 => f16;
        bf16, bf16 => bf16; bf16, bf16 => f32; bf16, f32 => bf16; f32, bf16 => f32;
        f16, f16 => f16; f16, f16 => f32; f16, f32 => f16; f32, f16 => f32;
        bf16, f16 => f32; f16, bf16 => bf16;
    }
}

#[test]
fn all_layouts() {
    let _pool = threads::own(2);
    for a in LAYS {
        for b in LAYS {
            for size in [(1, 1, 1), (5, 33, 18), (30, 65, 50), (70, 130, 390)] {
                check::<f32, f32, f32>(Choice::Auto, size, (a, b), On::AllThreads);
            }
            check::<f64, f64, f64>(Choice::Auto, (29, 41, 53), (a, b), On::ThisThread);
            check::<bf16, bf16, bf16>(
                Choice::Auto,
                (29, 41, 53),
                (a, b),
                On::ThisThread,
            );
            check::<f16, f32, f32>(Choice::Auto, (29, 41, 53), (a, b), On::ThisThread);
        }
    }
}

#[test]
fn all_small_sizes() {
    for m in [0, 1, 2, 11, 12, 13, 14, 25] {
        for n in [0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 65] {
            for k in [0, 1, 2, 3, 4, 5, 8, 31] {
                let lays = (Lay::Rows, Lay::Columns);
                check::<f32, f32, f32>(Choice::Auto, (m, n, k), lays, On::ThisThread);
                check::<f32, f32, f32>(
                    Choice::Auto,
                    (m, n, k),
                    (lays.1, lays.0),
                    On::ThisThread,
                );
            }
        }
    }
}

#[test]
fn many_blocks() {
    let _pool = threads::own(2);
    // More than one block of columns, of k, and of a 16-bit result's rows.
    for size in [(30, 2500, 800), (3, 5000, 10)] {
        check::<f32, f32, f32>(
            Choice::Auto,
            size,
            (Lay::Rows, Lay::Columns),
            On::AllThreads,
        );
    }
    check::<bf16, bf16, bf16>(
        Choice::Auto,
        (1200, 900, 390),
        (Lay::Rows, Lay::Rows),
        On::AllThreads,
    );
}

#[test]
#[should_panic(expected = "gemm of [2, 3] and [4, 5] into [2, 5]")]
fn sizes_must_fit() {
    let mut c = [0f32; 10];
    let (a, b) = ([0f32; 6], [0f32; 20]);
    let (a, b) = (Mat::new(&a, 2, 3), Mat::new(&b, 4, 5));
    gemm(MatMut::new(&mut c, 2, 5), Store::Set, a, b, On::ThisThread);
}

#[test]
#[should_panic(expected = "b of 3 rows every 5 and 5 columns every 1 does not fit")]
fn matrices_must_lie_in_their_slices() {
    let mut c = [0f32; 10];
    let (a, b) = ([0f32; 6], [0f32; 14]);
    let (a, b) = (Mat::new(&a, 2, 3), Mat::new(&b, 3, 5));
    gemm(MatMut::new(&mut c, 2, 5), Store::Set, a, b, On::ThisThread);
}

/// All plans, on one to four threads.
#[test]
fn plans_and_threads_do_not_change_a_bit() {
    let (m, n, k) = (145, 175, 800);
    let both = [false, true];
    for (lay_a, lay_b) in [(Lay::Rows, Lay::Columns), (Lay::Columns, Lay::Rows)] {
        let a = Matrix::<f32>::new(m, k, lay_a, 6);
        let b = Matrix::<f32>::new(k, n, lay_b, 7);
        let product = |plan| {
            let mut c = vec![0.1f32; m * n];
            let at = c.as_mut_ptr().cast();
            let to = Target { at, kind: DType::F32, row: n, add: true };
            let source = |x: &Matrix<f32>| {
                Source::new(x.data.as_ptr(), x.strides.0, x.strides.1)
            };
            let (size, a, b) = (Size { m, n, k }, source(&a), source(&b));
            // SAFETY: the CPU has `plan.isa`, and the sizes are those made above.
            unsafe { blocks::shared::<f32>(plan, size, to, a, b, true) };
            c
        };
        let mut first = None;
        for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
            // Plain Rust on x86-64 rounds products and sums separately.
            if !isa.here() || isa == Isa::Portable && Isa::best() != isa {
                continue;
            }
            for threads in 1..5 {
                let _pool = threads::own(threads);
                for (pack_a, pack_b) in both.iter().flat_map(|a| both.map(|b| (*a, b)))
                {
                    for share in [Share::Rows, Share::Columns] {
                        let plan = Plan { isa, pack_a, pack_b, share };
                        let c = product(plan);
                        assert_eq!(
                            &c,
                            first.get_or_insert_with(|| c.clone()),
                            "{plan}"
                        );
                    }
                }
            }
        }
    }
}

/// Also the instructions that would not be picked here.
#[test]
fn every_choice_is_right() {
    let _pool = threads::own(2);
    for (choice, _) in Choice::ALL.into_iter().filter(|(choice, _)| choice.here()) {
        for size in [(7, 5, 3), (25, 70, 90), (70, 90, 50)] {
            for lays in [(Lay::Rows, Lay::Columns), (Lay::Columns, Lay::Gap)] {
                check::<f32, f32, f32>(choice, size, lays, On::AllThreads);
                check::<f64, f64, f64>(choice, size, lays, On::AllThreads);
                check::<bf16, f16, bf16>(choice, size, lays, On::AllThreads);
                check::<f16, bf16, f16>(choice, size, lays, On::AllThreads);
            }
        }
    }
}
