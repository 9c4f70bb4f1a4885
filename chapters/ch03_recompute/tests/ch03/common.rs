//! Small models, texts, settings, runs of the library.
use candle_core::DType;
use ch03_recompute::config::{Granularity, Method, Module, Precision};
use ch03_recompute::recompute::Recompute;
use ch03_recompute::run::{Outcome, run};
use ch03_recompute::{Config, model::Transformer, weights};
use hub::{Family, ModelConfig};
use params::{ParamBuilder, Params};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const SEQ_LEN: usize = 24;
pub const LAYERS: usize = 5;

/// Decoders small enough for hundreds of steps a second: plain and tied; with biases;
/// with normalized queries and keys, and heads that are wider than their share.
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
        ("llama", ModelConfig { tie_word_embeddings: true, ..small(Family::Llama) }),
        ("qwen2", ModelConfig { o_bias: false, ..small(Family::Qwen2) }),
        ("qwen3", ModelConfig { head_dim: 12, ..small(Family::Qwen3) }),
    ]
}

/// A folder in Hugging Face's form with that model, and in it a text of documents of
/// very different lengths.
pub fn folder(model: &ModelConfig) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = ParamBuilder::new(3, DType::F32);
    let recompute = Recompute::new(&Config::default(), LAYERS).unwrap();
    Transformer::new(model, SEQ_LEN, DType::F32, &recompute, &mut builder).unwrap();
    let params = builder.build(1).unwrap();
    let bytes = corpus::Tokenizer::Bytes;
    weights::save(folder.path(), model, &params, &bytes).unwrap();
    let mut text = String::new();
    for i in 0..600_usize {
        let length = if i % 100 < 10 { 30 + i * 7 % 40 } else { 1 + i % 2 };
        let letter = |j: usize| char::from(b'a' + ((i * j + j / 3) % 26) as u8);
        let document: String = (0..length).map(letter).collect();
        text += &format!("{{\"text\": \"{document}\"}}\n");
    }
    let path = folder.path().join("uneven.jsonl");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// A few quick, quiet steps by bytes on one file, of two micro-batches each.
pub fn quick(model: &Path, data: &Path, precision: Precision) -> Config {
    Config {
        model: model.to_string_lossy().into_owned(),
        data: vec![data.to_owned()],
        tokenizer: Some("bytes".into()),
        workers: 1,
        threads: 1,
        isolate_documents: true,
        steps: 3,
        warmup: Some(1),
        seq_len: SEQ_LEN,
        micro_batch: 4,
        global_batch: 8,
        lr: Some(2e-3),
        precision,
        validation_sequences: 4,
        quiet: true,
        ..Config::default()
    }
}

/// Every way to recompute something in a model of [`LAYERS`] layers.
pub fn settings(base: &Config) -> Vec<Config> {
    use Module::{Attention, Norm, Swiglu};
    let mut settings = vec![];
    for modules in [
        &[] as &[Module],
        &[Norm],
        &[Swiglu],
        &[Attention],
        &[Attention, Norm],
        &[Swiglu, Norm, Attention],
    ] {
        settings.push(Config {
            recompute: Granularity::Selective,
            recompute_modules: modules.to_vec(),
            ..base.clone()
        });
    }
    for (method, layers) in [
        (None, None),
        // A last segment of one, of two, and of all layers.
        (Some(Method::Uniform), Some(2)),
        (None, Some(3)),
        (Some(Method::Uniform), Some(5)),
        (Some(Method::Block), Some(1)),
        (Some(Method::Block), Some(4)),
    ] {
        settings.push(Config {
            recompute: Granularity::Full,
            recompute_method: method,
            recompute_layers: layers,
            ..base.clone()
        });
    }
    settings
}

pub fn train(config: &Config) -> Outcome {
    run(config).unwrap_or_else(|error| panic!("{error:#}"))
}

/// All that a run leaves, in bits: losses, norms and validation loss; values and
/// gradients of each parameter.
pub fn bits(run: &Outcome) -> (Vec<u64>, Vec<(String, Vec<u64>)>) {
    let mut scalars = vec![run.val_loss.unwrap().to_bits()];
    for step in &run.steps {
        scalars.extend([step.loss.to_bits(), step.grad_norm.to_bits()]);
    }
    (scalars, tensors(&run.params))
}

/// Values, then the gradient of the last step, of each parameter, in bits.
pub fn tensors(params: &Params) -> Vec<(String, Vec<u64>)> {
    let of = |param: &params::Param| {
        let mut bits = vec![];
        for tensor in [param.to_tensor().unwrap(), param.grad_tensor().unwrap()] {
            let wide = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
            bits.extend(wide.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits));
        }
        (param.name().to_string(), bits)
    };
    params.iter().map(of).collect()
}
