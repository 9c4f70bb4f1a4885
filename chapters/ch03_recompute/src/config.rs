//! What a run can be told.
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// What else a run listens to.
const ENVIRONMENT: &str = "Environment:
  FERROTRON_GEMM  what multiplies matrices: auto, avx512, avx2, portable or gemm
  FERROTRON_TUNE  set to anything: show what was picked for each shape
  HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN  as for huggingface_hub";

/// Train a small language model on one device.
///
/// Without any flag: the preset `nano` on the stories in data/, for a minute or two.
#[derive(Parser, Clone, Debug, Serialize)]
#[command(version, allow_negative_numbers = true, after_help = ENVIRONMENT)]
pub struct Config {
    /// A preset (nano, tiny, small, 125m, 350m, 1.3b), a folder in Hugging Face's form,
    /// or a hub id such as Qwen/Qwen3-0.6B. A folder or id brings its weights
    #[arg(long, default_value = "nano", value_name = "PRESET|DIR|HUB_ID")]
    pub model: String,

    /// Text files, .jsonl files with a "text" in each line, Megatron .bin/.idx pairs,
    /// or `random` [default: the stories that ship with the book]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,

    /// A tokenizer.json, or `bytes` [default: the model's own; for a preset, the
    /// stories' own for the stories and bytes for other text]
    #[arg(long, value_name = "FILE|bytes")]
    pub tokenizer: Option<String>,

    /// Threads that tokenize; 0 for one per core
    #[arg(long, default_value_t = 0)]
    pub workers: usize,

    /// Part of the tokens, at the end, that is kept for validation
    #[arg(long, default_value_t = 0.1)]
    pub validation_fraction: f64,

    /// Keep packed documents from attending to each other
    #[arg(long)]
    pub isolate_documents: bool,

    /// Optimizer steps
    #[arg(long, default_value_t = 600)]
    pub steps: u64,

    /// Tokens per sequence
    #[arg(long, default_value_t = 128)]
    pub seq_len: usize,

    /// Sequences per forward and backward pass
    #[arg(long, default_value_t = 8)]
    pub micro_batch: usize,

    /// Sequences per optimizer step; a multiple of --micro-batch
    #[arg(long, default_value_t = 16)]
    pub global_batch: usize,

    /// Highest learning rate, reached after the warm-up, from where it falls as a
    /// cosine to a tenth [default: 0.04 / sqrt(hidden size); 2e-5 for a model with
    /// weights]
    #[arg(long)]
    pub lr: Option<f64>,

    /// Steps in which the learning rate rises [default: a twentieth of the steps]
    #[arg(long)]
    pub warmup: Option<u64>,

    /// Decoupled weight decay of matrices
    #[arg(long, default_value_t = 0.1)]
    pub weight_decay: f64,

    /// Gradients longer than this are scaled down to it; 0: none are
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    pub max_grad_norm: f64,

    /// Type of parameters and activations. The 16-bit types have fp32 master weights
    /// and gradients; on a CPU they are for storage, and sums are in fp32
    #[arg(long, value_enum, default_value = "fp32")]
    pub precision: Precision,

    /// What the loss is multiplied by at first, in fp16 [default: 65536]
    #[arg(long, value_name = "SCALE")]
    pub initial_loss_scale: Option<f64>,

    /// Steps without an overflow after which the loss scale doubles, in fp16
    /// [default: 1000]
    #[arg(long, value_name = "STEPS")]
    pub loss_scale_window: Option<u64>,

    /// What backward computes again instead of finding it in memory: nothing, the
    /// outputs of some operations, or whole layers
    #[arg(long, value_enum, default_value = "none")]
    pub recompute: Granularity,

    /// Whose outputs are computed again: norm, swiglu, attention; for selective
    /// recomputation [default: norm,swiglu]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODULES")]
    #[arg(hide_possible_values = true)]
    pub recompute_modules: Vec<Module>,

    /// Which layers are computed again: all, in segments of equal size (uniform), or
    /// the first ones (block); for full recomputation [default: uniform]
    #[arg(long, value_enum, value_name = "METHOD", hide_possible_values = true)]
    pub recompute_method: Option<Method>,

