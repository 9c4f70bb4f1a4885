//! What `ops` makes of the same numbers, in f64.
use candle_core::{DType, Device, Tensor};
use half::bf16;
use kernels::Number;
use params::{Init, Param, ParamBuilder};

/// `n` numbers between -2 and 2 that look random, as `number` has them. Other seeds
/// give others.
pub fn numbers(number: Number, n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = (state >> 33) as f64 / (1u64 << 31) as f64;
        rounded(number, 4.0 * x - 2.0)
    };
    (0..n).map(|_| next()).collect()
}

/// The nearest of that type.
pub fn rounded(number: Number, x: f64) -> f64 {
    match number {
        Number::F32 => (x as f32).into(),
        Number::Bf16 => bf16::from_f64(x).into(),
    }
}

/// Half the distance from 1 to the next of that type.
pub fn roundoff(number: Number) -> f64 {
    match number {
        Number::F32 => 2f64.powi(-24),
        Number::Bf16 => 2f64.powi(-8),
    }
}

pub fn tensor(values: &[f64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

pub fn flat(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Parameters with these values, side by side, before a step.
pub fn parameters(of: &[(&[f64], &[usize])]) -> Vec<Param> {
    let mut builder = ParamBuilder::new(1, DType::F64);
    let name = |i| format!("parameter {i}");
    let all: Vec<Param> = of
        .iter()
        .enumerate()
        .map(|(i, (_, shape))| builder.add(&name(i), shape, Init::Zeros))
        .collect();
    builder.build(1).unwrap();
    for (param, (values, _)) in all.iter().zip(of) {
        param.values_mut::<f64>().unwrap().copy_from_slice(values);
        param.begin_step();
    }
    all
}

/// The result of `op`, and the gradient of `x` where that of the result is `dy`.
pub fn forward_and_backward(
    x: &Tensor,
    dy: &[f64],
    op: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
) -> [Vec<f64>; 2] {
    let (y, tape) = ops::record(|| op(x)).unwrap();
    let dy = tensor(dy, y.dims());
    let dx = tape.backward_from(&y, dy).unwrap().take(x).unwrap();
    [flat(&y), flat(&dx)]
}

/// Their distance, as vectors, relative to the second is at most `bound`; and nothing
/// in them is not a number.
#[track_caller]
pub fn close(what: &str, got: &[f64], want: &[f64], bound: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let apart = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
    let size = norm(&mut want.iter().copied());
    assert!(apart <= bound * size, "{what}: {:.2e}, bound {bound:.2e}", apart / size);
}
