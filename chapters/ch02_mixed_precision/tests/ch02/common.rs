//! A small model, texts, runs of the library.
use candle_core::{DType, Tensor};
use ch02_mixed_precision::config::Precision;
use ch02_mixed_precision::run::{Outcome, run};
use ch02_mixed_precision::{Config, model::Transformer, weights};
use hub::{Family, ModelConfig};
use params::{ParamBuilder, Params};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const SEQ_LEN: usize = 24;

/// A decoder small enough for hundreds of steps a second.
pub fn tiny() -> ModelConfig {
    ModelConfig {
        vocab_size: 256,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        ..ModelConfig::defaults(Family::Llama)
    }
}

/// A folder in Hugging Face's form with that model, and in it a text of documents of
/// very different lengths, so that rows have different numbers of targets.
pub fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = ParamBuilder::new(3, DType::F32);
    Transformer::new(&tiny(), SEQ_LEN, DType::F32, &mut builder).unwrap();
    let params = builder.build(1).unwrap();
    let bytes = corpus::Tokenizer::Bytes;
    weights::save(folder.path(), &tiny(), &params, &bytes).unwrap();
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

/// A few quick, quiet steps by bytes on one file.
pub fn quick(model: &Path, data: &Path, precision: Precision) -> Config {
    Config {
        model: model.to_string_lossy().into_owned(),
        data: vec![data.to_owned()],
        tokenizer: Some("bytes".into()),
        workers: 1,
        threads: 1,
        isolate_documents: true,
        steps: 4,
        warmup: Some(2),
        seq_len: SEQ_LEN,
        micro_batch: 8,
        global_batch: 8,
        lr: Some(2e-3),
        precision,
        validation_sequences: 0,
        quiet: true,
        ..Config::default()
    }
}

pub fn train(config: &Config) -> Outcome {
    run(config).unwrap_or_else(|error| panic!("{error:#}"))
}

/// All of a tensor, row-major.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Name and values of each parameter.
pub fn values(params: &Params) -> Vec<(String, Vec<f64>)> {
    let value = |p: &params::Param| numbers(&p.to_tensor().unwrap());
    params.iter().map(|p| (p.name().to_string(), value(p))).collect()
}

/// Name and gradient of each parameter, of the last step.
pub fn gradients(params: &Params) -> Vec<(String, Vec<f64>)> {
    let grad = |p: &params::Param| numbers(&p.grad_tensor().unwrap());
    params.iter().map(|p| (p.name().to_string(), grad(p))).collect()
}

/// ‖a − b‖ / ‖b‖.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let length =
        |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = length(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let size = length(&mut b.iter().copied());
    if size == 0.0 { difference } else { difference / size }
}
