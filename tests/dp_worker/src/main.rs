//! Data-parallel training steps on request, to be timed beside PyTorch's:
//! `scripts/compare_ddp/README.md` describes the protocol.
//!
//! A package of its own, so that nothing else that is measured with `testkit` depends
//! on chapter 4.
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use ch04_data_parallel::gradients::Gradients;
use ch04_data_parallel::model::Transformer;
use ch04_data_parallel::optimizer::{AdamW, Hyper};
use ch04_data_parallel::recompute::Recompute;
use ch04_data_parallel::{Config, replicas, weights};
use clap::Parser;
use comm::{Layout, Mesh, Reduce};
use corpus::Batch;
use hub::{Folder, ModelConfig, Weights};
use params::{ParamBuilder, Params};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Loads DIR (config.json, model.safetensors, batches.safetensors) on every rank,
/// prints `ready`, then for each line `STEPS on` or `STEPS off` on standard input makes
/// that many training steps, with or without overlap, and prints what they took, as a
/// line of JSON.
#[derive(Parser)]
struct Args {
    /// A folder made by scripts/compare_ddp/compare.py
    folder: PathBuf,
    /// Data-parallel ranks
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
    /// One for each step, of all ranks.
    tokens: Vec<Tensor>,
}

/// One rank's part of the training.
struct Trainer {
    mesh: Mesh,
    model: Transformer,
    params: Params,
    optimizer: AdamW,
    /// This rank's rows of each step.
    batches: Vec<Batch>,
    /// Steps made.
    made: usize,
}

/// What some steps were.
#[derive(Default)]
struct Turn {
    losses: Vec<f64>,
    norms: Vec<f64>,
    /// Seconds of forward, of backward, of what is waited for gradients behind it, and
    /// of clipping and the optimizer.
    phases: [f64; 4],
}

fn main() -> Result<()> {
    let args = Args::parse();
    let path = args.folder.join("batches.safetensors");
    let tokens = candle_core::safetensors::load(&path, &Device::Cpu)?;
    let tokens = tokens.get("tokens").context("batches.safetensors has no `tokens`")?;
    let (steps, rows, _) = tokens.dims3()?;
    ensure!(
        args.ranks > 0 && steps > 0 && rows > 0 && rows.is_multiple_of(args.ranks),
        "{steps} steps of {rows} rows do not divide among {} ranks",
        args.ranks
    );
    let folder = Folder::open(&args.folder.to_string_lossy())?;
    let inputs = Inputs {
        config: folder.config()?,
        weights: folder.weights()?,
        tokens: (0..steps).map(|i| tokens.get(i)).collect::<Result<_, _>>()?,
    };
    comm::launch(args.ranks, |world| {
        let _threads = ops::threads::own(args.threads);
        let mesh = Mesh::new(world, &Layout::default())?;
        let mut trainer = Trainer::new(&inputs, mesh)?;
        // The first rank reads, and speaks for all.
        if trainer.mesh.world().rank() == 0 {
            println!("ready");
        }
        while let Some((steps, overlap)) = trainer.asked()? {
            trainer.turn(steps, overlap)?;
        }
        replicas::check_equal(&trainer.params, trainer.mesh.world())
    })?;
    Ok(())
}

