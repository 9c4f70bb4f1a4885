//! Layouts of chapters 5 and 6, tensor and sequence parallelism.
use crate::small::{LAYERS, SEQ_LEN, Small, wide_models};
use crate::{Reference, covering};
use anyhow::Result;
use clap::Parser;
use hub::ModelConfig;
use params::Params;
use runlog::Step;
use std::collections::BTreeMap;

/// Steps of each training.
pub const STEPS: u64 = 20;
/// Sequences of a step.
pub const GLOBAL_BATCH: usize = 8;
/// Tokens whose logits `ops::head_loss` has at a time, at most.
const ROWS: usize = 256;

/// Which chapter trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chapter {
    /// Without sequence parallelism.
    Five,
    /// With it, or without.
    Six,
}

/// One choice of each factor.
pub struct Case {
    /// In words.
    pub name: String,
    /// Who trains it.
    pub chapter: Chapter,
    /// The architecture.
    pub model: ModelConfig,
    /// Tensor-parallel ranks.
    pub tp: usize,
    /// Data-parallel ranks.
    pub dp: usize,
    /// Whether the sequence is cut.
    pub sequence: bool,
    /// Micro-batches of a step, on each data-parallel rank.
    pub micro_batches: usize,
    /// What is computed again: the flags behind `--recompute`.
    pub recompute: &'static str,
    /// Tokens of a sequence: also such that a micro-batch has more tokens than the loss
    /// has logits for at a time.
    pub seq_len: usize,
    uneven: bool,
    files: Small,
}

/// What a training leaves on one rank.
pub struct Rank {
    /// One for each step.
    pub steps: Vec<Step>,
    /// On the validation data.
    pub val_loss: Option<f64>,
    /// This rank's slices.
    pub params: Params,
    /// By what it was for.
    pub communication: Vec<comm::Line>,
}

/// The covering set of a chapter.
///
/// # Errors
/// The files cannot be written.
pub fn cases(chapter: Chapter) -> Result<Vec<Case>> {
    let switch = match chapter {
        Chapter::Five => 1,
        Chapter::Six => 2,
    };
    let recompute = [
        "none",
        "selective",
        "full",
        "selective --recompute-modules norm,swiglu,attention",
        "full --recompute-layers 2",
    ];
    let case = |row: &Vec<usize>| -> Result<Case> {
        let (kind, model) = wide_models()[row[1]].clone();
        let (tp, dp, sequence) = (1 << row[0], 1 + row[2], row[4] == 1);
        let (recompute, uneven, micro_batches) =
            (recompute[row[3]], row[5] == 1, 1 + row[6]);
        let name = format!(
            "{chapter:?}: tp {tp}, dp {dp}, sequence {}, \
             micro-batches {micro_batches}, {} text, {kind}, recompute {recompute}",
            if sequence { "cut" } else { "whole" },
            if uneven { "uneven" } else { "even" },
        );
        let files = Small::new(&model)?;
        let seq_len = if uneven { SEQ_LEN } else { 3 * SEQ_LEN + 8 };
        Ok(Case {
            name,
            seq_len,
            chapter,
            model,
            tp,
            dp,
            sequence,
            micro_batches,
            recompute,
            uneven,
            files,
        })
    };
    covering(&[4, 4, 2, 5, switch, 2, 2]).iter().map(case).collect()
}

