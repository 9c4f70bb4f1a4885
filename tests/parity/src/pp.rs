//! Layouts of chapter 7, pipeline parallelism.
use crate::small::{SEQ_LEN, Small, wide_models};
use crate::tp::Rank;
use crate::{Reference, covering};
use anyhow::{Context, Result};
use ch07_pipeline_parallel::plan::Plan;
use ch07_pipeline_parallel::{Config, run, stages};
use clap::Parser;
use hub::ModelConfig;
use params::Params;
use std::collections::BTreeMap;
use std::path::Path;

/// Steps of each training.
pub const STEPS: u64 = 6;
/// Layers of each model: no number of chunks divides them.
pub const LAYERS: usize = 7;

/// One choice of each factor.
pub struct Case {
    /// In words.
    pub name: String,
    /// The architecture.
    pub model: ModelConfig,
    /// Stages.
    pub pp: usize,
    /// Tensor-parallel ranks of each.
    pub tp: usize,
    /// Data-parallel ranks.
    pub dp: usize,
    /// Whether the sequence is cut.
    pub sequence: bool,
    /// Micro-batches of a step, on each data-parallel rank.
    pub micros: usize,
    /// Sequences of each.
    pub rows: usize,
    /// What is computed again: the flags behind `--recompute`.
    pub recompute: &'static str,
    /// The flags that say how the pipeline is laid out, and how it works.
    pipeline: Vec<String>,
    files: Small,
}

/// Calls and bytes, by family, group and operation.
pub type Booked = BTreeMap<(&'static str, String, &'static str), [u64; 2]>;

/// The schedules, with the number of chunks on a stage. The last two are read from
/// files.
const SCHEDULES: [(&str, usize); 7] = [
    ("1f1b", 1),
    ("gpipe", 1),
    ("interleaved", 2),
    ("zb-h1", 1),
    ("zbv", 2),
    ("file", 1),
    ("file", 2),
];

/// The covering set.
///
/// # Errors
/// The files cannot be written.
pub fn cases() -> Result<Vec<Case>> {
    let recompute = ["none", "selective", "full", "full --recompute-layers 2"];
    let case = |row: &Vec<usize>| -> Result<Case> {
        // What is no matter of covering is the first choice.
        let pp = 4 >> row[0];
        let (schedule, chunks) = SCHEDULES[row[1]];
        let (tp, sequence) = [(1, false), (2, false), (2, true)][row[2]];
        let (kind, mut model) = wide_models()[row[3]].clone();
        model.num_hidden_layers = LAYERS;
        let dp = 1 + row[4];
        let recompute = recompute[row[5]];
        let micros = match row[6] {
            // More than stages; those that are dealt out divide.
            0 if schedule == "interleaved" => 2 * pp,
            0 => 2 * pp + 1,
            // And fewer.
            _ => (pp - 1).max(1),
        };
        let layers = ["uneven", "even"][row[7]];
        let overlap = ["on", "off"][row[8]];
        let name = format!(
            "pp {pp}, {schedule}, virtual {chunks}, micro-batches {micros}, tp {tp}, \
             dp {dp}, sequence {}, {layers} layers, {kind}, recompute {recompute}, \
             overlap {overlap}",
            if sequence { "cut" } else { "whole" },
        );
        let files = Small::new(&model)?;
        let schedule = match schedule {
            "file" => {
                let file = files.model().join("schedule.csv");
                std::fs::write(&file, csv(pp, chunks, micros))?;
                file.to_string_lossy().into_owned()
            }
            name => name.into(),
        };
        let flags = format!("--pp {pp} --virtual {chunks} --overlap {overlap}");
        let mut pipeline: Vec<String> = flags.split(' ').map(String::from).collect();
        pipeline.extend(["--schedule".into(), schedule]);
        if layers == "uneven" {
            let layers = match pp * chunks {
                1 => "7",
                2 => "6,1",
                4 => "0,4,2,1",
                _ => "0,2,1,1,1,1,1,0",
            };
            pipeline.extend(["--pp-layers".into(), layers.into()]);
        }
        // Nearly as many sequences in all, of no more tokens at a time than the loss
        // has logits for.
        let rows = (10 / micros / dp).max(1);
        Ok(Case {
            name,
            model,
            pp,
            tp,
            dp,
            sequence,
            micros,
            rows,
            recompute,
            pipeline,
            files,
        })
    };
    // Three choices at once that have to be: gradients of 1F1B leave while later
    // micro-batches are under way, and other ranks add to them.
    let mut rows = vec![vec![0, 0, 0, 0, 1, 0, 0, 0, 0]];
    rows.extend(covering(&[3, 7, 3, 4, 2, 4, 2, 2, 2]));
    rows.iter().map(case).collect()
}

