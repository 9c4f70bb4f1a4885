//! What the type of numbers changes: nothing where it is that of chapter 1, rounding in
//! 16 bits, and never which weights a small update can move.
use crate::common::{self, distance, folder, gradients, quick, train, values};
use candle_core::DType;
use ch02_mixed_precision::Config;
use ch02_mixed_precision::config::Precision::{self, Bf16, Fp16, Fp32, Fp64};
use ch02_mixed_precision::optimizer::{AdamW, Hyper};
use params::{Init, ParamBuilder, accumulate};

#[test]
fn fp32_and_fp64_are_those_of_chapter_1_bit_for_bit() {
    use ch01_single_gpu::config::Precision as Before;
    let (model, data) = folder();
    for (precision, before) in [(Fp32, Before::Fp32), (Fp64, Before::Fp64)] {
        let config = quick(model.path(), &data, precision);
        let run = train(&Config { micro_batch: 4, ..config.clone() });
        let want = ch01_single_gpu::run(&ch01_single_gpu::Config {
            model: config.model,
            data: config.data,
            tokenizer: config.tokenizer,
            workers: 1,
            threads: 1,
            isolate_documents: true,
            steps: config.steps,
            warmup: config.warmup,
            seq_len: config.seq_len,
            micro_batch: 4,
            global_batch: config.global_batch,
            lr: config.lr,
            precision: before,
            validation_sequences: 0,
            quiet: true,
            ..ch01_single_gpu::Config::default()
        })
        .unwrap();
        for (step, want) in run.steps.iter().zip(&want.steps) {
            assert_eq!((step.loss, step.grad_norm), (want.loss, want.grad_norm));
            assert_eq!(step.extra, want.extra);
        }
        assert_eq!(run.steps.len(), want.steps.len());
        assert!(values(&run.params) == values(&want.params), "{precision:?}");
    }
}

/// The gradient of one step, of rows with unequal numbers of targets, is that of one
/// batch, however it is cut: main gradients are summed in fp32.
#[test]
fn eight_micro_batches_give_the_gradient_of_one() {
    let (model, data) = folder();
    // In fp64, and in the others what rounding each micro-batch's activations and their
    // gradients to so many bits makes of the sum.
    for (precision, bound) in [(Fp64, 1e-12), (Fp32, 1e-5), (Bf16, 3e-2), (Fp16, 4e-3)]
    {
        let one = Config { steps: 1, ..quick(model.path(), &data, precision) };
        let eight = Config { micro_batch: 1, ..one.clone() };
        let (one, eight) = (train(&one), train(&eight));
        let loss = (eight.steps[0].loss / one.steps[0].loss - 1.0).abs();
        assert!(loss <= bound, "{precision:?}: loss off by {loss:e}");
        let both = gradients(&eight.params).into_iter().zip(gradients(&one.params));
        for ((name, got), (_, want)) in both {
            let off = distance(&got, &want);
            assert!(off <= bound, "{precision:?}: {name} is off by {off:e}");
        }
    }
}

/// Gradients of the loss in 16 bits lie within the rounding of the type of fp32's: a
/// chain of some twenty operations, each off by half a unit in the last place.
#[test]
fn sixteen_bit_gradients_are_fp32_gradients_rounded() {
    let (model, data) = folder();
    let step = |precision| {
        train(&Config { steps: 1, ..quick(model.path(), &data, precision) })
    };
    let want = step(Fp32);
    for (precision, bound) in [(Bf16, 4e-2), (Fp16, 5e-3)] {
        let got = step(precision);
        let scale = got.steps[0].extra.get("loss_scale").and_then(|s| s.as_f64());
        assert_eq!(scale, (precision == Fp16).then_some(65536.0));
        for ((name, got), (_, want)) in
            gradients(&got.params).into_iter().zip(gradients(&want.params))
        {
            // Main gradients are those of the scaled loss.
            let got: Vec<f64> = got.iter().map(|g| g / scale.unwrap_or(1.0)).collect();
            let off = distance(&got, &want);
            assert!(off <= bound, "{precision:?}: {name} is off by {off:e}");
            assert!(off > 0.0, "{precision:?}: {name} was not rounded at all");
        }
    }
}

