//! Small models, uneven text, runs of the library and of the program.
use candle_core::{DType, Result, Tensor};
use ch01_single_gpu::config::Precision;
use ch01_single_gpu::run::{Outcome, run};
use ch01_single_gpu::{Config, model::Transformer, weights};
use hub::{Family, ModelConfig};
use params::{ParamBuilder, Params};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub const SEQ_LEN: usize = 24;

/// A decoder small enough for hundreds of steps a second.
pub fn tiny(family: Family) -> ModelConfig {
    ModelConfig {
        vocab_size: 256,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        ..ModelConfig::defaults(family)
    }
}

/// Freshly drawn from `seed`.
pub fn build(
    config: &ModelConfig,
    seed: u64,
    dtype: DType,
) -> Result<(Transformer, Params)> {
    let mut builder = ParamBuilder::new(seed, dtype);
    let model = Transformer::new(config, SEQ_LEN, dtype, &mut builder)?;
    Ok((model, builder.build(1)?))
}

/// A folder in Hugging Face's form with that model.
pub fn folder(config: &ModelConfig) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (_, params) = build(config, 3, DType::F32).unwrap();
    let tokenizer = corpus::Tokenizer::Bytes;
    weights::save(folder.path(), config, &params, &tokenizer).unwrap();
    folder
}

/// Documents of very different lengths, so that rows end different numbers of them.
pub fn uneven_text(folder: &Path) -> PathBuf {
    let mut text = String::new();
    for i in 0..600_usize {
        // Whole stretches of long documents, then of documents of a letter or two.
        let length = if i % 100 < 10 { 30 + i * 7 % 40 } else { 1 + i % 2 };
        let letter = |j: usize| char::from(b'a' + ((i * j + j / 3) % 26) as u8);
        let document: String = (0..length).map(letter).collect();
        text += &format!("{{\"text\": \"{document}\"}}\n");
    }
    let path = folder.join("uneven.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

/// A few quick, quiet steps by bytes on one file.
pub fn quick(model: &Path, data: &Path) -> Config {
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
        lr: Some(5e-3),
        precision: Precision::Fp64,
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

/// ‖a − b‖ / ‖b‖.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let difference = squares(&mut a.iter().zip(b).map(|(a, b)| a - b));
    match squares(&mut b.iter().copied()) {
        0.0 => difference.sqrt(),
        length => (difference / length).sqrt(),
    }
}

/// The program, in `folder`, with nothing to be fetched from anywhere.
pub fn program(folder: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ch01_single_gpu"));
    command.current_dir(folder).args(flags);
    command.env("HF_HUB_OFFLINE", "1").env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program said, after making sure that it did not panic.
pub fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// `tests/fixtures/hf/NAME` of the repository.
pub fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hf");
    root.join(name).canonicalize().unwrap()
}

/// What ships in `data/`.
pub fn shipped(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    root.join(name).canonicalize().unwrap()
}
