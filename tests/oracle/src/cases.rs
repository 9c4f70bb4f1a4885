//! What both sides train: small models, on the stories that ship with the book.
use crate::Tensors;
use anyhow::Result;
use ch02_mixed_precision::config::{Config, Precision};
use corpus::{Batch, Corpus, Split, Tokenizer};
use hub::{Family, ModelConfig, Rope};
use std::path::Path;
use tch::Kind;

/// Optimizer steps that both sides make.
pub const STEPS: u64 = 20;

/// One training run, to be made by both sides.
pub struct Case {
    /// Its name, for tables.
    pub name: &'static str,
    /// The architecture.
    pub model: ModelConfig,
    /// The token that ends a document, if documents are kept apart.
    pub end_of_document: Option<u32>,
    /// How to train, but for the precision.
    pub config: Config,
    /// The tokens.
    pub data: Split,
}

/// All of them.
///
/// # Errors
/// The text or the tokenizer in `data/` cannot be read.
pub fn all() -> Result<Vec<Case>> {
    // Tests run beside each other, and torch's idle threads would spin.
    tch::set_num_threads(1);
    let small = |family: Family| ModelConfig {
        hidden_size: 64,
        intermediate_size: 160,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        // Wide enough that attention is not just a mean, and angles matter.
        initializer_range: 0.1,
        ..ModelConfig::defaults(family)
    };
    let llama = ModelConfig {
        tie_word_embeddings: true,
        rms_norm_eps: 1e-5,
        ..small(Family::Llama)
    };
    let qwen2 = ModelConfig {
        hidden_size: 96,
        num_attention_heads: 6,
        qkv_bias: true,
        tie_word_embeddings: false,
        rope: Rope::new(1e6),
        ..small(Family::Qwen2)
    };
    // 4 heads of 32 are not 64.
    let qwen3 = ModelConfig {
        head_dim: 32,
        qk_norm: true,
        tie_word_embeddings: true,
        rope: Rope::new(1e6),
        ..small(Family::Qwen3)
    };
    // Llama's `attention_bias` and `mlp_bias`; as many key as query heads.
    let biases = ModelConfig {
        num_key_value_heads: 4,
        qkv_bias: true,
        o_bias: true,
        mlp_bias: true,
        tie_word_embeddings: false,
        ..small(Family::Llama)
    };
    Ok(vec![
        case("llama", llama, false)?,
        case("qwen2", qwen2, true)?,
        case("qwen3", qwen3, true)?,
        case("biases", biases, true)?,
    ])
}

fn case(name: &'static str, model: ModelConfig, isolate: bool) -> Result<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let tokenizer = Tokenizer::open(&data.join("tokenizer.json").to_string_lossy())?;
    let config = Config {
        steps: STEPS,
        warmup: Some(4),
        seq_len: 96,
        micro_batch: 2,
        global_batch: 4,
        lr: Some(2e-3),
        isolate_documents: isolate,
        quiet: true,
        ..Config::default()
    };
    config.check()?;
    let options = corpus::Options {
        files: vec![data.join("stories.jsonl")],
        seq_len: config.seq_len,
        seed: config.seed,
        isolate_documents: isolate,
        quiet: true,
        ..corpus::Options::default()
    };
    let data = Corpus::open(&options, &tokenizer)?.train;
    let model = ModelConfig { vocab_size: tokenizer.vocab_size(), ..model };
    let end_of_document = isolate.then(|| tokenizer.end_of_document());
    Ok(Case { name, model, end_of_document, config, data })
}

impl Case {
    /// The highest learning rate.
    pub fn max_lr(&self) -> f64 {
        self.config.lr.unwrap_or_default()
    }
    /// The same run in that precision.
    pub fn config(&self, precision: Precision) -> Config {
        Config { precision, ..self.config.clone() }
    }
    /// The micro-batches of `step`, the first being 1.
    ///
    /// # Errors
    /// The data cannot be read.
    pub fn batches(&self, step: u64) -> Result<Vec<Batch>> {
        let first = (step - 1) * self.config.global_batch as u64;
        let rows = (0..self.config.global_batch).step_by(self.config.micro_batch);
        let batch =
            |row: usize| self.data.batch(first + row as u64, self.config.micro_batch);
        rows.map(batch).collect()
    }
    /// What every run of this case starts from, in fp32, of numbers that bf16 has too:
    /// all precisions start from the same weights.
    ///
    /// # Errors
    /// The model cannot be built.
    pub fn start(&self) -> Result<Tensors> {
        let mut start = crate::ours::drawn(self)?;
        for tensor in start.values_mut() {
            // Norms and biases are moved off one and zero: dropped, they show.
            if tensor.dim() == 1 {
                let at = tch::Tensor::arange(
                    tensor.size()[0],
                    (Kind::Float, tensor.device()),
                );
                *tensor += (at * 37.0 + 1.0).sin() * 0.2;
            }
            *tensor = tensor.to_kind(Kind::BFloat16).to_kind(Kind::Float);
        }
        Ok(start)
    }
}