    /// Layers of a segment (uniform) [default: 1], or that are computed again (block)
    #[arg(long, value_name = "LAYERS")]
    pub recompute_layers: Option<usize>,

    /// What computes: this machine's processor, or its GPUs
    #[arg(long, value_enum, default_value = DEVICE)]
    pub device: Device,

    /// Decides the first weights, the order of the data and the sample
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Threads that compute; 0 for one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,

    /// Sequences of the validation data that are measured at the end
    #[arg(long, default_value_t = 2000, value_name = "SEQUENCES")]
    pub validation_sequences: usize,

    /// Tokens of the sample at the end; 0 for none
    #[arg(long, default_value_t = 120, value_name = "TOKENS")]
    pub sample: usize,

    /// What the sample continues [default: the start of a document]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Write a record per step to this file
    #[arg(long, value_name = "FILE.jsonl")]
    pub log: Option<PathBuf>,

    /// Write TensorBoard events into this folder
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,

    /// Save the model in Hugging Face's form into this folder
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,

    /// Show neither progress nor sample
    #[arg(long)]
    pub quiet: bool,
}

/// GPUs, in a program that was built for them.
const DEVICE: &str = if cfg!(feature = "cuda") { "gpu" } else { "cpu" };

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU.
    Gpu,
}

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, the usual.
    Fp32,
    /// 64 bits, to tell a rounding error from a mistake.
    Fp64,
    /// 16 bits: the range of fp32, with 8 significant bits.
    Bf16,
    /// 16 bits: 11 significant ones, but a range that gradients fall out of.
    Fp16,
}

impl Precision {
    /// Of parameters and activations.
    pub fn dtype(self) -> DType {
        match self {
            Precision::Fp32 => DType::F32,
            Precision::Fp64 => DType::F64,
            Precision::Bf16 => DType::BF16,
            Precision::Fp16 => DType::F16,
        }
    }
}

/// What is computed again in backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Nothing: all activations are kept.
    None,
    /// The outputs of operations that are large and cheap.
    Selective,
    /// Whole layers.
    Full,
}

/// What selective recomputation can compute again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Module {
    /// The norms in front of attention and MLP.
    Norm,
    /// The gate of the MLP.
    Swiglu,
    /// From queries, keys and values to their mixture.
    Attention,
}

/// Which layers full recomputation computes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// All, in segments of so many layers.
    Uniform,
    /// So many, from the first on, each by itself.
    Block,
}

impl Default for Config {
    fn default() -> Config {
        Config::parse_from(["ferrotron"])
    }
}