/// One weight of 1, a gradient of 1 in each step: Adam moves it by the learning rate.
fn after_a_hundred_updates(precision: Precision) -> f64 {
    let mut builder = ParamBuilder::new(0, precision.dtype());
    let weight = builder.add("weight", &[1], Init::Ones);
    let params = builder.build(1).unwrap();
    let mut optimizer = AdamW::new(&params).unwrap();
    let hyper =
        Hyper { lr: 1e-4, weight_decay: 0.0, max_grad_norm: 0.0, loss_scale: 4.0 };
    for _ in 0..100 {
        params.begin_step().unwrap();
        let one = std::slice::from_ref(&weight);
        if precision == Fp64 {
            accumulate::<f64>(one, |grad, _| grad.fill(4.0)).unwrap();
        } else {
            accumulate::<f32>(one, |grad, _| grad.fill(4.0)).unwrap();
        }
        let norm = optimizer.grad_norm(&params).unwrap();
        assert_eq!(norm, 4.0);
        optimizer.step(&params, norm / 4.0, &hyper).unwrap();
    }
    common::numbers(&weight.to_tensor().unwrap())[0]
}

#[test]
fn updates_smaller_than_a_16_bit_step_are_not_lost() {
    let want = after_a_hundred_updates(Fp64);
    assert!((want - 0.99).abs() < 1e-6, "{want}");
    // Off by no more than the rounding of the value that the model sees.
    for (precision, spacing) in [(Fp32, 1e-5), (Bf16, 0.5f64.powi(8)), (Fp16, 5e-4)] {
        let got = after_a_hundred_updates(precision);
        assert!((got - want).abs() <= spacing / 2.0, "{precision:?}: {got}");
    }
    // From 1 the next smaller bf16 is 1 - 2⁻⁸: an update of 1e-4 would move nothing.
    let direct = half::bf16::from_f64(1.0 - 1e-4);
    assert_eq!(direct.to_f64(), 1.0);
}

#[test]
fn sixteen_bit_runs_learn_as_fp32_does() {
    let (model, data) = folder();
    let curve = |precision| {
        let config = quick(model.path(), &data, precision);
        let config = Config { steps: 60, lr: Some(5e-3), ..config };
        let run = train(&config);
        run.steps.iter().map(|step| step.loss).collect::<Vec<f64>>()
    };
    let want = curve(Fp32);
    assert!(want[59] < want[0] - 2.0, "{want:?}");
    for precision in [Bf16, Fp16] {
        for (step, (got, want)) in curve(precision).iter().zip(&want).enumerate() {
            assert!(
                (got - want).abs() < 0.1,
                "{precision:?}, step {step}: {got} {want}"
            );
        }
    }
}

#[test]
fn values_are_the_masters_rounded() {
    let (model, data) = folder();
    let run = train(&quick(model.path(), &data, Bf16));
    assert!(run.params.iter().all(|param| param.dtype().unwrap() == DType::BF16));
    assert!(run.params.flats.iter().all(|flat| flat.grads.dtype() == DType::F32));
}

/// Adam divides a gradient by its size, so a run whose gradients all keep the scale
/// hardly shows it. One whose scale changes does: its moments would be sums of
/// different units.
#[test]
fn the_loss_scale_leaves_no_trace() {
    let weights = |scales: [f64; 6]| {
        let mut builder = ParamBuilder::new(7, DType::F16);
        let weight = builder.add("weight", &[5, 3], Init::Normal(1.0));
        let params = builder.build(1).unwrap();
        let mut optimizer = AdamW::new(&params).unwrap();
        for (step, scale) in scales.into_iter().enumerate() {
            params.begin_step().unwrap();
            accumulate::<f32>(std::slice::from_ref(&weight), |grad, _| {
                for (i, grad) in grad.iter_mut().enumerate() {
                    let value = ((3 * i + 5 * step) as f64).sin();
                    *grad = (scale * value) as f32;
                }
            })
            .unwrap();
            let grad_norm = optimizer.grad_norm(&params).unwrap() / scale;
            let (lr, weight_decay, max_grad_norm) = (0.05, 0.1, 1.0);
            let hyper = Hyper { lr, weight_decay, max_grad_norm, loss_scale: scale };
            optimizer.step(&params, grad_norm, &hyper).unwrap();
        }
        common::numbers(&weight.to_tensor().unwrap())
    };
    let want = weights([1.0; 6]);
    assert_eq!(weights([65536.0; 6]), want);
    assert_eq!(weights([65536.0, 32768.0, 8.0, 16.0, 1024.0, 2.0]), want);
}
