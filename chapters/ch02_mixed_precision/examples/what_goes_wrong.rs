//! What 16 bits lose, and what each part of mixed precision keeps of it: weights, sums,
//! and gradients, first one number of each, then the gradients of a real first step.
//!
//! ```sh
//! cargo run -p ch02_mixed_precision --example what_goes_wrong
//! ```
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ch02_mixed_precision::attention::Positions;
use ch02_mixed_precision::block::Block;
use ch02_mixed_precision::{Config, inputs};
use params::{Element, Init, ParamBuilder, Real, bf16, f16};
use std::cell::RefCell;
use std::rc::Rc;

/// The loss scale that a run in fp16 starts with.
const LOSS_SCALE: f64 = 65536.0;

fn main() -> Result<()> {
    weights();
    sums();
    one_gradient();
    real_gradients()
}

/// A line of the output.
fn show(name: &str, value: impl std::fmt::Display) {
    println!("{name:<42} {value}");
}

/// A weight of 1 after 100 updates of 1e-4 each.
fn weights() {
    let mut weight = bf16::narrow(1.0);
    let mut master: f32 = 1.0;
    for _ in 0..100 {
        weight = bf16::narrow(weight.widen() - 1e-4);
        master -= 1e-4;
    }
    show("weight, bf16", weight);
    show("weight, fp32 master", format!("{master:.4}"));
    show("weight, its rounding to bf16", bf16::narrow(master));
}

/// 4096 ones, added up in `T`.
fn sum_of_ones<T: Element>() -> f64 {
    let mut sum = T::narrow(T::Acc::of(0.0));
    for _ in 0..4096 {
        sum = T::narrow(sum.widen() + T::Acc::of(1.0));
    }
    sum.widen().f64()
}

fn sums() {
    show("4096 ones, summed in bf16", sum_of_ones::<bf16>());
    show("4096 ones, summed in fp16", sum_of_ones::<f16>());
    show("4096 ones, summed in fp32", sum_of_ones::<f32>());
}

/// A gradient that is smaller than half of the smallest fp16 number, 2^-24.
fn one_gradient() {
    let grad: f32 = 1e-8;
    show("1e-8 in bf16", format!("{:.2e}", bf16::narrow(grad).widen()));
    show("1e-8 in fp16", f16::narrow(grad));
    let scale = LOSS_SCALE as f32;
    let scaled = f16::narrow(grad * scale).widen() / scale;
    let error = (scaled - grad).abs() / grad;
    show("1e-8 in fp16, scaled", format!("{scaled:.3e}"));
    show("1e-8 in fp16, scaled: relative error", format!("{error:.1e}"));
}

/// What becomes of numbers when they are rounded to fp16.
#[derive(Default)]
struct Rounded {
    /// Those that are not zero before.
    numbers: u64,
    zero: u64,
    /// Not zero, but with fewer than 11 significant bits.
    subnormal: u64,
    infinite: u64,
    square: f64,
    square_of_error: f64,
}

impl Rounded {
    fn add(&mut self, number: f32) {
        if number == 0.0 {
            return;
        }
        let rounded = f16::narrow(number);
        let zero = rounded == f16::ZERO;
        let small = rounded.to_f64().abs() < f16::MIN_POSITIVE.to_f64();
        self.numbers += 1;
        self.zero += u64::from(zero);
        self.subnormal += u64::from(small && !zero);
        self.infinite += u64::from(rounded.is_infinite());
        self.square += f64::from(number).powi(2);
        self.square_of_error += (rounded.to_f64() - f64::from(number)).powi(2);
    }
    fn show(&self, whose: &str) {
        for (what, count) in [
            ("zero", self.zero),
            ("subnormal", self.subnormal),
            ("infinite", self.infinite),
        ] {
            let share = count as f64 / self.numbers as f64;
            show(&format!("{whose}: {what}"), format!("{share:.6}"));
        }
        let error = (self.square_of_error / self.square).sqrt();
        show(&format!("{whose}: error"), format!("{error:.2e}"));
    }
}

/// Gradients of many numbers, each rounded after it was multiplied by each of `scales`.
#[derive(Clone)]
struct Roundings {
    scales: Vec<f64>,
    rounded: Rc<RefCell<Vec<Rounded>>>,
}

