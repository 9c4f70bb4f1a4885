//! What cuBLASLt is asked for, computed here as it says that it would; and what it
//! makes of it on a GPU, with FERROTRON_KERNELS=cuda.
use super::Checks;
use super::gpu::{Gpu, gpu};
use super::host::{Host, run};
use super::twin::{close, numbers, roundoff};
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue,
    cublasStatus_t as Status, cudaDataType_t as DataType,
};
use kernels::cuda::Device;
use kernels::matmul::{Matmul, Problem, data_type, library, meaning};
use kernels::{Math, Matrix, Number, Ptr, Store};
use std::io::Write;

pub const CHECKS: Checks = checks![
    a_row_major_product_is_asked_for_column_major,
    types_are_those_that_are_asked_for,
    a_bias_that_does_not_suit_the_epilogue_is_added_to,
    another_problem_is_another_key,
    what_is_wrong_is_named,
    statuses_are_put_in_words,
    a_missing_library_is_named,
];

/// Those that need a GPU.
pub const ON_GPU: Checks = checks![
    products_are_those_of_fp64,
    empty_matrices_are_multiplied,
    tf32_is_for_those_who_ask,
    any_thread_starts_products,
    a_plan_is_used_again,
    another_device_is_refused,
];

/// `C [m, n]` of `A [m, k]` and `B [k, n]`.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    k: usize,
    n: usize,
    /// Whether the transposes of A and B are in memory.
    transposed: [bool; 2],
    /// Elements between the rows of A, B and C.
    gaps: [usize; 3],
}

const TYPES: [[Number; 2]; 3] = [
    [Number::F32, Number::F32],
    [Number::Bf16, Number::F32],
    [Number::Bf16, Number::Bf16],
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Set,
    Bias,
    Add,
}

/// Each of these sizes, with every transposition, with gaps and without.
fn cases(sizes: &[[usize; 3]]) -> Vec<Case> {
    let mut all = vec![];
    for &[m, k, n] in sizes {
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            for gaps in [[0, 0, 0], [3, 8, 5]] {
                all.push(Case { m, k, n, transposed, gaps });
            }
        }
    }
    all
}

impl Case {
    /// Rows, columns and strides of A, B and C, as they lie in memory.
    fn stored(&self) -> [[usize; 3]; 3] {
        let Case { m, k, n, transposed: [a, b], gaps } = *self;
        let a = if a { [k, m] } else { [m, k] };
        let b = if b { [n, k] } else { [k, n] };
        [(a, 0), (b, 1), ([m, n], 2)]
            .map(|([rows, cols], i)| [rows, cols, cols + gaps[i]])
    }
    /// Elements of the memory of each.
    fn lens(&self) -> [usize; 3] {
        self.stored().map(|[rows, cols, stride]| match rows {
            0 => 0,
            _ => (rows - 1) * stride + cols,
        })
    }
    fn matrices(&self, [inputs, output]: [Number; 2], at: [Ptr; 3]) -> [Matrix; 3] {
        let numbers = [inputs, inputs, output];
        let [a, b, c] = [0, 1, 2].map(|i| {
            let [rows, cols, stride] = self.stored()[i];
            Matrix::strided(numbers[i], at[i], rows, cols, stride)
        });
        let turned = |matrix: Matrix, t| if t { matrix.t() } else { matrix };
        [turned(a, self.transposed[0]), turned(b, self.transposed[1]), c]
    }
    /// What is to be in C's memory where `before` was; the definition.
    fn product(
        &self,
        [a, b]: [&[f64]; 2],
        bias: &[f64],
        before: &[f64],
        what: What,
    ) -> Vec<f64> {
        let [[.., of_a], [.., of_b], [.., of_c]] = self.stored();
        let [ta, tb] = self.transposed;
        let mut c = before.to_vec();
        for i in 0..self.m {
            for j in 0..self.n {
                let term = |l| {
                    let a = if ta { a[l * of_a + i] } else { a[i * of_a + l] };
                    let b = if tb { b[j * of_b + l] } else { b[l * of_b + j] };
                    a * b
                };
                let sum: f64 = (0..self.k).map(term).sum();
                let to = &mut c[i * of_c + j];
                *to = match what {
                    What::Set => sum,
                    What::Bias => sum + bias[j],
                    What::Add => *to + sum,
                };
            }
        }
        c
    }
    /// Which elements of C's memory are C's.
    fn is_of_c(&self) -> Vec<bool> {
        let stride = self.stored()[2][2];
        (0..self.lens()[2]).map(|i| i % stride < self.n).collect()
    }
}

