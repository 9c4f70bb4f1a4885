//! Training steps with ZeRO on request, to be timed beside PyTorch's FSDP2:
//! `scripts/compare_fsdp/README.md` describes the protocol.
//!
//! A package of its own, so that nothing else that is measured with `testkit` depends
//! on chapter 8.
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use ch08_zero::config::{Config, Switch};
use ch08_zero::gradients::Gradients;
use ch08_zero::model::{EMBEDDINGS, Transformer};
use ch08_zero::optimizer::{AdamW, Hyper};
use ch08_zero::pipeline::Pipeline;
use ch08_zero::recompute::Recompute;
use ch08_zero::schedule::Schedule;
use ch08_zero::tensor_parallel::TensorParallel;
use ch08_zero::zero::Zero;
use ch08_zero::{replicas, stages, weights};
use clap::Parser;
use comm::{Entry, Layout, Mesh, Reduce};
use corpus::Batch;
use hub::{Folder, ModelConfig, Weights};
use params::{ParamBuilder, Params};
use serde_json::json;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// Loads DIR (config.json, model.safetensors, batches.safetensors), prints `ready`,
/// then for each line `STEPS` on standard input makes that many training steps, and
/// prints what they took, as a line of JSON.
#[derive(Parser)]
struct Args {
    /// A folder made by scripts/compare_fsdp/compare_fsdp.py
    folder: PathBuf,
    /// Data-parallel ranks
    #[arg(long, default_value_t = 2)]
    ranks: usize,
    /// Threads that compute, of each rank
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// As of chapter 8
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=3))]
    zero: u8,
}

/// What all ranks start from.
struct Inputs {
    config: ModelConfig,
    weights: Weights,
    zero: usize,
    /// One for each step, of all ranks.
    tokens: Vec<Tensor>,
}

/// One rank's part of the training.
struct Trainer {
    mesh: Mesh,
    pipeline: Pipeline,
    params: Params,
    zero: Rc<Zero>,
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
    /// Seconds of forward and backward, and of clipping and the optimizer.
    phases: [f64; 2],
}

/// What ranks wait for each other for in a step, in the ledger's words.
const FAMILIES: [&str; 3] = ["parameters", "gradients", "gradient norm"];

fn main() -> Result<()> {
    let args = Args::parse();
    ops::tune::environment().map_err(anyhow::Error::msg)?;
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
        zero: args.zero.into(),
        tokens: (0..steps).map(|i| tokens.get(i)).collect::<Result<_, _>>()?,
    };
    comm::launch(args.ranks, |world| {
        let _threads = ops::threads::own(args.threads);
        let mut trainer = Trainer::new(&inputs, Mesh::new(world, &Layout::default())?)?;
        // The first rank reads, and speaks for all.
        if trainer.mesh.world().rank() == 0 {
            println!("ready");
        }
        while let Some(steps) = trainer.asked()? {
            trainer.turn(steps)?;
        }
        trainer.zero.need_all()?;
        replicas::check_equal(&trainer.params, trainer.mesh.world())
    })?;
    Ok(())
}

impl Trainer {
    fn new(inputs: &Inputs, mut mesh: Mesh) -> Result<Trainer> {
        mesh.ends("pp", EMBEDDINGS)?;
        let world = mesh.world();
        let share = |tokens: &Tensor| {
            let rows = tokens.dim(0)? / world.size();
            testkit::batch(&tokens.narrow(0, world.rank() * rows, rows)?)
        };
        let batches: Vec<Batch> =
            inputs.tokens.iter().map(share).collect::<Result<_>>()?;
        let config = &inputs.config;
        let layers = config.num_hidden_layers;
        let ranks = world.size();
        let tp = TensorParallel::new(&mut mesh, config, Switch::On)?;
        let recompute = Recompute::new(&Config::default(), layers)?;
        let mut builder = ParamBuilder::new(0, DType::F32).multiple_of(ranks);
        // One stage, which has the one chunk, and one micro-batch.
        let model = Transformer::new(
            &tp,
            config,
            &stages::cut(layers, 1, None)?,
            &[0],
            batches[0].seq_len,
            DType::F32,
            &recompute,
            &mut builder,
        )?;
        let fill = |params: &Params| weights::load(params, &inputs.weights);
        let params = match inputs.zero {
            // SAFETY: `fill` writes a flat buffer before anybody reads it, and from
            // then on `Zero` gathers one before it lends it.
            3 => unsafe { builder.build_without_memory()? },
            _ => builder.build_zeros()?,
        };
        let (zero, params) = Zero::new(inputs.zero, params, &mesh, fill)?;
        let zero = Rc::new(zero);
        let plan = "1f1b".parse::<Schedule>().map_err(anyhow::Error::msg)?;
        let plan = plan.plan(1, 1, 1)?;
        let pipeline = Pipeline::new(model, plan, &mesh, DType::F32, zero.clone())?;
        let optimizer = AdamW::new(&params, &mesh, zero.clone(), None)?;
        Ok(Trainer { mesh, pipeline, params, zero, optimizer, batches, made: 0 })
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
        // What the last step left on its way is a part of it.
        if self.zero.stage < 3 {
            self.zero.need_all()?;
        }
        let world = self.mesh.world();
        let families = FAMILIES.map(|name| world.ledger().family(name));
        world.barrier("turn")?;
        let seconds = start.elapsed().as_secs_f64();
        // Of all ranks.
        let exposed = |entry: &Entry| entry.exposed.as_secs_f64();
        let mut times = [
            families.iter().map(exposed).sum(),
            exposed(&families[0]),
            families[0].overlapped.as_secs_f64(),
        ];
        world.all_reduce("turn", &mut times, Reduce::Average)?;
        if world.rank() == 0 {
            let Turn { losses, norms, phases } = turn;
            let [scheduled, optimizer] = phases;
            let [waited, gathered_waited, gathered_hidden] = times;
            let record = json!({
                "seconds": seconds, "losses": losses, "norms": norms,
                "scheduled": scheduled, "optimizer": optimizer, "waited": waited,
                "gathered_waited": gathered_waited,
                "gathered_hidden": gathered_hidden,
            });
            println!("{record}");
        }
        Ok(())
    }
    /// A step as chapter 8's loop makes it.
    fn step(&mut self, turn: &mut Turn) -> Result<()> {
        let Trainer { mesh, pipeline, params, zero, optimizer, batches, made } = self;
        let peers = mesh.data();
        let batch = &batches[*made % batches.len()];
        *made += 1;
        let mut at = Instant::now();
        let mut lap = |phase: &mut f64| {
            *phase += at.elapsed().as_secs_f64();
            at = Instant::now();
        };
        let [scheduled, update] = &mut turn.phases;
        let mut tokens = [batch.target_count() as i64];
        mesh.world().all_reduce("tokens", &mut tokens, Reduce::Sum)?;
        let tokens = tokens[0] / mesh.model().size() as i64;
        params.begin_step()?;
        let mut gradients = Gradients::new(params, mesh, zero);
        let scale = 1.0 / tokens as f64;
        let batch = std::slice::from_ref(batch);
        let losses = pipeline.step(batch, scale, &mut gradients, true)?;
        gradients.finish()?;
        lap(scheduled);
        let mut loss = [losses.iter().sum()];
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
}
