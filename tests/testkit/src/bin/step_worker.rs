//! Training steps on request, to be timed beside PyTorch:
//! `scripts/compare_torch/README.md` describes the protocol.
use anyhow::{Context, Result};
use candle_core::{DType, Device};
use ch01_single_gpu::optimizer::{AdamW, Hyper};
use clap::Parser;
use corpus::Batch;
use serde_json::json;
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;
use testkit::{Model, batch};

/// Loads DIR (config.json, model.safetensors, batches.safetensors), prints `ready`,
/// then for each number on standard input makes that many training steps and prints
/// what they took, as a line of JSON.
#[derive(Parser)]
struct Args {
    /// A folder made by scripts/compare_torch/make_inputs.py
    folder: PathBuf,
    /// Threads that compute
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let _threads = ops::threads::own(args.threads);
    let path = args.folder.join("batches.safetensors");
    let tokens = candle_core::safetensors::load(&path, &Device::Cpu)?;
    let tokens = tokens.get("tokens").context("batches.safetensors has no `tokens`")?;
    let batches = (0..tokens.dim(0)?).map(|i| batch(&tokens.get(i)?));
    let batches: Vec<Batch> = batches.collect::<Result<_>>()?;
    let first = batches.first().context("no batches")?;
    let model = Model::open(&args.folder.to_string_lossy(), first.seq_len, DType::F32)?;
    let mut optimizer = AdamW::new(&model.params)?;
    let hyper = Hyper { lr: 1e-3, weight_decay: 0.1, max_grad_norm: 1.0 };
    println!("ready");
    let mut next = 0;
    for line in std::io::stdin().lock().lines() {
        let steps: usize = line?.trim().parse()?;
        let (mut losses, mut phases) = (vec![], [0.0; 3]);
        let start = Instant::now();
        for _ in 0..steps {
            let batch = &batches[next % batches.len()];
            next += 1;
            let mut at = Instant::now();
            let mut lap = |phase: &mut f64| {
                *phase += at.elapsed().as_secs_f64();
                at = Instant::now();
            };
            let [forward, backward, update] = &mut phases;
            model.params.begin_step()?;
            let scale = 1.0 / batch.target_count() as f64;
            let (loss, tape) = ops::record(|| model.transformer.loss(batch, scale))?;
            lap(forward);
            tape.backward(&loss)?;
            lap(backward);
            let norm = optimizer.grad_norm(&model.params)?;
            optimizer.step(&model.params, norm, &hyper)?;
            lap(update);
            losses.push(loss.to_dtype(DType::F64)?.to_scalar::<f64>()?);
        }
        let record = json!({
            "seconds": start.elapsed().as_secs_f64(),
            "losses": losses,
            "peak_bytes": memory::process_peak(),
            "forward": phases[0],
            "backward": phases[1],
            "optimizer": phases[2],
        });
        println!("{record}");
    }
    Ok(())
}