/// A schedule that no other one is like. The model begins on the last stage; every
/// other stage goes through the micro-batches from the last to the first, so that none
/// of what it receives comes in the order in which it is used, and has every other
/// backward in halves, of which the second ones wait until the end.
fn csv(stages: usize, chunks: usize, micros: usize) -> String {
    let line = |stage: usize| {
        let backwards = stage % 2 == 1;
        let order = |n: usize, reverse: bool| -> Vec<usize> {
            if reverse { (0..n).rev().collect() } else { (0..n).collect() }
        };
        let own: Vec<usize> =
            (0..chunks).map(|chunk| chunk * stages + stages - 1 - stage).collect();
        let mut cells = vec![];
        for chunk in &own {
            let all = order(micros, backwards);
            cells.extend(all.iter().map(|micro| format!("{chunk}F{micro}")));
        }
        let mut late = vec![];
        for chunk in own.iter().rev() {
            for micro in order(micros, backwards) {
                if (micro + stage).is_multiple_of(2) {
                    cells.push(format!("{chunk}B{micro}"));
                } else {
                    cells.push(format!("{chunk}I{micro}"));
                    late.push(format!("{chunk}W{micro}"));
                }
            }
        }
        cells.extend(late);
        cells.join(",") + "\n"
    };
    (0..stages).map(line).collect()
}