impl Config {
    /// Whether the data is made up: `--data random`.
    pub fn is_random(&self) -> bool {
        self.data == [std::path::Path::new("random")]
    }
    /// # Errors
    /// A value that no run can use; says which, and what would do.
    pub fn check(&self) -> Result<()> {
        serde_json::to_value(self).context("no log could hold these flags")?;
        for (flag, value) in [
            ("--steps", self.steps as usize),
            ("--seq-len", self.seq_len),
            ("--micro-batch", self.micro_batch),
            ("--global-batch", self.global_batch),
        ] {
            ensure!(
                value > 0,
                "{flag} is 0, which leaves nothing to train: expected at least 1"
            );
        }
        ensure!(
            self.device == Device::Cpu
                || matches!(self.precision, Precision::Fp32 | Precision::Bf16),
            "--device gpu computes in fp32 or bf16: choose it by --precision, or leave \
             out --device gpu"
        );
        for (flag, threads) in
            [("--threads", self.threads), ("--workers", self.workers)]
        {
            ensure!(
                threads <= 1024,
                "{flag} is {threads}: expected at most 1024, or 0 for one per core"
            );
        }
        ensure!(
            self.global_batch.saturating_mul(self.seq_len) <= 1 << 32,
            "--global-batch {} rows of --seq-len {} tokens are too much for a step: \
             expected at most 2^32 tokens",
            self.global_batch,
            self.seq_len
        );
        ensure!(
            self.global_batch.is_multiple_of(self.micro_batch),
            "--global-batch {} is not a multiple of --micro-batch {}: {} would be",
            self.global_batch,
            self.micro_batch,
            self.global_batch.next_multiple_of(self.micro_batch)
        );
        let scales = [
            ("--initial-loss-scale", self.initial_loss_scale.is_some()),
            ("--loss-scale-window", self.loss_scale_window.is_some()),
        ];
        for (flag, given) in scales {
            ensure!(
                !given || self.precision == Precision::Fp16,
                "{flag} is given, but only --precision fp16 scales its loss: leave it \
                 out"
            );
        }
        let scale = self.initial_loss_scale.unwrap_or(1.0);
        ensure!(
            (1.0..=1e30).contains(&scale) && scale.log2().fract() == 0.0,
            "--initial-loss-scale is {scale}: expected a power of two of at least 1, \
             which changes no digit of a gradient"
        );
        ensure!(
            self.loss_scale_window != Some(0),
            "--loss-scale-window is 0: expected at least 1 step"
        );
        for (flag, given, granularity) in [
            (
                "--recompute-modules",
                !self.recompute_modules.is_empty(),
                Granularity::Selective,
            ),
            ("--recompute-method", self.recompute_method.is_some(), Granularity::Full),
            ("--recompute-layers", self.recompute_layers.is_some(), Granularity::Full),
        ] {
            ensure!(
                !given || self.recompute == granularity,
                "{flag} is given, but only --recompute {} has a use for it",
                format!("{granularity:?}").to_lowercase()
            );
        }
        ensure!(
            self.recompute_method != Some(Method::Block)
                || self.recompute_layers.is_some(),
            "--recompute-method block needs --recompute-layers: how many layers, from \
             the first on, are to be computed again"
        );
        for (flag, value) in [
            ("--lr", self.lr.unwrap_or(0.0)),
            ("--weight-decay", self.weight_decay),
            ("--max-grad-norm", self.max_grad_norm),
        ] {
            ensure!(
                value >= 0.0 && value.is_finite(),
                "{flag} is {value}: expected a number of at least 0"
            );
        }
        Ok(())
    }
    /// The learning rate of `step`, the first being 1, where `max_lr` is its peak:
    /// linear warm-up, then a cosine down to a tenth (Loshchilov and Hutter 2017).
    pub fn lr_at(&self, step: u64, max_lr: f64) -> f64 {
        let warmup = self.warmup.unwrap_or(self.steps / 20);
        if step <= warmup {
            return max_lr * step as f64 / warmup as f64;
        }
        let rest = self.steps.saturating_sub(warmup).max(1);
        let done = (step - warmup) as f64 / rest as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        max_lr * (0.1 + 0.9 * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_then_falls_to_a_tenth() {
        let config = Config { steps: 100, warmup: Some(10), ..Config::default() };
        let lr: Vec<f64> = (1..=100).map(|step| config.lr_at(step, 2.0)).collect();
        assert_eq!((lr[0], lr[9]), (0.2, 2.0));
        assert!(lr[9..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((lr[54] - 1.1).abs() < 1e-12 && (lr[99] - 0.2).abs() < 1e-12);
        let short = Config { steps: 1, warmup: Some(0), ..Config::default() };
        assert!(short.lr_at(1, 2.0).is_finite());
    }

    #[test]
    fn impossible_values_are_named() {
        let says = |config: Config, what: &str| {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        let base = Config::default();
        says(Config { steps: 0, ..base.clone() }, "--steps is 0");
        says(Config { global_batch: 12, ..base.clone() }, "16 would be");
        says(Config { lr: Some(f64::NAN), ..base.clone() }, "--lr is NaN");
        let fp16 = Config { precision: Precision::Fp16, ..base.clone() };
        says(Config { initial_loss_scale: Some(3.0), ..fp16.clone() }, "power of two");
        says(Config { loss_scale_window: Some(0), ..fp16 }, "at least 1 step");
        says(
            Config { loss_scale_window: Some(9), ..base.clone() },
            "only --precision fp16",
        );
        let full = Config { recompute: Granularity::Full, ..base.clone() };
        says(Config { recompute_modules: vec![Module::Norm], ..full.clone() }, "selec");
        says(Config { recompute_layers: Some(2), ..base }, "only --recompute full");
        says(Config { recompute_method: Some(Method::Block), ..full }, "how many");
    }
}
