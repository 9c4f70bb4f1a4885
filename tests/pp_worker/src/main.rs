//! Training steps in pipeline stages on request, to be timed beside PyTorch's:
//! `scripts/compare_pp/README.md` describes the protocol.
//!
//! A package of its own, so that nothing else that is measured with `testkit` depends
//! on chapter 7.
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use ch07_pipeline_parallel::config::{Config, Switch};
use ch07_pipeline_parallel::gradients::Gradients;
use ch07_pipeline_parallel::model::{EMBEDDINGS, Transformer};
use ch07_pipeline_parallel::optimizer::{AdamW, Hyper};
use ch07_pipeline_parallel::pipeline::Pipeline;
use ch07_pipeline_parallel::plan::Plan;
use ch07_pipeline_parallel::recompute::Recompute;
use ch07_pipeline_parallel::schedule::Schedule;
use ch07_pipeline_parallel::tensor_parallel::TensorParallel;
use ch07_pipeline_parallel::{stages, weights};
use clap::Parser;
use comm::{Layout, Mesh, Reduce};
use corpus::Batch;
use hub::{Folder, ModelConfig, Weights};
use params::{ParamBuilder, Params};
use serde_json::json;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

/// Loads DIR (config.json, model.safetensors, batches.safetensors), some layers on each
/// rank, prints `ready`, then for each line `STEPS` on standard input makes that many
/// training steps, and prints what they took, as a line of JSON.
#[derive(Parser)]
struct Args {
    /// A folder made by scripts/compare_pp/compare_pp.py
    folder: PathBuf,
    /// Pipeline stages, of one rank each
    #[arg(long, default_value_t = 2)]
    ranks: usize,
    /// Threads that compute, of each rank
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// As of chapter 7
    #[arg(long, default_value = "1f1b")]
    schedule: Schedule,
    /// Micro-batches of a step
    #[arg(long, default_value_t = 4)]
    micro_batches: usize,
    /// Layers of each chunk [default: as even as can be]
    #[arg(long, value_delimiter = ',', value_name = "N,N,..")]
    pp_layers: Option<Vec<usize>>,
}

/// What all ranks start from.
struct Inputs {
    config: ModelConfig,
    weights: Weights,
    plan: Plan,
    /// For each chunk its layers.
    cut: Vec<Range<usize>>,
    /// For each step its micro-batches, the same for all ranks.
    batches: Vec<Vec<Batch>>,
}

/// One rank's stage of the training.
struct Trainer<'a> {
    mesh: Mesh,
    pipeline: Pipeline,
    params: Params,
    optimizer: AdamW,
    batches: &'a [Vec<Batch>],
    /// Steps made.
    made: usize,
}

/// What some steps were.
#[derive(Default)]
struct Turn {
    losses: Vec<f64>,
    norms: Vec<f64>,
    /// Seconds of forward and backward as scheduled, and of clipping and the optimizer.
    phases: [f64; 2],
}

/// What stages wait for each other for in a step, in the ledger's words.
const FAMILIES: [&str; 4] =
    ["activations", "activation gradients", "stage losses", "gradient norm"];

fn main() -> Result<()> {
    let args = Args::parse();
    ops::tune::environment().map_err(anyhow::Error::msg)?;
    let path = args.folder.join("batches.safetensors");
    let tokens = candle_core::safetensors::load(&path, &Device::Cpu)?;
    let tokens = tokens.get("tokens").context("batches.safetensors has no `tokens`")?;
    let (steps, rows, _) = tokens.dims3()?;
    let micros = args.micro_batches;
    ensure!(args.ranks > 0 && steps > 0, "{steps} steps for {} ranks", args.ranks);
    ensure!(
        micros > 0 && rows > 0 && rows.is_multiple_of(micros),
        "{rows} rows do not divide among {micros} micro-batches"
    );
    let folder = Folder::open(&args.folder.to_string_lossy())?;
    let config = folder.config()?;
    let plan = args.schedule.plan(args.ranks, args.schedule.usual_chunks(), micros)?;
    let cut = stages::cut(
        config.num_hidden_layers,
        plan.places.len(),
        args.pp_layers.as_deref(),
    )?;
    let micro_batch = |tokens: &Tensor, micro| {
        testkit::batch(&tokens.narrow(0, micro * rows / micros, rows / micros)?)
    };
    let inputs = Inputs {
        config,
        weights: folder.weights()?,
        plan,
        cut,
        batches: (0..steps)
            .map(|step| {
                let tokens = tokens.get(step)?;
                (0..micros).map(|micro| micro_batch(&tokens, micro)).collect()
            })
            .collect::<Result<_>>()?,
    };
    comm::launch(args.ranks, |world| {
        let _threads = ops::threads::own(args.threads);
        let layout = Layout { pp: args.ranks, ..Layout::default() };
        let mut trainer = Trainer::new(&inputs, Mesh::new(world, &layout)?)?;
        // The first rank reads, and speaks for all.
        if trainer.mesh.world().rank() == 0 {
            println!("ready");
        }
        while let Some(steps) = trainer.asked()? {
            trainer.turn(steps)?;
        }
        anyhow::Ok(())
    })?;
    Ok(())
}