impl Roundings {
    fn new(scales: &[f64]) -> Roundings {
        let rounded = scales.iter().map(|_| Rounded::default()).collect();
        Roundings { scales: scales.to_vec(), rounded: Rc::new(RefCell::new(rounded)) }
    }
    fn add(&self, grads: &[f32]) {
        for (rounded, scale) in self.rounded.borrow_mut().iter_mut().zip(&self.scales) {
            grads.iter().for_each(|grad| rounded.add(grad * *scale as f32));
        }
    }
    fn show(&self, names: &[&str]) {
        for (rounded, name) in self.rounded.borrow().iter().zip(names) {
            rounded.show(name);
        }
    }
}

/// The gradients of the first step of the default run, computed in fp32, then rounded
/// to fp16 without and with a loss scale: the share of those that become zero,
/// subnormal (with fewer digits than others) or infinite, and the length of the error
/// beside that of the whole.
///
/// What a run in fp16 rounds are the gradients of activations; counted are those of the
/// residual stream, before the first layer and after each. The loss is a mean over the
/// tokens of the step, so they are the smaller the more tokens there are: of the same
/// tokens in a step of 2048 times as many, each is 2048 times smaller. Gradients of
/// weights are sums over tokens. They would be rounded if they were not kept in fp32.
///
/// A power of two changes no digit in fp32, whenever a gradient is multiplied by it: so
/// one backward is enough.
fn real_gradients() -> Result<()> {
    const LESS: f64 = 1.0 / 2048.0;
    let activations = Roundings::new(&[1.0, LOSS_SCALE, LESS, LESS * LOSS_SCALE]);
    let weights = Roundings::new(&[1.0, LOSS_SCALE]);
    first_step(&activations, &weights)?;
    activations.show(&[
        "activations, 2 k tokens",
        "activations, 2 k tokens, scaled",
        "activations, 4 M tokens",
        "activations, 4 M tokens, scaled",
    ]);
    weights.show(&["weights", "weights, scaled"]);
    Ok(())
}

/// Forward and backward of one step.
fn first_step(activations: &Roundings, weights: &Roundings) -> Result<()> {
    let config = Config { quiet: true, ..Config::default() };
    let inputs = inputs::open(&config)?;
    let model = &inputs.model;
    let _threads = ops::threads::own(ops::threads::available());

    // The model of chapter 1 with a probe on its residual stream. Parameters of the
    // same seed and name begin with the same values.
    let mut builder = ParamBuilder::new(config.seed, DType::F32);
    let normal = Init::Normal(model.initializer_range);
    let table = [model.vocab_size, model.hidden_size];
    let embedding = builder.add("model.embed_tokens.weight", &table, normal);
    let layers: Vec<Block> = (0..model.num_hidden_layers)
        .map(|layer| Block::new(model, &format!("model.layers.{layer}"), &mut builder))
        .collect();
    let norm = builder.add("model.norm.weight", &[model.hidden_size], Init::Ones);
    let (head_dim, longest) = (model.head_dim, model.max_position_embeddings);
    let (frequencies, factor) = model.rope.frequencies(head_dim, longest);
    let rope = ops::Rope::new(&frequencies, factor, 0..config.seq_len, DType::F32)?;
    let params = builder.build(ops::threads::available())?;

    let mut batches = vec![];
    for row in (0..config.global_batch).step_by(config.micro_batch) {
        batches.push(inputs.data.train.batch(row as u64, config.micro_batch)?);
    }
    let tokens: usize = batches.iter().map(|batch| batch.target_count()).sum();
    params.begin_step()?;
    for batch in &batches {
        let (loss, tape) = ops::record(|| {
            let shape = (batch.rows, batch.seq_len);
            let inputs = Tensor::from_slice(&batch.tokens, shape, &Device::Cpu)?;
            let positions = Positions { rope: rope.clone(), document_starts: None };
            let mut x = probe(ops::embedding(&inputs, &embedding)?, activations)?;
            for layer in &layers {
                x = probe(layer.forward(&x, &positions)?, activations)?;
            }
            let x = ops::rms_norm(&x, &norm, model.rms_norm_eps)?;
            ops::head_loss(&x, &embedding, &batch.targets, 1.0 / tokens as f64)
        })?;
        tape.backward(&loss)?;
    }
    for param in params.iter() {
        weights.add(&param.grad::<f32>()?);
    }
    Ok(())
}

/// `x` itself, but its gradient is counted when backward comes by.
fn probe(x: Tensor, roundings: &Roundings) -> candle_core::Result<Tensor> {
    let same = x.copy()?;
    let roundings = roundings.clone();
    ops::note("probe", &same, &[&x], move |grad| {
        roundings.add(&grad.flatten_all()?.to_vec1()?);
        Ok(vec![grad])
    });
    Ok(same)
}
