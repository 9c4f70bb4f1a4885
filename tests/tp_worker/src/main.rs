//! Tensor-parallel training steps on request, to be timed beside PyTorch's:
//! `scripts/compare_tp/README.md` describes the protocol.
//!
//! A package of its own, so that nothing else that is measured with `testkit` depends
//! on chapter 5.
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use ch05_tensor_parallel::gradients::Gradients;
use ch05_tensor_parallel::model::Transformer;
use ch05_tensor_parallel::optimizer::{AdamW, Hyper};
use ch05_tensor_parallel::recompute::Recompute;
use ch05_tensor_parallel::tensor_parallel::{self, TensorParallel};
use ch05_tensor_parallel::{Config, weights};
use clap::Parser;
use comm::{Layout, Mesh, Reduce};
use corpus::Batch;
use hub::{Folder, ModelConfig, Weights};
use params::{ParamBuilder, Params};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Loads DIR (config.json, model.safetensors, batches.safetensors), a part of every
/// matrix on each rank, prints `ready`, then for each line `STEPS` on standard input
/// makes that many training steps, and prints what they took, as a line of JSON.
#[derive(Parser)]
struct Args {
    /// A folder made by scripts/compare_tp/compare_tp.py
    folder: PathBuf,
    /// Tensor-parallel ranks
    #[arg(long, default_value_t = 2)]
    ranks: usize,
    /// Threads that compute, of each rank
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What all ranks start from.
struct Inputs {
    config: ModelConfig,
    weights: Weights,
    /// One for each step, the same for all ranks.
    batches: Vec<Batch>,
}

/// One rank's part of the training.
struct Trainer<'a> {
    mesh: Mesh,
    model: Transformer,
    params: Params,
    optimizer: AdamW,
    batches: &'a [Batch],
    /// Steps made.
    made: usize,
}

/// What some steps were.
#[derive(Default)]
struct Turn {
    losses: Vec<f64>,
    norms: Vec<f64>,
    /// Seconds of forward, of backward, and of clipping and the optimizer.
    phases: [f64; 3],
}

/// What ranks wait for each other for in a step, in the ledger's words.
const FAMILIES: [&str; 4] = ["g", "f", "cross-entropy", "gradient norm"];

fn main() -> Result<()> {
    let args = Args::parse();
    ops::tune::environment().map_err(anyhow::Error::msg)?;
    let path = args.folder.join("batches.safetensors");
    let tokens = candle_core::safetensors::load(&path, &Device::Cpu)?;
    let tokens = tokens.get("tokens").context("batches.safetensors has no `tokens`")?;
    let steps = tokens.dims3()?.0;
    ensure!(args.ranks > 0 && steps > 0, "{steps} steps for {} ranks", args.ranks);
    let folder = Folder::open(&args.folder.to_string_lossy())?;
    let inputs = Inputs {
        config: folder.config()?,
        weights: folder.weights()?,
        batches: (0..steps)
            .map(|step| testkit::batch(&tokens.get(step)?))
            .collect::<Result<_>>()?,
    };
    tensor_parallel::check(&inputs.config, args.ranks)?;
    comm::launch(args.ranks, |world| {
        let _threads = ops::threads::own(args.threads);
        let layout = Layout { tp: args.ranks, ..Layout::default() };
        let mut trainer = Trainer::new(&inputs, Mesh::new(world, &layout)?)?;
        // The first rank reads, and speaks for all.
        if trainer.mesh.world().rank() == 0 {
            println!("ready");
        }
        while let Some(steps) = trainer.asked()? {
            trainer.turn(steps)?;
        }
        trainer.check_equal()
    })?;
    Ok(())
}