/// What NVIDIA's documentation says that `cublasLtMatmul` does. `before` is what was in
/// `D`.
fn column_major(
    problem: Problem,
    [a, b]: [&[f64]; 2],
    bias: &[f64],
    before: &[f64],
) -> Vec<f64> {
    let [m, n, k] = [problem.m, problem.n, problem.k].map(|size| size as usize);
    let [of_a, of_b, of_d] = problem.leading.map(|leading| leading as usize);
    for ((_, rows, cols), leading) in problem.layouts().iter().zip(problem.leading) {
        assert!(leading as u64 >= *rows && *rows > 0 && *cols > 0, "{problem:?}");
    }
    let at = |transposed, leading, row, col| match transposed {
        false => col * leading + row,
        true => row * leading + col,
    };
    let mut d = before.to_vec();
    for row in 0..m {
        for col in 0..n {
            let mut sum = if problem.add { before[col * of_d + row] } else { 0.0 };
            for l in 0..k {
                sum += a[at(problem.transposed[0], of_a, row, l)]
                    * b[at(problem.transposed[1], of_b, l, col)];
            }
            if problem.bias {
                sum += bias[row];
            }
            d[col * of_d + row] = sum;
        }
    }
    d
}

#[cfg_attr(test, test)]
pub fn a_row_major_product_is_asked_for_column_major() {
    let sizes = [[1, 1, 1], [1, 5, 3], [7, 1, 2], [3, 4, 5], [6, 9, 1], [5, 13, 8]];
    for case in cases(&sizes) {
        let [a, b, c] = case.lens();
        let a = numbers(Number::F32, a, 1);
        let b = numbers(Number::F32, b, 2);
        let before = numbers(Number::F32, c, 3);
        let bias = numbers(Number::F32, case.n, 4);
        let at = [Ptr(256), Ptr(512), Ptr(1024)];
        for (what, store) in [
            (What::Set, Store::Set),
            (What::Bias, Store::Bias(Ptr(2048))),
            (What::Add, Store::Add),
        ] {
            let [a_at, b_at, c_at] = case.matrices([Number::F32; 2], at);
            let problem = Problem::new(c_at, store, a_at, b_at, Math::Fp32).unwrap();
            // They go the other way round.
            let got = column_major(problem, [&b, &a], &bias, &before);
            let want = case.product([&a, &b], &bias, &before, what);
            close(&format!("{what:?} {case:?}"), &got, &want, 1e-14);
            // Nor is anything beyond their ends.
            let len = |i: usize| {
                let (_, rows, cols) = problem.layouts()[i];
                (cols - 1) as usize * problem.leading[i] as usize + rows as usize
            };
            assert_eq!(
                [0, 1, 2].map(len),
                [b.len(), a.len(), before.len()],
                "{case:?}"
            );
        }
    }
}

/// Without gaps.
const SMALL: Case = Case { m: 3, k: 4, n: 8, transposed: [false, true], gaps: [0; 3] };

/// Of [`SMALL`], with A, B and C at these addresses.
fn problem(types: [Number; 2], store: Store, at: [u64; 3], math: Math) -> Problem {
    let [a, b, c] = SMALL.matrices(types, at.map(Ptr));
    Problem::new(c, store, a, b, math).unwrap()
}

