//! Every operation on a device beside the same on the CPU: on a CPU in a GPU's role,
//! whose memory is locked away from whoever is not a kernel; or, with the feature
//! `cuda` and FERROTRON_KERNELS=cuda, on a GPU.
use candle_core::{DType, Device, Result, Tensor};
use kernels::engine::{self, Engine};
use memory::Family;
use ops::{AdamW, Rope, RowSum};
use params::{Buffer, Element, Init, Param, ParamBuilder, Params, Shard, with_float};

fn device() -> &'static dyn Engine {
    #[cfg(feature = "cuda")]
    if std::env::var("FERROTRON_KERNELS").as_deref() == Ok("cuda") {
        return kernels::gpu::Gpu::get(0).unwrap_or_else(|error| panic!("{error}"));
    }
    kernels::host::Host::leaked()
}

/// A case computed by this processor, and by a device: as far apart as rounding takes
/// them, of the largest number of each result.
#[track_caller]
fn both(dtype: DType, case: impl Fn() -> Result<Vec<Tensor>>) {
    let here = case().unwrap();
    engine::set(Some(device()));
    let there = case();
    engine::set(None);
    let there = there.unwrap();
    assert_eq!(here.len(), there.len());
    let allowed = if dtype == DType::F32 { 2e-6 } else { 2e-2 };
    for (i, (here, there)) in here.iter().zip(&there).enumerate() {
        let flat = |x: &Tensor| -> Vec<f64> {
            x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (here, there) = (flat(here), flat(there));
        assert_eq!(here.len(), there.len(), "result {i}");
        let size = here.iter().fold(1e-9_f64, |max, x| max.max(x.abs()));
        for (x, y) in here.iter().zip(&there) {
            let off = (x - y).abs() / size;
            assert!(off <= allowed, "{dtype:?}, result {i}: {y} for {x} ({off:.1e})");
        }
    }
}

/// Numbers between -1 and 1 that look random, on the CPU.
fn numbers(shape: &[usize], seed: u64, dtype: DType) -> Tensor {
    let n = shape.iter().product::<usize>() as u64;
    let draw = |i: u64| {
        let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed << 7);
        let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    };
    let all: Vec<f64> = (0..n).map(draw).collect();
    Tensor::from_vec(all, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn parameters(dtype: DType, shapes: &[&[usize]]) -> Params {
    let mut builder = ParamBuilder::new(5, dtype);
    for (i, shape) in shapes.iter().enumerate() {
        builder.add(&format!("p{i}"), shape, Init::Normal(0.5));
    }
    builder.build(1).unwrap()
}

/// Forward twice and back, so that gradients are overwritten and added to: the result,
/// the inputs' gradients, and those of the parameters.
fn run(
    params: &Params,
    inputs: &[&Tensor],
    forward: impl Fn() -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let mut results = vec![];
    for seed in [11, 12] {
        let (out, tape) = ops::record(&forward)?;
        let dy = numbers(out.dims(), seed, out.dtype());
        let mut grads = tape.backward_from(&out, dy)?;
        results.push(ops::here(&out)?);
        for input in inputs {
            results.push(ops::here(&grads.take(input)?)?);
        }
    }
    for param in params.iter() {
        results.push(param.grad_tensor()?);
    }
    Ok(results)
}

const TYPES: [DType; 2] = [DType::F32, DType::BF16];

#[test]
fn linear_layers() {
    for dtype in TYPES {
        for biased in [false, true] {
            both(dtype, || {
                let shapes: [&[usize]; 4] = [&[5, 6], &[3, 6], &[5], &[3]];
                let params = parameters(dtype, &shapes[..if biased { 4 } else { 2 }]);
                let all: Vec<Param> = params.iter().cloned().collect();
                let x = numbers(&[2, 7, 6], 1, dtype);
                run(&params, &[&x], || ops::linear(&x, &all[..2], &all[2..]))
            });
        }
    }
}

#[test]
fn norms_of_tokens_and_of_heads() {
    for dtype in TYPES {
        both(dtype, || {
            let params = parameters(dtype, &[&[24]]);
            let weight = params.get("p0").unwrap();
            let x = numbers(&[2, 5, 24], 1, dtype);
            run(&params, &[&x], || ops::rms_norm(&x, weight, 1e-5))
        });
        both(dtype, || {
            let params = parameters(dtype, &[&[4], &[4]]);
            let all: Vec<Param> = params.iter().cloned().collect();
            let x = numbers(&[2, 5, 24], 1, dtype);
            run(&params, &[&x], || ops::qk_norm(&x, 4, 1, &all[0], &all[1], 1e-5))
        });
    }
}

#[test]
fn rotation_gate_and_sum() {
    for dtype in TYPES {
        both(dtype, || {
            let none = parameters(dtype, &[]);
            let x = numbers(&[2, 5, 24], 1, dtype);
            let y = numbers(&[2, 5, 24], 2, dtype);
            let rope = Rope::new(&[1.0, 0.3], 1.1, 0..5, dtype)?;
            let mut all = run(&none, &[&x], || ops::rope(&x, 5, &rope))?;
            all.extend(run(&none, &[&x], || ops::swiglu(&x))?);
            all.extend(run(&none, &[&x, &y], || ops::add(&x, &y))?);
            // The gradients of two uses are added up.
            all.extend(run(&none, &[&x], || ops::add(&ops::add(&x, &x)?, &x))?);
            Ok(all)
        });
    }
}

#[test]
fn attention_with_and_without_documents() {
    for dtype in TYPES {
        for starts in [None, Some([0, 0, 0, 3, 3, 3, 3, 0, 1, 1, 1, 1, 5, 5])] {
            both(dtype, || {
                let none = parameters(dtype, &[]);
                let x = numbers(&[2, 7, 48], 1, dtype);
                let starts = starts.as_ref().map(|starts| &starts[..]);
                run(&none, &[&x], || ops::attention(&x, 4, 1, starts))
            });
        }
    }
}

#[test]
fn what_is_computed_is_counted_alike() {
    let count = || {
        let x = numbers(&[2, 70, 48], 1, DType::F32);
        let before = (ops::flops(), ops::attention_flops());
        run(&parameters(DType::F32, &[]), &[&x], || ops::attention(&x, 4, 1, None))?;
        Result::Ok((ops::flops() - before.0, ops::attention_flops() - before.1))
    };
    let here = count().unwrap();
    engine::set(Some(device()));
    let there = count();
    engine::set(None);
    assert_eq!(there.unwrap(), here);
    assert!(here.0 > 0);
}

/// A table of 11 words, of which rank `rank` of 2 has 6, the last one's padded.
fn table(dtype: DType, rank: usize) -> Params {
    let mut builder = ParamBuilder::new(5, dtype);
    let words = if rank == 0 { 0..6 } else { 6..11 };
    let padding = 6 - words.len();
    let shard = Shard::whole("table", &[11, 8]).narrow(0, words).pad(padding);
    builder.add_shard(shard, Init::Normal(0.5));
    builder.build(1).unwrap()
}

#[test]
fn both_ends_of_the_vocabulary() {
    let ids = [3u32, 0, 10, 3, 6, 5];
    let targets = [1u32, ops::IGNORE, 10, 2, 7, 0];
    for dtype in TYPES {
        for rank in [0, 1] {
            both(dtype, || {
                let params = table(dtype, rank);
                let weight = params.get("table").unwrap();
                let tokens = Tensor::from_slice(&ids, (2, 3), &Device::Cpu)?;
                run(&params, &[], || ops::embedding(&tokens, weight))
            });
            both(dtype, || {
                let params = table(dtype, rank);
                let weight = params.get("table").unwrap();
                let x = numbers(&[2, 3, 8], 3, dtype);
                let mut all = vec![];
                // The other rank's part of each row is told.
                let combine = |rows: &mut [RowSum]| {
                    rows.iter_mut().for_each(|row| {
                        row.sum += 2.0;
                        row.target += 0.25;
                    });
                    Ok(())
                };
                for _ in 0..2 {
                    let (loss, tape) = ops::record(|| {
                        ops::head_loss_of_part(&x, weight, &targets, 0.2, combine)
                    })?;
                    let ones = loss.ones_like()?;
                    let mut grads = tape.backward_from(&loss, ones)?;
                    all.push(ops::here(&grads.take(&x)?)?);
                    all.push(Tensor::new(ops::scalar(&loss)?, &Device::Cpu)?);
                }
                let loss = ops::head_loss_of_part(&x, weight, &targets, 0.2, combine)?;
                all.push(Tensor::new(ops::scalar(&loss)?, &Device::Cpu)?);
                all.push(weight.grad_tensor()?);
                Ok(all)
            });
        }
        both(dtype, || {
            let params = parameters(dtype, &[&[11, 8]]);
            let weight = params.get("p0").unwrap();
            let x = numbers(&[2, 3, 8], 3, dtype);
            let (loss, tape) =
                ops::record(|| ops::head_loss(&x, weight, &targets, 0.2))?;
            let ones = loss.ones_like()?;
            let mut grads = tape.backward_from(&loss, ones)?;
            let dx = ops::here(&grads.take(&x)?)?;
            let loss = Tensor::new(ops::scalar(&loss)?, &Device::Cpu)?;
            Ok(vec![dx, loss, weight.grad_tensor()?])
        });
    }
}

#[test]
fn an_optimizers_step() {
    let hyper = AdamW {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        step: 3,
        grad_scale: 0.5,
    };
    for dtype in TYPES {
        both(dtype, || {
            let n = 1000;
            let wide = |family| Buffer::zeros(DType::F32, n, family);
            let [weights, first, second] = [
                wide(Family::Parameters)?,
                wide(Family::Optimizer)?,
                wide(Family::Optimizer)?,
            ];
            let params = parameters(dtype, &[&[n]]);
            let (param, x) = (params.get("p0").unwrap(), numbers(&[n], 1, DType::F32));
            let x = x.to_vec1::<f32>()?;
            let mut results = vec![];
            with_float!(dtype, T => {
                ops::widen(&param.values::<T>()?, &mut weights.write(0..n)?)?;
                // A gradient, from where gradients come from.
                let tokens = Tensor::from_slice(&[0u32], 1, &Device::Cpu)?;
                let rows = parameters(dtype, &[&[1, n]]);
                let row = rows.get("p0").unwrap();
                let (out, tape) = ops::record(|| ops::embedding(&tokens, row))?;
                let dy = Tensor::from_slice(&x, (1, n), &Device::Cpu)?.to_dtype(dtype)?;
                tape.backward_from(&out, dy)?.finish()?;
                let grads = row.grad::<<T as Element>::Acc>()?;
                let mut squares = ops::Squares::default();
                // More than are waited for at once.
                for end in 0..1100 {
                    squares.add(&grads[..1 + end % 7])?;
                }
                results.push(Tensor::new(squares.sum()?, &Device::Cpu)?);
                let squares = ops::sum_of_squares(&grads);
                results.push(Tensor::new(squares, &Device::Cpu)?);
                let mut weights = weights.write::<<T as Element>::Acc>(0..n)?;
                ops::adamw(
                    &hyper,
                    &mut weights,
                    &grads,
                    &mut first.write(0..n)?,
                    &mut second.write(0..n)?,
                );
                ops::narrow(&weights, &mut param.values_mut::<T>()?)?;
                Result::Ok(())
            })?;
            for buffer in [weights, first, second] {
                let all = buffer.read::<f32>(0..n)?;
                results.push(Tensor::new(&all.here()?[..], &Device::Cpu)?);
            }
            results.push(param.to_tensor()?);
            Ok(results)
        });
    }
}

#[test]
fn a_type_without_kernels_is_refused() {
    engine::set(Some(device()));
    let x = numbers(&[2, 4], 1, DType::F64);
    let refused = ops::swiglu(&x).unwrap_err().to_string();
    engine::set(None);
    assert!(refused.contains("--precision, or --device cpu"), "{refused}");
}
