//! In bf16 and f16 numbers are stored; sums are f32. One added to 256 is 256 in bf16,
//! so a sum in bf16 of many ones stops there.

use crate::common::{flat, normal, parameters};
use candle_core::{DType, Device, Tensor};
use ops::record;
use params::{Init, Param};

const MANY: usize = 4096;

fn ones(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::ones(shape, dtype, &Device::Cpu).unwrap()
}

fn weights(of: &[(&str, &[usize])], dtype: DType) -> Vec<Param> {
    parameters(of, Init::Ones, dtype)
}

#[track_caller]
fn all(x: &Tensor, value: f64) {
    let first = flat(x)[0];
    assert!(flat(x).iter().all(|x| *x == value), "{first}, expected {value}");
}

fn in_both(test: impl Fn(DType)) {
    [DType::BF16, DType::F16].into_iter().for_each(test);
}

#[test]
fn many_inputs_of_a_matrix() {
    in_both(|dtype| {
        let p = weights(&[("w", &[3, MANY]), ("b", &[3])], dtype);
        let x = ones(&[2, MANY], dtype);
        all(&ops::linear(&x, &p[..1], &[]).unwrap(), 4096.0);
        let bias = (ones(&[3], dtype) * 64.0).unwrap();
        let bias = flat(&bias);
        match dtype {
            DType::BF16 => fill::<half::bf16>(&p[1], &bias),
            _ => fill::<half::f16>(&p[1], &bias),
        }
        // A bias is added before the result is rounded.
        all(&ops::linear(&x, &p[..1], &p[1..]).unwrap(), 4160.0);
    })
}

fn fill<T: params::Element>(param: &Param, values: &[f64]) {
    let mut to = param.values_mut::<T>().unwrap();
    to.iter_mut().zip(values).for_each(|(to, value)| *to = T::from_f64(*value));
}

#[test]
fn many_outputs_of_a_matrix() {
    in_both(|dtype| {
        let p = weights(&[("w", &[MANY, 3])], dtype);
        let x = ones(&[2, 3], dtype);
        let (y, tape) = record(|| ops::linear(&x, &p, &[])).unwrap();
        let dy = ones(y.dims(), dtype);
        all(&tape.backward_from(&y, dy).unwrap().take(&x).unwrap(), 4096.0);
    })
}

#[test]
fn many_tokens_and_passes_of_a_matrix_a_norm_and_a_table() {
    in_both(|dtype| {
        let p = weights(&[("w", &[3, 4]), ("b", &[3]), ("table", &[2, 4])], dtype);
        let x = ones(&[MANY, 4], dtype);
        let ids = Tensor::ones(MANY, DType::U32, &Device::Cpu).unwrap();
        for pass in 1..=3 {
            let (y, tape) = record(|| ops::linear(&x, &p[..1], &p[1..2])).unwrap();
            tape.backward_from(&y, ones(y.dims(), dtype)).unwrap();
            let (y, tape) = record(|| ops::embedding(&ids, &p[2])).unwrap();
            tape.backward_from(&y, ones(y.dims(), dtype)).unwrap();
            // Counting in ones stops at 256 in bf16 and at 2048 in f16.
            let sum = (pass * MANY) as f64;
            all(&p[0].grad_tensor().unwrap(), sum);
            all(&p[1].grad_tensor().unwrap(), sum);
            assert_eq!(p[0].grad_tensor().unwrap().dtype(), DType::F32);
            assert_eq!(flat(&p[2].grad_tensor().unwrap())[..4], [0.0; 4]);
            assert_eq!(flat(&p[2].grad_tensor().unwrap())[4..], [sum; 4]);
        }
        let norm = weights(&[("norm", &[4])], dtype);
        let (y, tape) = record(|| ops::rms_norm(&x, &norm[0], 0.0)).unwrap();
        tape.backward_from(&y, ones(y.dims(), dtype)).unwrap();
        all(&norm[0].grad_tensor().unwrap(), 4096.0);
    })
}

#[test]
fn a_wide_row_is_normalized() {
    in_both(|dtype| {
        let norm = weights(&[("norm", &[MANY])], dtype);
        all(&ops::rms_norm(&ones(&[2, MANY], dtype), &norm[0], 0.0).unwrap(), 1.0);
    })
}

#[test]
fn many_keys() {
    in_both(|dtype| {
        // Equal scores: each of 512 values weighs 1 / 512, a query's gradient is zero.
        let x = ones(&[1, 512, 3 * 2], dtype);
        let (y, tape) = record(|| ops::attention(&x, 1, 1, None)).unwrap();
        all(&y, 1.0);
        let mut dx = tape.backward_from(&y, ones(y.dims(), dtype)).unwrap();
        let dx = flat(&dx.take(&x).unwrap());
        // The first token's value is in every mean: Σ 1 / i = 6.8 in 512 terms.
        let harmonic: f64 = (1..=512).map(|i| 1.0 / i as f64).sum();
        assert!((dx[4] - harmonic).abs() < harmonic / 250.0, "{}", dx[4]);
    })
}

#[test]
fn many_targets() {
    in_both(|dtype| {
        let head = parameters(&[("head", &[2, 3])], Init::Zeros, dtype);
        let x = normal("x", 0, &[MANY, 3]).to_dtype(dtype).unwrap();
        let (loss, tape) =
            record(|| ops::head_loss(&x, &head[0], &[1; MANY], 1.0)).unwrap();
        assert_eq!(loss.dtype(), DType::F32);
        let want = MANY as f64 * 2f64.ln();
        assert!((flat(&loss)[0] - want).abs() < 1e-6 * want);
        tape.backward_from(&loss, loss.ones_like().unwrap()).unwrap();
        let sums = flat(&x.to_dtype(DType::F64).unwrap().sum(0).unwrap());
        let grad = flat(&head[0].grad_tensor().unwrap());
        for i in 0..3 {
            assert!((grad[i] - sums[i] / 2.0).abs() < 1e-3, "{} {}", grad[i], sums[i]);
            assert_eq!(grad[i], -grad[3 + i]);
        }
    })
}