impl Case {
    /// All of a step.
    fn global_batch(&self) -> usize {
        self.rows * self.micros * self.dp
    }
    /// What all chapters are told alike.
    fn flags(&self, precision: &str, steps: u64, rows: usize) -> Vec<String> {
        let flags = format!(
            "ferrotron --tokenizer bytes --workers 1 --threads 1 --isolate-documents \
             --warmup 2 --lr 2e-3 --validation-sequences 7 --quiet \
             --seq-len {SEQ_LEN} --global-batch {} --micro-batch {rows} \
             --steps {steps} --precision {precision}",
            self.global_batch()
        );
        let mut flags: Vec<String> = flags.split(' ').map(String::from).collect();
        let path = |path: &Path| path.to_string_lossy().into_owned();
        // Of which micro-batches have very different numbers of targets.
        let (model, data) = (path(self.files.model()), path(&self.files.uneven()));
        flags.extend(["--model".into(), model, "--data".into(), data]);
        flags
    }
    fn config(&self, precision: &str, steps: u64) -> Result<Config> {
        self.with_pipeline(precision, steps, &self.pipeline)
    }
    fn with_pipeline(
        &self,
        precision: &str,
        steps: u64,
        pipeline: &[String],
    ) -> Result<Config> {
        let mut flags = self.flags(precision, steps, self.rows);
        let layout = format!(
            "--tp {} --dp {} --sp {} --recompute {}",
            self.tp,
            self.dp,
            if self.sequence { "on" } else { "off" },
            self.recompute
        );
        flags.extend(layout.split(' ').map(String::from));
        flags.extend(pipeline.iter().cloned());
        Ok(Config::try_parse_from(flags)?)
    }
    /// The layout: what each rank comes to.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train(&self, precision: &str, steps: u64) -> Result<Vec<Rank>> {
        Ok(ranks(run(&self.config(precision, steps)?)?))
    }
    /// The same layout with all layers on one stage.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train_in_one_stage(&self, precision: &str, steps: u64) -> Result<Vec<Rank>> {
        let pipeline = ["--pp".to_string(), "1".into()];
        Ok(ranks(run(&self.with_pipeline(precision, steps, &pipeline)?)?))
    }
    /// The same on one rank of chapter 5, in one micro-batch or in as small ones.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train_alone(
        &self,
        precision: &str,
        steps: u64,
        whole: bool,
    ) -> Result<Rank> {
        use ch05_tensor_parallel::{Config, run};
        let rows = if whole { self.global_batch() } else { self.rows };
        let mut flags = self.flags(precision, steps, rows);
        flags.extend(["--tp".into(), "1".into()]);
        let rank = run(&Config::try_parse_from(flags)?)?.remove(0);
        let (steps, val_loss) = (rank.steps, rank.val_loss);
        let (params, communication) = (rank.params, rank.communication);
        Ok(Rank { steps, val_loss, params, communication })
    }
    /// Chapter 1 in fp64 on the same data.
    ///
    /// # Errors
    /// Those of the training.
    pub fn reference(&self, steps: u64) -> Result<Reference> {
        use ch01_single_gpu::{Config, run};
        let flags = self.flags("fp64", steps, self.global_batch());
        let run = run(&Config::try_parse_from(flags)?)?;
        Reference::new(&run.steps, run.val_loss, &run.params)
    }
    /// Whether two stages have a copy of the embedding.
    pub fn has_copies(&self) -> Result<bool> {
        let places = self.plan()?.places;
        Ok(self.model.tie_word_embeddings && places.first() != places.last())
    }
    fn plan(&self) -> Result<Plan> {
        let config = self.config("fp32", 1)?;
        config.schedule.plan(self.pp, config.chunks(), self.micros)
    }
    /// What rank `rank`, which holds `params`, sends in so many steps with activations
    /// of `size` bytes and sums of `acc`, as the closed forms have it.
    ///
    /// # Errors
    /// The schedule is not for this.
    pub fn predict(
        &self,
        steps: u64,
        rank: usize,
        params: &Params,
        size: usize,
        acc: usize,
    ) -> Result<Booked> {
        let (p, t, d, m) = (self.pp, self.tp, self.dp, self.micros);
        let stage = rank / (t * d);
        let plan = self.plan()?;
        let own = plan.chunks_of(stage);
        let last = plan.places.len() - 1;
        let [first, head] = [0, last].map(|end| usize::from(own.contains(&end)));
        let config = self.config("fp32", 1)?;
        let cut = stages::cut(LAYERS, last + 1, config.pp_layers.as_deref())?;
        let layers: usize = own.iter().map(|chunk| cut[*chunk].len()).sum();
        let (tokens, hidden) = (self.rows * SEQ_LEN, self.model.hidden_size);
        let whole = tokens * hidden;
        // Elements that a ring of n sends, of so many.
        let ring = |n: usize, len: usize| 2 * (n - 1) * len.div_ceil(n);
        let mut all = Booked::new();
        let mut add = |family, group: &str, operation, calls: usize, bytes: usize| {
            if calls == 0 {
                return;
            }
            let entry = all.entry((family, group.into(), operation)).or_default();
            entry[0] += steps * calls as u64;
            entry[1] += steps * (calls * bytes) as u64;
        };
        // Hidden states of this rank's part of the sequence, over each boundary between
        // stages; nothing is sent to oneself.
        let part = if self.sequence { whole / t } else { whole } * size;
        for chunk in &own {
            let elsewhere = |other: &usize| {
                plan.places.get(*other).is_some_and(|place| *place != stage)
            };
            if Some(chunk + 1).filter(elsewhere).is_some() {
                add("activations", "pp", "send", m, part);
                add("activation gradients", "pp", "recv", m, 0);
            }
            if chunk.checked_sub(1).filter(elsewhere).is_some() {
                add("activations", "pp", "recv", m, 0);
                add("activation gradients", "pp", "send", m, part);
            }
        }
        if p > 1 {
            add("stage losses", "pp", "all_reduce", 1, 8 * ring(p, m));
        }
        if self.has_copies()? && first + head == 1 {
            let table = self.model.vocab_size.div_ceil(t) * hidden;
            let bytes = acc * ring(2, table);
            add("partial gradients", "embeddings", "all_reduce", 1, bytes);
        }
        if t > 1 {
            // Two pairs of matrices in a layer, and the two ends of the model.
            let pairs = 2 * layers;
            // What a forward pass of the layers in backward repeats.
            let again = if self.recompute.starts_with("full") { pairs } else { 0 };
            if self.sequence {
                let half = (t - 1) * (whole / t) * size;
                add("f", "tp", "all_gather", m * (pairs + head + again), half);
                add("f", "tp", "reduce_scatter", m * (pairs + head), half);
                add("f again", "tp", "all_gather", m * pairs, half);
                add("g", "tp", "reduce_scatter", m * (pairs + first + again), half);
                add("g", "tp", "all_gather", m * (pairs + first), half);
            } else {
                let sum = ring(t, whole) * size;
                add("f", "tp", "all_reduce", m * (pairs + head), sum);
                add("g", "tp", "all_reduce", m * (pairs + first + again), sum);
            }
            // Three numbers for each token.
            let bytes = 24 * (t - 1) * tokens;
            add("cross-entropy", "tp", "all_gather", m * head, bytes);
            let dim = self.model.head_dim;
            let mut shared = if self.model.qk_norm { pairs * dim } else { 0 };
            shared += if self.sequence { (pairs + head) * hidden } else { 0 };
            if shared > 0 {
                let bytes = acc * ring(t, shared);
                add("partial gradients", "tp", "all_reduce", 1, bytes);
            }
            let copies = t / self.model.num_key_value_heads;
            if copies > 1 && layers > 0 {
                let one = dim * hidden + if self.model.qkv_bias { dim } else { 0 };
                let bytes = acc * ring(copies, pairs * one);
                add("partial gradients", "tp-kv", "all_reduce", 1, bytes);
            }
        }
        if t * p > 1 {
            add("gradient norm", "model", "all_reduce", 1, 8 * ring(t * p, 1));
        }
        if d > 1 {
            for flat in &params.flats {
                let bytes = acc * ring(d, flat.grads.len());
                add("gradients", "data", "all_reduce", 1, bytes);
            }
            add("tokens", "data", "all_reduce", 1, 8 * ring(d, 1));
            add("loss", "data", "all_reduce", 1, 8 * ring(d, 1));
        }
        if t * d * p > 1 {
            let bytes = ring(t * d * p, 1);
            add("interrupt", "world", "all_reduce", 1, bytes);
            // Once more at the end.
            let key = ("interrupt", "world".into(), "all_reduce");
            let end = all.get_mut(&key).context("added above")?;
            *end = [end[0] + 1, end[1] + bytes as u64];
        }
        Ok(all)
    }
}

fn ranks(all: Vec<ch07_pipeline_parallel::run::Outcome>) -> Vec<Rank> {
    let rank = |rank: ch07_pipeline_parallel::run::Outcome| Rank {
        steps: rank.steps,
        val_loss: rank.val_loss,
        params: rank.params,
        communication: rank.communication,
    };
    all.into_iter().map(rank).collect()
}
