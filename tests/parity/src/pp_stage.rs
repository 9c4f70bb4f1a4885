//! The stages of chapter 7, built by hand: for what a whole run does not show.
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use ch07_pipeline_parallel::config::{Config, Granularity, Switch};
use ch07_pipeline_parallel::gradients::Gradients;
use ch07_pipeline_parallel::model::{EMBEDDINGS, Transformer};
use ch07_pipeline_parallel::optimizer::{AdamW, Hyper};
use ch07_pipeline_parallel::pipeline::Pipeline;
use ch07_pipeline_parallel::plan::Plan;
use ch07_pipeline_parallel::recompute::Recompute;
use ch07_pipeline_parallel::schedule::{Pass, Schedule};
use ch07_pipeline_parallel::stages;
use ch07_pipeline_parallel::tensor_parallel::TensorParallel;
use comm::{Group, Layout, Mesh};
use corpus::{Batch, Corpus};
use hub::ModelConfig;
use memory::Family;
use ops::Root;
use params::{ParamBuilder, Params};
use std::collections::BTreeMap;

/// A model in fp32 on a pipeline of threads, each with a stage, that compute on one
/// core each.
#[derive(Clone)]
pub struct Setting {
    /// The architecture.
    pub model: ModelConfig,
    /// Who does what.
    pub schedule: Schedule,
    /// Stages.
    pub pp: usize,
    /// Chunks on each.
    pub chunks: usize,
    /// Micro-batches of a step.
    pub micros: usize,
    /// Sequences of each.
    pub rows: usize,
    /// Tokens of each.
    pub seq_len: usize,
    /// What is computed again.
    pub recompute: Granularity,
}

/// One stage.
pub struct Stage {
    /// Its chunks.
    pub pipeline: Pipeline,
    params: Params,
    mesh: Mesh,
    optimizer: AdamW,
    scale: f64,
}

impl Setting {
    /// # Errors
    /// The schedule is not for this.
    pub fn plan(&self) -> Result<Plan> {
        self.schedule.plan(self.pp, self.chunks, self.micros)
    }
    /// What a step is made of: random tokens.
    ///
    /// # Errors
    /// There are too few of them.
    pub fn batches(&self) -> Result<Vec<Batch>> {
        let options = corpus::Options { seq_len: self.seq_len, ..Default::default() };
        let data = Corpus::random(self.model.vocab_size, &options)?;
        let batch = |i| data.train.batch((i * self.rows) as u64, self.rows);
        (0..self.micros).map(batch).collect()
    }
    /// What `f` makes of each stage.
    ///
    /// # Errors
    /// The stages cannot be built, or `f` fails on one.
    pub fn launch<T: Send>(
        &self,
        f: impl Fn(&mut Stage, &[Batch]) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let batches = self.batches()?;
        Ok(comm::launch_threads(self.pp, |world| {
            let _threads = ops::threads::own(1);
            f(&mut self.stage(world, &batches)?, &batches)
        })?)
    }
    fn stage(&self, world: Group, batches: &[Batch]) -> Result<Stage> {
        let mut mesh = Mesh::new(world, &Layout { pp: self.pp, ..Layout::default() })?;
        mesh.ends("pp", EMBEDDINGS)?;
        let tp = TensorParallel::new(&mut mesh, &self.model, Switch::Off)?;
        let config = Config { recompute: self.recompute, ..Config::default() };
        let layers = self.model.num_hidden_layers;
        let recompute = Recompute::new(&config, layers)?;
        let plan = self.plan()?;
        let cut = stages::cut(layers, plan.places.len(), None)?;
        let mut builder = ParamBuilder::new(1, DType::F32);
        let model = Transformer::new(
            &tp,
            &self.model,
            &cut,
            &plan.chunks_of(mesh.axis("pp")?.rank()),
            self.seq_len,
            DType::F32,
            &recompute,
            &mut builder,
        )?;
        let pipeline = Pipeline::new(model, plan, &mesh, DType::F32)?;
        let params = builder.build(1)?;
        let optimizer = AdamW::new(&params, &mesh)?;
        let targets: usize = batches.iter().map(Batch::target_count).sum();
        let scale = 1.0 / targets as f64;
        Ok(Stage { pipeline, params, mesh, optimizer, scale })
    }
    /// What each stage keeps for backward in a step.
    ///
    /// Memory is booked to the ranks' accounts, which nobody else may use meanwhile.
    ///
    /// # Errors
    /// Those of a step.
    pub fn measure(&self) -> Result<Vec<Kept>> {
        let plan = self.plan()?;
        self.launch(|stage, batches| stage.measure(&plan, &batches[0], batches))
    }
}

