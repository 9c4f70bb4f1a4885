//! However many threads a rank has, the results are the same bit for bit.

use crate::cases::*;
use crate::common::{normal, same, upstream};
use candle_core::{DType, Device, Tensor};
use ops::{AdamW, adamw, sum_of_squares, threads};

/// As many as a small machine has, more, and a number that divides nothing.
const COUNTS: [usize; 3] = [2, 3, 7];

#[test]
fn every_operation_is_independent_of_the_threads() {
    let h = heads([2, 131, 6, 2, 16]);
    let cases = [
        linear(&[300, 65], &[70, 17], true),
        rms_norm(&[700, 65]),
        qk_norm(h),
        rope(h, 8, 1.0, 0),
        attention(h, &[&[65, 66], &[131]]),
        swiglu(&[300, 258]),
        add(&[300, 258]),
        embedding(&[2, 150], 13, 700),
        head_loss(&[300, 33], 300, 4),
    ];
    for case in cases {
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            let (x, p) = (case.inputs(dtype), case.params(dtype));
            let alone = case.run(&x, &p, upstream);
            for n in COUNTS {
                let _pool = threads::own(n);
                assert_eq!(threads::count(), n);
                let many = case.run(&x, &p, upstream);
                let what = format!("{} in {dtype:?} on {n} threads", case.name);
                same(&what, &many.output, &alone.output);
                for (many, alone) in many.inputs.iter().zip(&alone.inputs) {
                    same(&format!("{what}: gradient of an input"), many, alone);
                }
                for (many, alone) in many.params.iter().zip(&alone.params) {
                    same(&format!("{what}: gradient of a parameter"), many, alone);
                }
            }
        }
    }
}

#[test]
fn the_optimizer_is_independent_of_the_threads() {
    const N: usize = 300_007;
    let draw = |name: &str| normal(name, 0, &[N]).to_dtype(DType::F32).unwrap();
    let [values, grads] = ["values", "grads"].map(draw);
    let grads = grads.to_vec1::<f32>().unwrap();
    let steps = || {
        let mut values = values.to_vec1::<f32>().unwrap();
        let (mut first, mut second) = (vec![0.0; N], vec![0.0; N]);
        for step in 1..=3 {
            let hyper = AdamW {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                grad_scale: 0.7,
            };
            adamw(&hyper, &mut values, &grads, &mut first, &mut second);
        }
        let all = [values, first, second].concat();
        (sum_of_squares(&all), Tensor::from_vec(all, 3 * N, &Device::Cpu).unwrap())
    };
    let alone = steps();
    for n in COUNTS {
        let _pool = threads::own(n);
        let many = steps();
        assert_eq!(many.0.to_bits(), alone.0.to_bits(), "{n} threads");
        same(&format!("{n} threads"), &many.1, &alone.1);
    }
}
