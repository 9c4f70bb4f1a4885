//! Our side: the chapters' own code, its numbers handed out as torch tensors.
use crate::Tensors;
use crate::cases::Case;
use anyhow::{Context, Result};
use candle_core::DType;
use ch02_mixed_precision::config::{Config, Precision};
use ch02_mixed_precision::model::Transformer;
use ch02_mixed_precision::optimizer::{AdamW, Hyper};
use corpus::Batch;
use params::{Element, ParamBuilder, Params, Real, with_float};
use runlog::{Interrupt, RunLog, Step};
use tch::Tensor;

/// A run of chapter 2 that stops between its steps.
pub struct Run {
    config: Config,
    max_lr: f64,
    model: Transformer,
    params: Params,
    optimizer: AdamW,
}

impl Run {
    /// From these weights.
    ///
    /// # Errors
    /// The model cannot be built, or the weights are another model's.
    pub fn new(case: &Case, precision: Precision, weights: &Tensors) -> Result<Run> {
        let (config, max_lr) = (case.config(precision), case.max_lr());
        let dtype = precision.dtype();
        let mut builder = ParamBuilder::new(config.seed, dtype);
        let model = Transformer::new(&case.model, config.seq_len, dtype, &mut builder)?;
        let params = builder.build_zeros()?;
        fill(&params, weights)?;
        let optimizer = AdamW::new(&params)?;
        Ok(Run { config, max_lr, model, params, optimizer })
    }
    /// Forward and backward over a step's micro-batches, as `train` does it; the mean
    /// loss, and the norm of the gradient.
    ///
    /// # Errors
    /// The model does not take the batches.
    pub fn backward(&self, batches: &[Batch]) -> Result<(f64, f64)> {
        let tokens: usize = batches.iter().map(Batch::target_count).sum();
        self.params.begin_step()?;
        let mut loss = 0.0;
        for batch in batches {
            let scale = 1.0 / tokens as f64;
            let (micro_loss, tape) = ops::record(|| self.model.loss(batch, scale))?;
            tape.backward(&micro_loss)?;
            loss += micro_loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        }
        Ok((loss, self.optimizer.grad_norm(&self.params)?))
    }
    /// The optimizer's step, with what `backward` left.
    ///
    /// # Errors
    /// There was no `backward`.
    pub fn step(&mut self, step: u64, grad_norm: f64) -> Result<()> {
        let hyper = Hyper {
            lr: self.config.lr_at(step, self.max_lr),
            weight_decay: self.config.weight_decay,
            max_grad_norm: self.config.max_grad_norm,
            loss_scale: 1.0,
        };
        Ok(self.optimizer.step(&self.params, grad_norm, &hyper)?)
    }
    /// What the model computes with.
    ///
    /// # Errors
    /// The parameters are being written.
    pub fn weights(&self) -> Result<Tensors> {
        weights(&self.params)
    }
    /// The gradient of every parameter.
    ///
    /// # Errors
    /// One received none.
    pub fn gradients(&self) -> Result<Tensors> {
        let gradient = |param: &params::Param| {
            Ok((param.name().to_string(), torch(&param.grad_tensor()?)?))
        };
        self.params.iter().map(gradient).collect()
    }
}

/// The weights of a case as chapter 2 draws them, in fp32.
///
/// # Errors
/// The model cannot be built.
pub fn drawn(case: &Case) -> Result<Tensors> {
    let mut builder = ParamBuilder::new(case.config.seed, DType::F32);
    Transformer::new(&case.model, case.config.seq_len, DType::F32, &mut builder)?;
    weights(&builder.build(1)?)
}

/// A whole run by a chapter's own `train`: its steps and the weights after them. The
/// last argument is the loss scale, which chapter 1 does not have.
macro_rules! trained {
    ($chapter:ident, $case:expr, $config:expr, $start:expr $(, $loss_scale:expr)?) => {{
        use $chapter::{model::Transformer, optimizer::AdamW, train::train};
        let (case, config): (&Case, _) = ($case, $config);
        let dtype = config.precision.dtype();
        let mut builder = ParamBuilder::new(config.seed, dtype);
        let model = Transformer::new(&case.model, config.seq_len, dtype, &mut builder)?;
        let params = builder.build_zeros()?;
        fill(&params, $start)?;
        let mut optimizer = AdamW::new(&params)?;
        let (steps, quiet) = (config.steps, true);
        let options = runlog::Options { steps, quiet, ..Default::default() };
        let (mut log, mut steps) = (RunLog::start(options)?, vec![]);
        train(
            &config,
            case.max_lr(),
            &case.data,
            &model,
            &params,
            &mut optimizer,
            $($loss_scale,)?
            &mut log,
            &Interrupt::default(),
            &mut steps,
        )?;
        Ok((steps, weights(&params)?))
    }};
}

/// The whole run by chapter 2's `train`.
///
/// # Errors
/// It diverged, or could not be started.
pub fn chapter_2(
    case: &Case,
    precision: Precision,
    start: &Tensors,
) -> Result<(Vec<Step>, Tensors)> {
    trained!(ch02_mixed_precision, case, case.config(precision), start, None)
}

/// The whole run by chapter 1's `train`; `None` in a precision that it does not have.
///
/// # Errors
/// It diverged, or could not be started.
pub fn chapter_1(
    case: &Case,
    precision: Precision,
    start: &Tensors,
) -> Result<Option<(Vec<Step>, Tensors)>> {
    use ch01_single_gpu::config::{self, Precision as Chapter1};
    let precision = match precision {
        Precision::Fp32 => Chapter1::Fp32,
        Precision::Fp64 => Chapter1::Fp64,
        Precision::Bf16 | Precision::Fp16 => return Ok(None),
    };
    let config = config::Config {
        steps: case.config.steps,
        warmup: case.config.warmup,
        seq_len: case.config.seq_len,
        micro_batch: case.config.micro_batch,
        global_batch: case.config.global_batch,
        precision,
        ..config::Config::default()
    };
    trained!(ch01_single_gpu, case, config, start).map(Some)
}

/// Overwrites every parameter.
fn fill(params: &Params, weights: &Tensors) -> Result<()> {
    for param in params.iter() {
        let name = param.name();
        let weight =
            weights.get(name).with_context(|| format!("no weight `{name}`"))?;
        let numbers =
            Vec::<f64>::try_from(weight.flatten(0, -1).to_kind(tch::Kind::Double))?;
        with_float!(param.dtype()?, T => {
            let mut values = param.values_mut::<T>()?;
            for (value, number) in values.iter_mut().zip(numbers) {
                *value = T::narrow(<T as Element>::Acc::of(number));
            }
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

fn weights(params: &Params) -> Result<Tensors> {
    let weight = |param: &params::Param| {
        Ok((param.name().to_string(), torch(&param.to_tensor()?)?))
    };
    params.iter().map(weight).collect()
}

/// The same numbers as a torch tensor: f64 has those of every type.
fn torch(tensor: &candle_core::Tensor) -> Result<Tensor> {
    let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let shape: Vec<i64> = tensor.dims().iter().map(|&size| size as i64).collect();
    Ok(Tensor::from_slice(&numbers).view(&shape[..]))
}
