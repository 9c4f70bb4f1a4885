//! One stage of the pipeline: carries out its part of a plan.
use crate::gradients::Gradients;
use crate::model::Transformer;
use crate::plan::Plan;
use crate::schedule::{Action, Pass};
use candle_core::{DType, Result, Tensor, bail};
use comm::{Group, Mesh, Reduce, SentTensor};
use corpus::Batch;
use memory::Family;
use ops::{Root, Tape, WeightGradients};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Hidden states on their way to the next stage, and gradients on their way back: their
/// families in the ledger.
const FORWARD: &str = "activations";
const BACKWARD: &str = "activation gradients";

/// This rank's stage of the model, and its neighbours.
pub struct Pipeline {
    /// This stage's chunks.
    pub model: Transformer,
    plan: Plan,
    /// The stages, with the same part of every matrix and the same data.
    group: Group,
    dtype: DType,
    /// When each action of the last step began and ended.
    times: RefCell<Vec<(Action, [Instant; 2])>>,
}

/// Hidden states or gradients that a chunk waits for: which, of which micro-batch.
type Key = (Pass, usize, usize);

impl Pipeline {
    /// `dtype` is that of activations.
    ///
    /// # Errors
    /// The mesh has another number of stages than the plan.
    pub fn new(
        model: Transformer,
        plan: Plan,
        mesh: &Mesh,
        dtype: DType,
    ) -> Result<Pipeline> {
        let group = mesh.axis("pp")?.clone();
        if group.size() != plan.stages.len() {
            bail!("{} stages, and a plan for {}", group.size(), plan.stages.len())
        }
        Ok(Pipeline { model, plan, group, dtype, times: RefCell::default() })
    }
    /// Forward and backward of all micro-batches of a step, as the plan has it. Returns
    /// the loss of each, `scale` times the sum over its targets, the same on all
    /// stages.
    ///
    /// With `overlap`, `gradients` are started as soon as the last micro-batch has
    /// added to them, bucket by bucket.
    ///
    /// # Errors
    /// There are not as many micro-batches as planned, or another rank failed.
    pub fn step(
        &self,
        batches: &[Batch],
        scale: f64,
        gradients: &mut Gradients,
        overlap: bool,
    ) -> Result<Vec<f64>> {
        if batches.len() != self.plan.micros {
            bail!(
                "{} micro-batches, and a plan for {}",
                batches.len(),
                self.plan.micros
            )
        }
        let actions = &self.plan.stages[self.group.rank()];
        let mut step = Step {
            pipeline: self,
            mail: Mail::new(self, |from, to| self.plan.messages(from, to)),
            live: HashMap::new(),
            put_off: HashMap::new(),
            losses: vec![0.0; batches.len()],
        };
        // The place of the last action that adds to a chunk's gradients.
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (i, action) in actions.iter().enumerate() {
            if matches!(action.pass, Pass::Backward | Pass::Weight) {
                last.insert(action.chunk, i);
            }
        }
        let complete = vec![false; self.model.flat_buffers()];
        let mut ready = Ready { complete, gradients, overlap };
        let mut times = Vec::with_capacity(actions.len());
        for (i, action) in actions.iter().enumerate() {
            let batch = &batches[action.micro];
            let ends = last.get(&action.chunk) == Some(&i);
            let start = Instant::now();
            match action.pass {
                Pass::Forward => step.forward(*action, batch, scale)?,
                Pass::Backward => step.backward(*action, batch, |flat| match ends {
                    true => ready.from(flat, &self.model.flats(action.chunk)),
                    false => Ok(()),
                })?,
                Pass::Input => {
                    let backward = || step.backward(*action, batch, |_| Ok(()));
                    let ((), weights) = ops::put_off(backward)?;
                    step.put_off.insert((action.chunk, action.micro), weights);
                }
                Pass::Weight => {
                    let key = (action.chunk, action.micro);
                    let Some(weights) = step.put_off.remove(&key) else {
                        bail!("{action} without its other half")
                    };
                    weights.compute()?;
                }
            }
            if ends {
                let flats = self.model.flats(action.chunk);
                ready.from(flats.start, &flats)?;
            }
            times.push((*action, [start, Instant::now()]));
        }
        self.times.replace(times);
        let Step { mail, mut losses, .. } = step;
        mail.finish()?;
        // Zero on all stages but one.
        self.group.all_reduce("stage losses", &mut losses, Reduce::Sum)?;
        Ok(losses)
    }
    /// What each action of the last step took, waiting included.
    pub fn times(&self) -> Vec<(Action, [Instant; 2])> {
        self.times.borrow().clone()
    }
    /// Forward alone: the sum over all targets of the negative log-likelihood in nats,
    /// the same on all stages.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn loss(&self, batches: &[Batch]) -> Result<f64> {
        let mut losses = [0.0];
        self.forwards(batches, |chunk, x, batch| {
            let y = self.model.forward(chunk, x, batch, 1.0)?;
            if self.model.is_last(chunk) {
                losses[0] += ops::scalar(&y)?;
            }
            Ok(y)
        })?;
        self.group.all_reduce("stage losses", &mut losses, Reduce::Sum)?;
        Ok(losses[0])
    }
    /// The score of each token of the vocabulary as the next, `[batch, seq, vocab]`, on
    /// the stage that has the last chunk; `None` on the others.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn logits(&self, batch: &Batch) -> Result<Option<Tensor>> {
        let filled = [self.model.filled(batch)];
        let mut logits = None;
        self.forwards(&filled, |chunk, x, filled| {
            let y = self.model.logits(chunk, x, filled)?;
            if self.model.is_last(chunk) {
                logits = Some(y.narrow(1, 0, batch.seq_len)?);
            }
            Ok(y)
        })?;
        Ok(logits)
    }
    /// What the stage with the last chunk has, for all.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn from_last(&self, told: &mut [u32]) -> Result<()> {
        let last = self.plan.places.len() - 1;
        Ok(self.group.broadcast("sample", told, self.plan.places[last])?)
    }
    /// All micro-batches through all of this stage's chunks, in the order of both.
    fn forwards(
        &self,
        batches: &[Batch],
        mut forward: impl FnMut(usize, Option<&Tensor>, &Batch) -> Result<Tensor>,
    ) -> Result<()> {
        let chunks = |stage| self.plan.chunks_of(stage);
        let mut mail = Mail::new(self, |from, to| {
            let next = chunks(from).into_iter().map(|chunk| chunk + 1);
            let theirs = next.filter(|chunk| self.plan.places.get(*chunk) == Some(&to));
            let all =
                |chunk| (0..batches.len()).map(move |i| (Pass::Forward, chunk, i));
            theirs.flat_map(all).collect()
        });
        for chunk in chunks(self.group.rank()) {
            for (i, batch) in batches.iter().enumerate() {
                let x = match chunk {
                    0 => None,
                    _ => Some(mail.receive((Pass::Forward, chunk, i), batch)?),
                };
                let y = forward(chunk, x.as_ref(), batch)?;
                if !self.model.is_last(chunk) {
                    mail.send((Pass::Forward, chunk + 1, i), y)?;
                }
            }
        }
        mail.finish()
    }
}