#[cfg_attr(test, test)]
pub fn types_are_those_that_are_asked_for() {
    for [inputs, output] in TYPES {
        let types = [inputs, output];
        let at = [256, 512, 1024];
        let plain = problem(types, Store::Set, at, Math::default());
        assert_eq!(plain.compute_type(), Compute::CUBLAS_COMPUTE_32F, "{types:?}");
        assert_eq!(plain.scale_type(), DataType::CUDA_R_32F);
        assert_eq!(plain.epilogue(), Epilogue::CUBLASLT_EPILOGUE_DEFAULT);
        let numbers = plain.layouts().map(|(number, ..)| number);
        assert_eq!(numbers, [inputs, inputs, output]);
        let fast = problem(types, Store::Set, at, Math::Tf32);
        // TF32 has nothing to do with numbers in bf16.
        let tf32 = Compute::CUBLAS_COMPUTE_32F_FAST_TF32;
        assert_eq!(fast.compute_type() == tf32, inputs == Number::F32, "{types:?}");
        let bias = problem(types, Store::Bias(Ptr(32)), at, Math::default());
        assert_eq!(bias.epilogue(), Epilogue::CUBLASLT_EPILOGUE_BIAS);
        assert!(bias.bias && !bias.add);
        let add = problem(types, Store::Add, at, Math::default());
        assert!(add.add && !add.bias && !plain.add);
    }
    assert_eq!(data_type(Number::F32), DataType::CUDA_R_32F);
    assert_eq!(data_type(Number::Bf16), DataType::CUDA_R_16BF);
}

/// A bias that the epilogue cannot take is there before the product, which is added.
#[cfg_attr(test, test)]
pub fn a_bias_that_does_not_suit_the_epilogue_is_added_to() {
    let types = [Number::Bf16; 2];
    for (at, suits) in [(32, true), (16, true), (24, false), (2, false)] {
        let store = Store::Bias(Ptr(at));
        let problem = problem(types, store, [256, 512, 1024], Math::Fp32);
        assert_eq!([problem.bias, problem.add], [suits, !suits], "{at}");
    }
    let [a, b] = [(3, 0), (0, 5)]
        .map(|(rows, cols)| Matrix::new(Number::F32, Ptr(64), rows, cols));
    let c = Matrix::new(Number::F32, Ptr(128), 3, 5);
    let none = Problem::new(c, Store::Bias(Ptr(32)), a, b, Math::Fp32).unwrap();
    assert_eq!([none.bias, none.add], [false, true], "a sum of nothing");
}

/// An algorithm is kept for whatever it may depend on, and only that.
#[cfg_attr(test, test)]
pub fn another_problem_is_another_key() {
    let types = [Number::Bf16, Number::F32];
    let at = [256, 512, 1024];
    let first = problem(types, Store::Set, at, Math::Fp32);
    for same in [[16, 32, 48], [4096, 272, 16], [256, 256, 256]] {
        assert_eq!(problem(types, Store::Set, same, Math::Fp32), first, "{same:?}");
    }
    let biased = |at| problem(types, Store::Bias(Ptr(at)), [256; 3], Math::Fp32);
    assert_eq!(biased(32), biased(64));
    let mut all = vec![first, biased(32), biased(4)];
    for at in [[258, 512, 1024], [256, 520, 1024], [256, 512, 1028]] {
        all.push(problem(types, Store::Set, at, Math::Fp32));
    }
    all.push(problem([Number::Bf16; 2], Store::Set, at, Math::Fp32));
    all.push(problem([Number::F32; 2], Store::Set, at, Math::Fp32));
    all.push(problem([Number::F32; 2], Store::Set, at, Math::Tf32));
    all.push(problem([Number::F32; 2], Store::Add, at, Math::Tf32));
    for other in [
        Case { m: 4, ..SMALL },
        Case { k: 5, ..SMALL },
        Case { n: 9, ..SMALL },
        Case { transposed: [true, true], ..SMALL },
        Case { transposed: [false, false], ..SMALL },
        Case { gaps: [1, 0, 0], ..SMALL },
        Case { gaps: [0, 1, 0], ..SMALL },
        Case { gaps: [0, 0, 1], ..SMALL },
    ] {
        let [a, b, c] = other.matrices(types, at.map(Ptr));
        all.push(Problem::new(c, Store::Set, a, b, Math::Fp32).unwrap());
    }
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{one:?}");
    }
    assert_eq!(problem(types, Store::Set, [2, 4, 8], Math::Fp32).alignment, [4, 2, 8]);
}

fn strided(matrix: Matrix, stride: usize) -> Matrix {
    let mut matrix = matrix;
    matrix.stride = stride;
    matrix
}

