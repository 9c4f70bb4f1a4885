//! Training steps of chapter 2 in bf16 on request, to be timed beside PyTorch's on a
//! GPU: `scripts/gpu/compare.py` describes the protocol.
//!
//! A package of its own, so that nothing else that is measured with `testkit` depends
//! on chapter 2.
use anyhow::{Context, Error, Result};
use candle_core::DType;
use ch02_mixed_precision::config::Device;
use ch02_mixed_precision::model::Transformer;
use ch02_mixed_precision::optimizer::{AdamW, Hyper};
use ch02_mixed_precision::{run::flops_per_token, weights};
use clap::Parser;
use corpus::Batch;
use hub::Folder;
use params::{ParamBuilder, Params};
use serde_json::{Value, json};
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Loads DIR (config.json, model.safetensors, batches.safetensors), prints `ready`,
/// then for each number on standard input makes that many training steps and prints
/// what they were, as a line of JSON.
#[derive(Parser)]
struct Args {
    /// A folder made by scripts/gpu/compare.py
    folder: PathBuf,
    /// What computes
    #[arg(long, value_enum, default_value = "gpu")]
    device: Device,
    /// Threads that compute, on a CPU
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match work(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Trainer {
    batches: Vec<Batch>,
    model: Transformer,
    params: Params,
    optimizer: AdamW,
    flops_per_token: f64,
    /// Steps made.
    made: usize,
}

fn work(args: &Args) -> Result<()> {
    let _threads = ops::threads::own(args.threads);
    let device = match args.device {
        Device::Cpu => None,
        Device::Gpu => Some(ops::device::own(0, 1)?),
    };
    let mut trainer = Trainer::new(args)?;
    let name = device.as_ref().map_or("this CPU".into(), |device| device.name());
    eprintln!("ours computes on {name}");
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let steps = line.trim().parse().with_context(|| {
            format!("standard input has {line:?}: expected a number of steps")
        })?;
        println!("{}", trainer.turn(steps)?);
    }
    Ok(())
}

impl Trainer {
    fn new(args: &Args) -> Result<Trainer> {
        let path = args.folder.join("batches.safetensors");
        let cpu = candle_core::Device::Cpu;
        let tokens = candle_core::safetensors::load(&path, &cpu)?;
        let tokens =
            tokens.get("tokens").context("batches.safetensors has no `tokens`")?;
        let batches = (0..tokens.dim(0)?).map(|i| testkit::batch(&tokens.get(i)?));
        let batches: Vec<Batch> = batches.collect::<Result<_>>()?;
        let seq_len = batches.first().context("no batches")?.seq_len;
        let folder = Folder::open(&args.folder.to_string_lossy())?;
        let config = folder.config()?;
        let mut builder = ParamBuilder::new(0, DType::BF16);
        let model = Transformer::new(&config, seq_len, DType::BF16, &mut builder)?;
        let params = builder.build_zeros()?;
        weights::load(&params, &folder.weights()?)?;
        let optimizer = AdamW::new(&params)?;
        let flops_per_token = flops_per_token(&config, seq_len);
        Ok(Trainer { batches, model, params, optimizer, flops_per_token, made: 0 })
    }
    /// So many steps, in chapter 2's order.
    fn turn(&mut self, steps: usize) -> Result<Value> {
        memory::reset_peak(0);
        wait()?;
        let (mut losses, mut norms) = (vec![], vec![]);
        let hyper =
            Hyper { lr: 1e-4, weight_decay: 0.1, max_grad_norm: 1.0, loss_scale: 1.0 };
        let start = Instant::now();
        for _ in 0..steps {
            let batch = &self.batches[self.made % self.batches.len()];
            self.made += 1;
            self.params.begin_step()?;
            let scale = 1.0 / batch.target_count() as f64;
            let (loss, tape) = ops::record(|| self.model.loss(batch, scale))?;
            tape.backward(&loss)?;
            losses.push(ops::scalar(&loss)?);
            let norm = self.optimizer.grad_norm(&self.params)?;
            norms.push(norm);
            self.optimizer.step(&self.params, norm, &hyper)?;
        }
        // A GPU may be at the last update still.
        wait()?;
        Ok(json!({
            "seconds": start.elapsed().as_secs_f64(),
            "losses": losses,
            "norms": norms,
            // Of all that tensors and buffers took at once in this turn.
            "allocated_bytes": memory::account(0).total.peak,
            "flops_per_token": self.flops_per_token,
        }))
    }
}

/// Until the GPU has done all it was told, if there is one.
fn wait() -> Result<()> {
    kernels::engine::here().map_or(Ok(()), |engine| engine.wait().map_err(Error::msg))
}