impl Trainer {
    fn new(inputs: &Inputs, mesh: Mesh) -> Result<Trainer> {
        let world = mesh.world();
        let share = |tokens: &Tensor| {
            let rows = tokens.dim(0)? / world.size();
            testkit::batch(&tokens.narrow(0, world.rank() * rows, rows)?)
        };
        let batches: Vec<Batch> =
            inputs.tokens.iter().map(share).collect::<Result<_>>()?;
        let config = &inputs.config;
        let recompute = Recompute::new(&Config::default(), config.num_hidden_layers)?;
        let mut builder = ParamBuilder::new(0, DType::F32);
        let seq_len = batches[0].seq_len;
        let model =
            Transformer::new(config, seq_len, DType::F32, &recompute, &mut builder)?;
        let params = builder.build_zeros()?;
        weights::load(&params, &inputs.weights)?;
        replicas::check_equal(&params, world)?;
        let optimizer = AdamW::new(&params)?;
        Ok(Trainer { mesh, model, params, optimizer, batches, made: 0 })
    }
    /// What the first rank is asked for next: how many steps, and whether gradients are
    /// to be on their way while backward goes on. `None` at the end.
    fn asked(&self) -> Result<Option<(usize, bool)>> {
        let mut asked = [0, 0];
        let mut line = String::new();
        if self.mesh.world().rank() == 0 && std::io::stdin().read_line(&mut line)? > 0 {
            asked = match line.trim().split_once(' ') {
                Some((steps, "on")) => [steps.parse()?, 1],
                Some((steps, "off")) => [steps.parse()?, 0],
                _ => bail!("`{}`: expected `STEPS on` or `STEPS off`", line.trim()),
            };
            ensure!(asked[0] > 0, "0 steps: expected at least 1");
        }
        self.mesh.world().broadcast::<i64>("asked", &mut asked, 0)?;
        Ok((asked[0] > 0).then_some((asked[0] as usize, asked[1] == 1)))
    }
    /// Makes so many steps; the first rank shows what they took.
    fn turn(&mut self, steps: usize, overlap: bool) -> Result<()> {
        let mut turn = Turn::default();
        self.mesh.world().barrier("turn")?;
        self.mesh.world().ledger().reset();
        let start = Instant::now();
        for _ in 0..steps {
            self.step(overlap, &mut turn)?;
        }
        let gradients = self.mesh.world().ledger().family("gradients");
        self.mesh.world().barrier("turn")?;
        let seconds = start.elapsed().as_secs_f64();
        // Of all ranks.
        let mut times =
            [gradients.overlapped, gradients.exposed].map(|time| time.as_secs_f64());
        self.mesh.world().all_reduce("turn", &mut times, Reduce::Average)?;
        if self.mesh.world().rank() == 0 {
            let Turn { losses, norms, phases } = turn;
            let [forward, backward, waiting, optimizer] = phases;
            let [hidden, exposed] = times;
            let record = json!({
                "seconds": seconds, "losses": losses, "norms": norms,
                "forward": forward, "backward": backward + waiting,
                "waiting": waiting, "optimizer": optimizer,
                "hidden": hidden, "exposed": exposed,
            });
            println!("{record}");
        }
        Ok(())
    }
    /// A step as chapter 4's loop makes it.
    fn step(&mut self, overlap: bool, turn: &mut Turn) -> Result<()> {
        let Trainer { mesh, model, params, optimizer, batches, made } = self;
        let world = mesh.world();
        let batch = &batches[*made % batches.len()];
        *made += 1;
        let mut at = Instant::now();
        let mut lap = |phase: &mut f64| {
            *phase += at.elapsed().as_secs_f64();
            at = Instant::now();
        };
        let [forward, backward, waiting, update] = &mut turn.phases;
        let mut tokens = [batch.target_count() as i64];
        world.all_reduce("tokens", &mut tokens, Reduce::Sum)?;
        params.begin_step()?;
        let mut gradients = Gradients::new(params, mesh);
        let scale = 1.0 / tokens[0] as f64;
        let (loss, tape) = ops::record(|| model.loss(batch, scale))?;
        lap(forward);
        tape.backward_by_marks(&loss, |bucket| match overlap {
            true => gradients.start(bucket),
            false => Ok(()),
        })?;
        lap(backward);
        let mut loss = [loss.to_dtype(DType::F64)?.to_scalar::<f64>()?];
        gradients.finish()?;
        lap(waiting);
        let norm = optimizer.grad_norm(params)?;
        world.all_reduce("loss", &mut loss, Reduce::Sum)?;
        let (weight_decay, max_grad_norm) = (0.1, 1.0);
        let hyper = Hyper { lr: 1e-3, weight_decay, max_grad_norm, loss_scale: 1.0 };
        optimizer.step(params, norm, &hyper)?;
        lap(update);
        turn.losses.push(loss[0]);
        turn.norms.push(norm);
        Ok(())
    }
}