impl Case {
    /// Sequences of a micro-batch.
    pub fn rows(&self) -> usize {
        GLOBAL_BATCH / self.dp / self.micro_batches
    }
    /// What all chapters are told alike.
    fn flags(&self, precision: &str, steps: u64, rows: usize) -> Vec<String> {
        let data = if self.uneven { self.files.uneven() } else { self.files.even() };
        let flags = format!(
            "ferrotron --tokenizer bytes --workers 1 --threads 1 --isolate-documents \
             --warmup 2 --lr 2e-3 --validation-sequences 7 --quiet --seq-len {} \
             --global-batch {GLOBAL_BATCH} --micro-batch {rows} --steps {steps} \
             --precision {precision}",
            self.seq_len
        );
        let mut flags: Vec<String> = flags.split(' ').map(String::from).collect();
        let model = self.files.model().to_string_lossy().into_owned();
        let data = data.to_string_lossy().into_owned();
        flags.extend(["--model".into(), model, "--data".into(), data]);
        flags
    }
    /// The layout on its chapter: what each rank comes to.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train(&self, precision: &str, steps: u64) -> Result<Vec<Rank>> {
        let mut flags = self.flags(precision, steps, self.rows());
        let layout =
            format!("--tp {} --dp {} --recompute {}", self.tp, self.dp, self.recompute);
        flags.extend(layout.split(' ').map(String::from));
        macro_rules! ranks {
            ($outcomes:expr) => {
                $outcomes
                    .into_iter()
                    .map(|rank| Rank {
                        steps: rank.steps,
                        val_loss: rank.val_loss,
                        params: rank.params,
                        communication: rank.communication,
                    })
                    .collect()
            };
        }
        Ok(match self.chapter {
            Chapter::Five => {
                use ch05_tensor_parallel::{Config, run};
                ranks!(run(&Config::try_parse_from(flags)?)?)
            }
            Chapter::Six => {
                use ch06_sequence_parallel::{Config, run};
                let switch = if self.sequence { "on" } else { "off" };
                flags.extend(["--sp".into(), switch.into()]);
                ranks!(run(&Config::try_parse_from(flags)?)?)
            }
        })
    }
    /// The same on one rank of chapter 5, in one micro-batch.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train_alone(&self, precision: &str, steps: u64) -> Result<Rank> {
        let mut flags = self.flags(precision, steps, GLOBAL_BATCH);
        flags.extend(["--tp".into(), "1".into()]);
        use ch05_tensor_parallel::{Config, run};
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
        let flags = self.flags("fp64", steps, GLOBAL_BATCH);
        let run =
            ch01_single_gpu::run(&ch01_single_gpu::Config::try_parse_from(flags)?)?;
        Reference::new(&run.steps, run.val_loss, &run.params)
    }
    /// What `rank`, which holds `params`, sends in so many steps with activations of
    /// `size` bytes and sums of `acc`: calls and bytes by family, group and operation,
    /// as the closed forms have it.
    pub fn predict(
        &self,
        steps: u64,
        params: &Params,
        size: usize,
        acc: usize,
    ) -> BTreeMap<(&'static str, &'static str, &'static str), [u64; 2]> {
        let (t, d, m) = (self.tp, self.dp, self.micro_batches);
        let (model, layers) = (&self.model, LAYERS);
        let (tokens, hidden) = (self.rows() * self.seq_len, model.hidden_size);
        // Elements that a ring of n sends, of so many.
        let ring = |n: usize, len: usize| 2 * (n - 1) * len.div_ceil(n);
        let mut all = BTreeMap::new();
        let mut add = |family, group, operation, calls: usize, bytes: usize| {
            let entry: &mut [u64; 2] =
                all.entry((family, group, operation)).or_default();
            entry[0] += steps * calls as u64;
            entry[1] += steps * (calls * bytes) as u64;
        };
        if t > 1 {
            // Two pairs of matrices in a layer, and the two ends of the model.
            let pairs = 2 * layers + 1;
            // What a forward pass of the layers in backward repeats.
            let again = if self.recompute.starts_with("full") { 2 * layers } else { 0 };
            let whole = tokens * hidden;
            if self.sequence {
                let half = (t - 1) * (whole / t) * size;
                add("f", "tp", "all_gather", m * (pairs + again), half);
                add("f", "tp", "reduce_scatter", m * pairs, half);
                add("f again", "tp", "all_gather", m * 2 * layers, half);
                add("g", "tp", "reduce_scatter", m * (pairs + again), half);
                add("g", "tp", "all_gather", m * pairs, half);
            } else {
                let sum = ring(t, whole) * size;
                add("f", "tp", "all_reduce", m * pairs, sum);
                add("g", "tp", "all_reduce", m * (pairs + again), sum);
            }
            // Three numbers for each token, in so many pieces of the same size.
            let pieces = tokens.div_ceil(ROWS);
            let piece = tokens.div_ceil(pieces);
            add(
                "cross-entropy",
                "tp",
                "all_gather",
                m * (pieces - 1),
                24 * (t - 1) * piece,
            );
            let last = tokens - (pieces - 1) * piece;
            add("cross-entropy", "tp", "all_gather", m, 24 * (t - 1) * last);
            add("gradient norm", "model", "all_reduce", 1, 8 * ring(t, 1));
            let dim = model.head_dim;
            let mut shared = if model.qk_norm { 2 * layers * dim } else { 0 };
            shared += if self.sequence { (2 * layers + 1) * hidden } else { 0 };
            if shared > 0 {
                let bytes = acc * ring(t, shared);
                add("partial gradients", "tp", "all_reduce", 1, bytes);
            }
            let copies = t / model.num_key_value_heads;
            if copies > 1 {
                let one = dim * hidden + if model.qkv_bias { dim } else { 0 };
                let bytes = acc * ring(copies, 2 * layers * one);
                add("partial gradients", "tp-kv", "all_reduce", 1, bytes);
            }
        }
        if d > 1 {
            for flat in &params.flats {
                let bytes = acc * ring(d, flat.grads.len());
                add("gradients", "data", "all_reduce", 1, bytes);
            }
            add("tokens", "data", "all_reduce", 1, 8 * ring(d, 1));
            add("loss", "data", "all_reduce", 1, 8 * ring(d, 1));
        }
        if t * d > 1 {
            add("interrupt", "world", "all_reduce", 1, ring(t * d, 1));
            // Once more at the end.
            let end = all.entry(("interrupt", "world", "all_reduce")).or_default();
            *end = [end[0] + 1, end[1] + ring(t * d, 1) as u64];
        }
        all
    }
}