/// A step on its way.
struct Step<'a> {
    pipeline: &'a Pipeline,
    mail: Mail<'a>,
    /// Micro-batches between their forward and their backward, by chunk.
    live: HashMap<(usize, usize), (Root, Tape)>,
    /// Gradients of weights that were put off.
    put_off: HashMap<(usize, usize), WeightGradients>,
    /// What the last chunk has come to.
    losses: Vec<f64>,
}

impl Step<'_> {
    fn forward(&mut self, action: Action, batch: &Batch, scale: f64) -> Result<()> {
        let (Action { chunk, micro, .. }, model) = (action, &self.pipeline.model);
        let x = match chunk {
            0 => None,
            _ => Some(self.mail.receive((Pass::Forward, chunk, micro), batch)?),
        };
        let forward = || model.forward(chunk, x.as_ref(), batch, scale);
        let (y, tape) = ops::record(forward)?;
        // Backward needs no more of the output than which one it was.
        self.live.insert((chunk, micro), (Root::from(&y), tape));
        if model.is_last(chunk) {
            self.losses[micro] = ops::scalar(&y)?;
            return Ok(());
        }
        self.mail.send((Pass::Forward, chunk + 1, micro), y)
    }
    /// Calls `at_mark` as backward passes the marks of the model.
    fn backward(
        &mut self,
        action: Action,
        batch: &Batch,
        at_mark: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let (Action { chunk, micro, .. }, model) = (action, &self.pipeline.model);
        let Some((root, tape)) = self.live.remove(&(chunk, micro)) else {
            bail!("{action} without a forward")
        };
        let dy = if model.is_last(chunk) {
            // Of the loss.
            root.ones()?
        } else {
            self.mail.receive((Pass::Backward, chunk, micro), batch)?
        };
        let found = tape.backward_from_by_marks(root, dy, at_mark)?;
        match chunk.checked_sub(1) {
            None => found.finish(),
            Some(before) => {
                self.mail.send((Pass::Backward, before, micro), found.only()?)
            }
        }
    }
}