#[cfg_attr(test, test)]
pub fn what_is_wrong_is_named() {
    let f32 = |at, rows, cols| Matrix::new(Number::F32, Ptr(at), rows, cols);
    let bf16 = |at, rows, cols| Matrix::new(Number::Bf16, Ptr(at), rows, cols);
    let [a, b, c] = [f32(256, 3, 4), f32(512, 4, 5), f32(1024, 3, 5)];
    let wide = strided(a, 3);
    let large = 1 << 31;
    let far = strided(a, usize::MAX / 8);
    let farther = strided(f32(256, 1, 4), usize::MAX);
    for (c, store, a, b, expected) in [
        (c, Store::Set, a, f32(512, 5, 4), "A F32 [3, 4] · B F32 [5, 4]: the sizes do"),
        (c, Store::Set, f32(256, 2, 4), b, "the sizes do not fit"),
        (f32(0, 3, 4), Store::Set, a, b, "the sizes do not fit"),
        (f32(0, 5, 3).t(), Store::Add, a, b, "F32 [3, 5] transposed += A F32 [3, 4] ·"),
        (
            c,
            Store::Set,
            wide,
            b,
            "A F32 [3, 4] of stride 3 · B F32 [4, 5]: A: rows of 4",
        ),
        (c, Store::Set, a, strided(f32(512, 5, 4), 3).t(), "B: rows of 4"),
        (strided(c, 4), Store::Add, a, b, "C: rows of 5 do not fit"),
        (f32(0, large, 5), Store::Set, f32(0, large, 4), b, "C: more than 2147483647"),
        (f32(0, 3, 5), Store::Set, f32(0, 3, large), f32(0, large, 5), "A: more than"),
        (f32(0, 3, large), Store::Set, a, f32(0, 4, large), "C: more than"),
        (c, Store::Set, far, b, "A: no memory has so many elements"),
        (f32(0, 1, 5), Store::Set, farther, b, "A: no memory has so many elements"),
        (c, Store::Set, a, f32(u64::MAX - 7, 4, 5), "B: no memory has so many"),
        (c, Store::Set, a, f32(514, 4, 5), "B: address 0x202 is not"),
        (c, Store::Bias(Ptr(2)), a, b, "+ bias: address 0x2 is not a bias's"),
        (c, Store::Set, bf16(0, 3, 4), b, "A and B must be of one type"),
        (bf16(0, 3, 5), Store::Set, a, b, "F32 of F32, not Bf16"),
    ] {
        let error = Problem::new(c, store, a, b, Math::Fp32).err();
        let error = error.unwrap_or_else(|| panic!("{expected}: no error")).to_string();
        assert!(error.starts_with("C ") && error.contains(expected), "{error}");
    }
    // Nothing in it, but a stride: that is none.
    let empty = strided(f32(0, 0, 4), usize::MAX / 2);
    Problem::new(f32(0, 0, 5), Store::Set, empty, b, Math::Fp32).unwrap();
}

#[cfg_attr(test, test)]
pub fn statuses_are_put_in_words() {
    let text = meaning(Status::CUBLAS_STATUS_NOT_SUPPORTED);
    assert_eq!(text, "CUBLAS_STATUS_NOT_SUPPORTED (it has no algorithm for that)");
}