impl<'a> Trainer<'a> {
    fn new(inputs: &'a Inputs, mut mesh: Mesh) -> Result<Trainer<'a>> {
        let Inputs { config, weights, plan, cut, batches } = inputs;
        mesh.ends("pp", EMBEDDINGS)?;
        let tp = TensorParallel::new(&mut mesh, config, Switch::On)?;
        let recompute = Recompute::new(&Config::default(), config.num_hidden_layers)?;
        let mut builder = ParamBuilder::new(0, DType::F32);
        let seq_len = batches[0][0].seq_len;
        let model = Transformer::new(
            &tp,
            config,
            cut,
            &plan.chunks_of(mesh.axis("pp")?.rank()),
            seq_len,
            DType::F32,
            &recompute,
            &mut builder,
        )?;
        let pipeline = Pipeline::new(model, plan.clone(), &mesh, DType::F32)?;
        let params = builder.build_zeros()?;
        weights::load(&params, weights)?;
        let optimizer = AdamW::new(&params, &mesh)?;
        Ok(Trainer { mesh, pipeline, params, optimizer, batches, made: 0 })
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
        let world = self.mesh.world();
        let waited =
            FAMILIES.map(|name| world.ledger().family(name).exposed.as_secs_f64());
        world.barrier("turn")?;
        let seconds = start.elapsed().as_secs_f64();
        let mut all = vec![0.0; FAMILIES.len() * world.size()];
        world.all_gather("turn", &waited, &mut all)?;
        if world.rank() == 0 {
            let stages = all.chunks(FAMILIES.len());
            let by_stage: Vec<f64> =
                stages.clone().map(|waited| waited.iter().sum()).collect();
            let waited_for = |i: usize| -> f64 {
                stages.clone().map(|waited| waited[i]).sum::<f64>()
                    / world.size() as f64
            };
            let waited_for: serde_json::Value = FAMILIES
                .iter()
                .enumerate()
                .map(|(i, name)| (*name, waited_for(i)))
                .collect();
            let Turn { losses, norms, phases } = turn;
            let [scheduled, optimizer] = phases;
            let record = json!({
                "seconds": seconds, "losses": losses, "norms": norms,
                "scheduled": scheduled, "optimizer": optimizer,
                "waited": by_stage.iter().sum::<f64>() / world.size() as f64,
                "waited_by_stage": by_stage, "waited_for": waited_for,
            });
            println!("{record}");
        }
        Ok(())
    }
    /// A step as chapter 7's loop makes it.
    fn step(&mut self, turn: &mut Turn) -> Result<()> {
        let Trainer { mesh, pipeline, params, optimizer, batches, made } = self;
        let peers = mesh.data();
        let batches = &batches[*made % batches.len()];
        *made += 1;
        let mut at = Instant::now();
        let mut lap = |phase: &mut f64| {
            *phase += at.elapsed().as_secs_f64();
            at = Instant::now();
        };
        let [scheduled, update] = &mut turn.phases;
        let targets = batches.iter().map(|batch| batch.target_count() as i64);
        let mut tokens = [targets.sum::<i64>()];
        peers.all_reduce("tokens", &mut tokens, Reduce::Sum)?;
        params.begin_step()?;
        let mut gradients = Gradients::new(params, mesh);
        let scale = 1.0 / tokens[0] as f64;
        let losses = pipeline.step(batches, scale, &mut gradients, true)?;
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
