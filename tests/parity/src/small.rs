//! Models and texts that are small enough for hundreds of steps a second.
use anyhow::Result;
use candle_core::DType;
use ch01_single_gpu::{model::Transformer, weights};
use hub::{Family, ModelConfig};
use params::ParamBuilder;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Tokens of a sequence.
pub const SEQ_LEN: usize = 24;
/// Layers of each model.
pub const LAYERS: usize = 3;

/// One of each kind: tied; with biases; with normalized queries and keys, and heads
/// wider than their share.
pub fn models() -> [(&'static str, ModelConfig); 3] {
    let small = |family| ModelConfig {
        vocab_size: 256,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: LAYERS,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        ..ModelConfig::defaults(family)
    };
    [
        ("tied", ModelConfig { tie_word_embeddings: true, ..small(Family::Llama) }),
        ("biases", small(Family::Qwen2)),
        ("QK-norm", ModelConfig { head_dim: 12, ..small(Family::Qwen3) }),
    ]
}

/// With eight query heads, over two key/value heads or one, so that up to eight ranks
/// can divide or share them; and vocabularies of which two of four divide by two.
pub fn wide_models() -> [(&'static str, ModelConfig); 4] {
    let wide = |family, kv_heads, vocab_size| ModelConfig {
        vocab_size,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: LAYERS,
        num_attention_heads: 8,
        num_key_value_heads: kv_heads,
        head_dim: 4,
        ..ModelConfig::defaults(family)
    };
    let tied = |model| ModelConfig { tie_word_embeddings: true, ..model };
    let all = wide(Family::Llama, 1, 256);
    [
        ("tied, 2 kv heads", tied(wide(Family::Llama, 2, 259))),
        ("biases of q, k, v, 1 kv head", wide(Family::Qwen2, 1, 257)),
        (
            "QK-norm, 2 kv heads",
            ModelConfig { head_dim: 6, ..wide(Family::Qwen3, 2, 264) },
        ),
        (
            "tied, all biases, 1 kv head",
            ModelConfig { qkv_bias: true, o_bias: true, mlp_bias: true, ..tied(all) },
        ),
    ]
}

/// A folder with a model in Hugging Face's form, and two texts. Gone when dropped.
pub struct Small {
    folder: TempDir,
}

impl Small {
    /// With random weights.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(model: &ModelConfig) -> Result<Small> {
        let folder = tempfile::tempdir()?;
        let mut builder = ParamBuilder::new(3, DType::F32);
        Transformer::new(model, SEQ_LEN, DType::F32, &mut builder)?;
        let params = builder.build(1)?;
        weights::save(folder.path(), model, &params, &corpus::Tokenizer::Bytes)?;
        let small = Small { folder };
        for (path, uneven) in [(small.even(), false), (small.uneven(), true)] {
            let line = |i| format!("{{\"text\": \"{}\"}}\n", document(i, uneven));
            std::fs::write(path, (0..600).map(line).collect::<String>())?;
        }
        Ok(small)
    }
    /// The model's folder.
    pub fn model(&self) -> &Path {
        self.folder.path()
    }
    /// A text of which every row has nearly as many targets.
    pub fn even(&self) -> PathBuf {
        self.folder.path().join("even.jsonl")
    }
    /// A text of documents of very different lengths: where these are kept apart, rows
    /// have very different numbers of targets.
    pub fn uneven(&self) -> PathBuf {
        self.folder.path().join("uneven.jsonl")
    }
}

fn document(i: usize, uneven: bool) -> String {
    let length = match uneven {
        true if i % 100 < 10 => 30 + i * 7 % 40,
        true => 1 + i % 2,
        false => 40,
    };
    let letter = |j: usize| char::from(b'a' + ((i * j + j / 3) % 26) as u8);
    (0..length).map(letter).collect()
}