/// Bytes that a stage keeps for backward.
#[derive(Clone, Debug)]
pub struct Kept {
    /// At the peak of a step.
    pub peak: u64,
    /// Of one micro-batch in each of the stage's chunks: after forward; and where
    /// backward is in halves, after the first of them.
    pub chunks: BTreeMap<usize, [u64; 2]>,
    /// Gradients and other scratch that the first half leaves for the second.
    pub put_off: u64,
}

impl Kept {
    /// The peak as `stage`'s actions have it, from what single chunks keep.
    pub fn predict(&self, plan: &Plan, stage: usize) -> u64 {
        let (mut live, mut peak) = (0, 0);
        for action in &plan.stages[stage] {
            let [all, half] = self.chunks[&action.chunk];
            match action.pass {
                Pass::Forward => live += all,
                Pass::Backward => live -= all,
                Pass::Input => live -= all - half,
                Pass::Weight => live -= half,
            }
            peak = peak.max(live);
        }
        peak
    }
}

impl Stage {
    /// A step of training.
    ///
    /// # Errors
    /// A stage failed.
    pub fn step(&mut self, batches: &[Batch]) -> Result<()> {
        self.params.begin_step()?;
        let mut gradients = Gradients::new(&self.params, &self.mesh);
        self.pipeline.step(batches, self.scale, &mut gradients, true)?;
        gradients.finish()?;
        let grad_norm = self.optimizer.grad_norm(&self.params)?;
        let hyper =
            Hyper { lr: 1e-3, weight_decay: 0.1, max_grad_norm: 1.0, loss_scale: 1.0 };
        Ok(self.optimizer.step(&self.params, grad_norm, &hyper)?)
    }
    /// All stages are here.
    ///
    /// # Errors
    /// One is not coming.
    pub fn barrier(&self) -> Result<()> {
        Ok(self.mesh.world().barrier("here")?)
    }
    /// What this stage sent so far.
    pub fn communication(&self) -> Vec<comm::Line> {
        self.mesh.world().ledger().lines()
    }
    fn measure(
        &mut self,
        plan: &Plan,
        batch: &Batch,
        batches: &[Batch],
    ) -> Result<Kept> {
        let rank = self.mesh.world().rank();
        let live = |family| memory::account(rank)[family].live;
        // Whatever is there from the first step on is there before the second.
        self.step(batches)?;
        let mut kept = Kept { peak: 0, chunks: BTreeMap::new(), put_off: 0 };
        self.params.begin_step()?;
        for chunk in plan.chunks_of(rank) {
            let model = &self.pipeline.model;
            let [before, scratch] = [Family::Activations, Family::Scratch].map(live);
            let hidden = |family| {
                let _tag = memory::tag(family);
                let shape = model.hidden_shape(batch);
                let zeros = vec![0_f32; shape.0 * shape.1 * shape.2];
                Tensor::from_vec(zeros, shape, &candle_core::Device::Cpu)
            };
            let x = match chunk {
                0 => None,
                _ => Some(hidden(Family::Activations)?),
            };
            let forward = || model.forward(chunk, x.as_ref(), batch, self.scale);
            let (y, tape) = ops::record(forward)?;
            let root = Root::from(&y);
            // As in the pipeline: the input is the tape's, the output the next one's.
            drop((x, y));
            let all = live(Family::Activations) - before;
            let dy = match model.is_last(chunk) {
                true => root.ones()?,
                false => hidden(Family::Scratch)?,
            };
            let (found, weights) = ops::put_off(|| tape.backward_from(root, dy))?;
            drop(found);
            let half = live(Family::Activations) - before;
            kept.put_off = kept.put_off.max(live(Family::Scratch) - scratch);
            kept.chunks.insert(chunk, [all, half]);
            weights.compute()?;
        }
        let before = live(Family::Activations);
        self.barrier()?;
        memory::reset_peak(rank);
        self.step(batches)?;
        kept.peak = memory::account(rank)[Family::Activations].peak - before;
        Ok(kept)
    }
}

/// The schedules, by name, each with its usual number of chunks on a stage.
///
/// # Errors
/// None of them is known.
pub fn schedules() -> Result<Vec<(&'static str, Schedule)>> {
    ["gpipe", "1f1b", "interleaved", "zb-h1", "zbv"]
        .into_iter()
        .map(|name| {
            let schedule = name.parse().map_err(anyhow::Error::msg).context(name)?;
            Ok((name, schedule))
        })
        .collect()
}