impl<'a> Trainer<'a> {
    fn new(inputs: &'a Inputs, mut mesh: Mesh) -> Result<Trainer<'a>> {
        let Inputs { config, weights, batches } = inputs;
        let tp = TensorParallel::new(&mut mesh, config)?;
        let recompute = Recompute::new(&Config::default(), config.num_hidden_layers)?;
        let mut builder = ParamBuilder::new(0, DType::F32);
        let seq_len = batches[0].seq_len;
        let model = Transformer::new(
            &tp,
            config,
            seq_len,
            DType::F32,
            &recompute,
            &mut builder,
        )?;
        let params = builder.build_zeros()?;
        weights::load(&params, weights)?;
        let optimizer = AdamW::new(&params, &mesh)?;
        Ok(Trainer { mesh, model, params, optimizer, batches, made: 0 })
    }
    /// How many steps the first rank is asked for next. `None` at the end.
    fn asked(&self) -> Result<Option<usize>> {
        let mut asked = [0];
        let mut line = String::new();
        if self.mesh.world().rank() == 0 && std::io::stdin().read_line(&mut line)? > 0 {
            let line = line.trim();
            asked[0] = line.parse().with_context(|| format!("`{line}`: no STEPS"))?;
            ensure!(asked[0] > 0, "0 steps: expected at least 1");
        }
        self.mesh.world().broadcast::<i64>("asked", &mut asked, 0)?;
        Ok((asked[0] > 0).then_some(asked[0] as usize))
    }
    /// Makes so many steps; the first rank shows what they took.
    fn turn(&mut self, steps: usize) -> Result<()> {
        let mut turn = Turn::default();
        self.mesh.world().barrier("turn")?;
        self.mesh.world().ledger().reset();
        let start = Instant::now();
        for _ in 0..steps {
            self.step(&mut turn)?;
        }
        let entries = FAMILIES.map(|name| self.mesh.world().ledger().family(name));
        self.mesh.world().barrier("turn")?;
        let seconds = start.elapsed().as_secs_f64();
        // Of all ranks.
        let mut waited = entries.map(|entry| entry.exposed.as_secs_f64());
        let mut hidden = entries.map(|entry| entry.overlapped.as_secs_f64());
        for times in [&mut waited, &mut hidden] {
            self.mesh.world().all_reduce("turn", times, Reduce::Average)?;
        }
        if self.mesh.world().rank() == 0 {
            let Turn { losses, norms, phases } = turn;
            let [forward, backward, optimizer] = phases;
            let all: f64 = waited.iter().sum();
            let [waited, hidden] = [waited, hidden].map(|times| -> serde_json::Value {
                FAMILIES.into_iter().zip(times).collect()
            });
            let record = json!({
                "seconds": seconds, "losses": losses, "norms": norms,
                "forward": forward, "backward": backward, "optimizer": optimizer,
                "waited": all, "waited_for": waited, "hidden": hidden,
            });
            println!("{record}");
        }
        Ok(())
    }
    /// A step as chapter 5's loop makes it, of one micro-batch.
    fn step(&mut self, turn: &mut Turn) -> Result<()> {
        let Trainer { mesh, model, params, optimizer, batches, made } = self;
        let peers = mesh.data();
        let batch = &batches[*made % batches.len()];
        *made += 1;
        let mut at = Instant::now();
        let mut lap = |phase: &mut f64| {
            *phase += at.elapsed().as_secs_f64();
            at = Instant::now();
        };
        let [forward, backward, update] = &mut turn.phases;
        let mut tokens = [batch.target_count() as i64];
        peers.all_reduce("tokens", &mut tokens, Reduce::Sum)?;
        params.begin_step()?;
        let mut gradients = Gradients::new(params, mesh);
        let scale = 1.0 / tokens[0] as f64;
        let (loss, tape) = ops::record(|| model.loss(batch, scale))?;
        lap(forward);
        tape.backward_by_marks(&loss, |bucket| gradients.start(bucket))?;
        let mut loss = [loss.to_dtype(DType::F64)?.to_scalar::<f64>()?];
        gradients.finish()?;
        lap(backward);
        let norm = optimizer.grad_norm(params)?;
        peers.all_reduce("loss", &mut loss, Reduce::Sum)?;
        let (weight_decay, max_grad_norm) = (0.1, 1.0);
        let hyper = Hyper { lr: 1e-3, weight_decay, max_grad_norm, loss_scale: 1.0 };
        optimizer.step(params, norm, &hyper)?;
        lap(update);
        turn.losses.push(loss[0]);
        turn.norms.push(norm);
        Ok(())
    }
    /// Checks that what every rank has all of is the same on all of them.
    fn check_equal(&self) -> Result<()> {
        let group = self.mesh.model();
        for param in self.params.iter() {
            let shard = param.shard();
            if shard.shape != shard.global_shape {
                continue;
            }
            let own = param.values::<f32>()?.to_vec();
            let mut all = vec![0.0; own.len() * group.size()];
            group.all_gather("parameters equal", &own, &mut all)?;
            let odd =
                all.chunks(own.len()).position(|other| other != &all[..own.len()]);
            ensure!(
                odd.is_none(),
                "{} differs between ranks 0 and {}",
                param.name(),
                odd.unwrap_or(0)
            );
        }
        Ok(())
    }
}