#[cfg_attr(test, test)]
pub fn a_missing_library_is_named() {
    if let Err(error) = library() {
        let error = error.to_string();
        for part in ["no cuBLASLt", "libcublasLt.so.13", "LD_LIBRARY_PATH"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

/// The GPU that tests are to run on, or none. Then it is said.
fn device(test: &str) -> Option<&'static Device> {
    let device = gpu().map(Gpu::device);
    if device.is_none() {
        // Not by a macro: a test that passes would keep it to itself.
        let text = format!("matmul::{test}: SKIPPED, FERROTRON_KERNELS is not cuda\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    device
}

/// The product on the GPU, and as it should be. A, B and C start so many elements after
/// a multiple of 16 bytes, and a bias as A does.
#[track_caller]
fn product(
    device: &Device,
    matmul: &Matmul,
    case: Case,
    [inputs, output]: [Number; 2],
    what: What,
    after: [usize; 3],
) -> [Vec<f64>; 2] {
    let [len_a, len_b, len_c] = case.lens();
    let [a, b] = [(len_a, 1), (len_b, 2)].map(|(len, seed)| numbers(inputs, len, seed));
    let bias = numbers(output, case.n, 3);
    let is_of_c = case.is_of_c();
    let mut before = numbers(output, len_c, 4);
    if what != What::Add {
        // What is overwritten is not read.
        let poison = before.iter_mut().zip(&is_of_c).filter(|(_, is_of_c)| **is_of_c);
        poison.for_each(|(x, _)| *x = f64::NAN);
    }
    let want = case.product([&a, &b], &bias, &before, what);
    // Bits, because what is not a number does not even equal itself.
    let got = run(|host: &Host| {
        let a = host.array(inputs, &a, after[0]);
        let b = host.array(inputs, &b, after[1]);
        let mut c = host.array(output, &before, after[2]);
        let mut bias = host.array(output, &bias, after[0]);
        let at = [a.at(), b.at(), c.at()];
        let [a_at, b_at, c_at] = case.matrices([inputs, output], at);
        let store = match what {
            What::Set => Store::Set,
            What::Bias => Store::Bias(bias.at()),
            What::Add => Store::Add,
        };
        // SAFETY: the arrays are as large as that. One that is written beyond its end
        // is what the tests are to find.
        let done = unsafe { matmul.start(device, c_at, store, a_at, b_at) };
        done.and_then(|()| device.synchronize())
            .unwrap_or_else(|error| panic!("{case:?}: {error}"));
        bias.values();
        c.values().into_iter().map(f64::to_bits).collect::<Vec<u64>>()
    });
    let got: Vec<f64> = got.into_iter().map(f64::from_bits).collect();
    let of = |values: &[f64], inside: bool| -> Vec<f64> {
        let all = values.iter().zip(&is_of_c);
        all.filter(|(_, is_of_c)| **is_of_c == inside).map(|(x, _)| *x).collect()
    };
    assert_eq!(of(&got, false), of(&before, false), "{case:?}: between the rows");
    [&got, &want].map(|values| of(values, true))
}

/// They are as close as that.
#[track_caller]
fn check(
    device: &Device,
    matmul: &Matmul,
    case: Case,
    types: [Number; 2],
    what: What,
    after: [usize; 3],
    bound: f64,
) {
    let [got, want] = product(device, matmul, case, types, what, after);
    let name = format!("{types:?}, {what:?}, after {after:?}: {case:?}");
    close(&name, &got, &want, bound);
}

/// None is aligned as another is.
const AFTER: [[usize; 3]; 3] = [[0, 0, 0], [1, 2, 4], [4, 2, 1]];

/// Of sums in fp32, relative to the result as a whole.
const SUMS: f64 = 3e-6;

#[cfg_attr(test, test)]
pub fn products_are_those_of_fp64() {
    let Some(device) = device("products_are_those_of_fp64") else { return };
    let matmul = Matmul::new(device).unwrap_or_else(|error| panic!("{error}"));
    let small = [[1, 1, 1], [1, 7, 4], [4, 3, 1], [3, 4, 5], [17, 33, 9]];
    let large = [[64, 32, 48], [33, 129, 65], [128, 256, 72], [8, 4096, 16]];
    for case in cases(&[&small[..], &large].concat()) {
        for types in TYPES {
            for what in [What::Set, What::Bias, What::Add] {
                for after in AFTER {
                    let bound = roundoff(types[1]) + SUMS;
                    check(device, &matmul, case, types, what, after, bound);
                }
            }
        }
    }
}

/// Sums of nothing are zero, and what is nothing is not written.
#[cfg_attr(test, test)]
pub fn empty_matrices_are_multiplied() {
    let Some(device) = device("empty_matrices_are_multiplied") else { return };
    let matmul = Matmul::new(device).unwrap_or_else(|error| panic!("{error}"));
    let sizes = [[0, 4, 5], [3, 4, 0], [3, 0, 5], [1, 0, 1], [9, 0, 8], [0, 0, 0]];
    for case in cases(&sizes) {
        for types in TYPES {
            for what in [What::Set, What::Bias, What::Add] {
                for after in AFTER {
                    check(device, &matmul, case, types, what, after, 0.0);
                }
            }
        }
    }
}

/// And fp32 is fp32, by the bound of the test above.
#[cfg_attr(test, test)]
pub fn tf32_is_for_those_who_ask() {
    let Some(device) = device("tf32_is_for_those_who_ask") else { return };
    let mut matmul = Matmul::new(device).unwrap_or_else(|error| panic!("{error}"));
    matmul.math = Math::Tf32;
    let types = [Number::F32; 2];
    for case in cases(&[[3, 4, 5], [256, 128, 192]]) {
        for what in [What::Set, What::Bias, What::Add] {
            check(device, &matmul, case, types, what, [0; 3], 2f64.powi(-10));
        }
    }
    let (transposed, gaps) = ([false, true], [0; 3]);
    let case = Case { m: 256, k: 256, n: 256, transposed, gaps };
    let [got, want] = product(device, &matmul, case, types, What::Set, [0; 3]);
    let apart = got.iter().zip(&want).map(|(got, want)| (got - want).abs());
    assert!(apart.fold(0.0, f64::max) > 1e-3, "this is fp32");
}

/// A device is one thread's, until it is another's.
#[cfg_attr(test, test)]
pub fn any_thread_starts_products() {
    let Some(device) = device("any_thread_starts_products") else { return };
    let matmul = Matmul::new(device).unwrap_or_else(|error| panic!("{error}"));
    run(|host| {
        let [a, b] = [2.0, 3.0].map(|x| host.array(Number::F32, &[x], 0));
        let mut c = host.poisoned(Number::F32, 1, 0);
        let at = [a.at(), b.at(), c.at()];
        let start = || {
            let [a, b, c] = at.map(|at| Matrix::new(Number::F32, at, 1, 1));
            // SAFETY: it is as large as that.
            unsafe { matmul.start(device, c, Store::Set, a, b) }.unwrap();
        };
        std::thread::scope(|scope| scope.spawn(start).join().unwrap());
        assert_eq!(c.values(), [6.0]);
    });
    std::thread::scope(|scope| scope.spawn(|| drop(matmul)).join().unwrap());
}

/// One plan serves products at other addresses, with other biases.
#[cfg_attr(test, test)]
pub fn a_plan_is_used_again() {
    let Some(device) = device("a_plan_is_used_again") else { return };
    let matmul = Matmul::new(device).unwrap_or_else(|error| panic!("{error}"));
    run(|host| {
        let x = numbers(Number::F32, 8 * 8, 1);
        let mut all = vec![];
        for seed in [2, 3] {
            let [w, bias] = [64, 8].map(|len| numbers(Number::F32, len, seed));
            let [a, b, bias_at] =
                [&x, &w, &bias].map(|of| host.array(Number::F32, of, 0));
            let mut c = host.poisoned(Number::F32, 64, 0);
            let matrix = |at| Matrix::new(Number::F32, at, 8, 8);
            let [a_at, b_at, c_at] = [a.at(), b.at(), c.at()].map(matrix);
            let store = Store::Bias(bias_at.at());
            // SAFETY: the arrays are as large as that.
            unsafe { matmul.start(device, c_at, store, a_at, b_at) }.unwrap();
            let case = Case { m: 8, k: 8, n: 8, transposed: [false; 2], gaps: [0; 3] };
            let want = case.product([&x, &w], &bias, &[0.0; 64], What::Bias);
            let got = c.values();
            close(&format!("seed {seed}"), &got, &want, roundoff(Number::F32) + SUMS);
            all.push(got);
        }
        all
    });
}

#[cfg_attr(test, test)]
pub fn another_device_is_refused() {
    let Some(device) = device("another_device_is_refused") else { return };
    let matmul = Matmul::new(device).unwrap_or_else(|error| panic!("{error}"));
    let other = Device::new(0).unwrap();
    let empty = Matrix::new(Number::F32, Ptr(0), 0, 0);
    // SAFETY: there is nothing in it.
    let done = unsafe { matmul.start(&other, empty, Store::Set, empty, empty) };
    let error = done.unwrap_err().to_string();
    assert!(error.contains("not the device that Matmul was made for"), "{error}");
}
