//! What the tests share.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use hub::{Dtype, Family, ModelConfig, TensorSpec, TensorWriter};

/// A reference model that transformers wrote.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hf").join(name)
}

/// The whole chain of causes.
pub fn message<T>(result: anyhow::Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => format!("{error:#}"),
    }
}

/// Asserts that a message has all the parts.
#[track_caller]
pub fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

/// A model small enough for any test.
pub fn tiny(family: Family) -> ModelConfig {
    ModelConfig {
        vocab_size: 11,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 4,
        max_position_embeddings: 64,
        ..ModelConfig::defaults(family)
    }
}

/// An element that depends on the tensor and the place.
pub fn value(name: &str, index: usize) -> f64 {
    let seed = name.bytes().fold(7usize, |h, b| (h * 31 + b as usize) % 10_007);
    ((seed + index * 2_654_435_761) % 100_003) as f64 / 50_001.0 - 1.0
}

/// All of a tensor's elements, in f32.
pub fn values(tensor: &TensorSpec) -> Vec<f32> {
    let elements = tensor.shape.iter().product();
    (0..elements).map(|i| value(&tensor.name, i) as f32).collect()
}

/// Saves [`values`].
pub fn save_values(folder: &Path, config: &ModelConfig, dtype: Dtype) {
    hub::save(folder, config, dtype, &config.tensors(), write_values).unwrap();
}

/// Hands [`values`] over in uneven pieces.
pub fn write_values(tensor: &TensorSpec, out: &mut TensorWriter) -> anyhow::Result<()> {
    for piece in values(tensor).chunks(7) {
        out.write(piece)?;
    }
    Ok(())
}

/// A safetensors file from its header text and a number of bytes after it.
pub fn write_safetensors(path: &Path, header: &str, bytes: &[u8]) {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes);
    std::fs::write(path, file).unwrap();
}