/// Which flat buffers' gradients will not change any more in this step.
struct Ready<'a, 'b> {
    complete: Vec<bool>,
    gradients: &'a mut Gradients<'b>,
    overlap: bool,
}

impl Ready<'_, '_> {
    /// Those of a chunk's buffers that are `flat` or behind it.
    fn from(&mut self, flat: usize, chunk: &std::ops::Range<usize>) -> Result<()> {
        self.complete[flat..chunk.end].fill(true);
        let behind = self.complete.iter().rev().take_while(|complete| **complete);
        match self.overlap {
            // Buckets leave in the same order on all ranks: the last one first.
            true => self.gradients.start(self.complete.len() - behind.count()),
            false => Ok(()),
        }
    }
}

/// What comes from other stages, and goes to them.
struct Mail<'a> {
    pipeline: &'a Pipeline,
    /// From each stage, what is still to come, in the order in which it is sent.
    coming: Vec<VecDeque<Key>>,
    /// What is here before its time, or never left this stage.
    here: HashMap<Key, Tensor>,
    /// What the others have not received yet.
    sent: Vec<SentTensor>,
}

impl<'a> Mail<'a> {
    /// `messages` says what one stage sends to another.
    fn new(
        pipeline: &'a Pipeline,
        messages: impl Fn(usize, usize) -> Vec<Key>,
    ) -> Mail<'a> {
        let (here, stages) = (pipeline.group.rank(), pipeline.group.size());
        let coming = (0..stages).map(|from| messages(from, here).into()).collect();
        Mail { pipeline, coming, here: HashMap::new(), sent: vec![] }
    }
    /// Hands `x` to the stage that has the chunk it is for. Nobody waits.
    fn send(&mut self, key: Key, x: Tensor) -> Result<()> {
        let Pipeline { group, plan, .. } = self.pipeline;
        let to = plan.places[key.1];
        if to == group.rank() {
            self.here.insert(key, x);
            return Ok(());
        }
        // Those that arrived need their memory no more.
        let (over, under_way) =
            self.sent.drain(..).partition::<Vec<_>, _>(SentTensor::is_over);
        self.sent = under_way;
        over.into_iter().try_for_each(SentTensor::wait)?;
        let _tag = memory::tag(Family::Scratch);
        self.sent.push(group.start_send_tensor(family(key.0), &x, to)?);
        Ok(())
    }
    /// Waits for what is of a micro-batch that looks like `batch`.
    fn receive(&mut self, key: Key, batch: &Batch) -> Result<Tensor> {
        let Pipeline { group, plan, model, dtype, .. } = self.pipeline;
        let from = match key.0 {
            Pass::Forward => plan.places[key.1 - 1],
            _ => plan.places[key.1 + 1],
        };
        loop {
            if let Some(x) = self.here.remove(&key) {
                return Ok(x);
            }
            let Some(next) = self.coming[from].pop_front() else {
                bail!("stage {from} sends no {key:?}")
            };
            let _tag = memory::tag(match next.0 {
                Pass::Forward => Family::Activations,
                _ => Family::Scratch,
            });
            let shape = model.hidden_shape(batch);
            let x = group.recv_tensor(family(next.0), shape, *dtype, from)?;
            self.here.insert(next, x);
        }
    }
    /// Waits until the others have all of it.
    fn finish(self) -> Result<()> {
        self.sent.into_iter().try_for_each(SentTensor::wait)
    }
}

fn family(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => FORWARD,
        _ => BACKWARD,
    }
}
