//! Every family, with and without what it leaves open.
use crate::common::{self, SEQ_LEN, build, numbers, tiny, values};
use candle_core::DType;
use ch01_single_gpu::{model::Transformer, weights};
use corpus::{Batch, Tokenizer};
use hub::{Family, Folder, ModelConfig};
use params::{ParamBuilder, Params};
use std::path::Path;

fn variants() -> Vec<(&'static str, ModelConfig)> {
    let (llama, qwen2, qwen3) =
        (tiny(Family::Llama), tiny(Family::Qwen2), tiny(Family::Qwen3));
    let tied = |config: &ModelConfig| ModelConfig {
        tie_word_embeddings: true,
        ..config.clone()
    };
    let biased =
        ModelConfig { qkv_bias: true, o_bias: true, mlp_bias: true, ..llama.clone() };
    let wide_heads = ModelConfig { head_dim: 24, ..qwen3.clone() };
    let qwen3_biased = ModelConfig { qkv_bias: true, o_bias: true, ..qwen3.clone() };
    vec![
        ("llama, tied", tied(&llama)),
        ("llama", llama),
        ("llama with all biases", biased),
        ("qwen2, tied", tied(&qwen2)),
        ("qwen2", qwen2),
        ("qwen3, tied", tied(&qwen3)),
        ("qwen3", qwen3),
        ("qwen3 with wide heads", wide_heads),
        ("qwen3 with biases", qwen3_biased),
    ]
}

#[test]
fn every_parameter_of_every_variant_is_trained() {
    let token = |i: usize| (i * i * 7 + i * 3) as u32 % 256;
    let batch = Batch {
        rows: 2,
        seq_len: SEQ_LEN,
        tokens: (0..2 * SEQ_LEN).map(token).collect(),
        targets: (1..=2 * SEQ_LEN).map(token).collect(),
        document_starts: None,
    };
    for (what, config) in variants() {
        let (model, params) = build(&config, 1, DType::F64).unwrap();
        let (mut built, mut stated): (Vec<String>, Vec<String>) = (
            params.iter().map(|p| p.name().to_string()).collect(),
            config.tensors().into_iter().map(|tensor| tensor.name).collect(),
        );
        built.sort();
        stated.sort();
        assert_eq!(built, stated, "{what}");
        params.begin_step().unwrap();
        let (loss, tape) = ops::record(|| model.loss(&batch, 1.0 / 48.0)).unwrap();
        tape.backward(&loss).unwrap();
        for param in params.iter() {
            let gradient =
                param.grad_tensor().unwrap_or_else(|e| panic!("{what}: {e}"));
            let gradient = numbers(&gradient);
            // Of the embedding's rows only those of tokens in the text; of everything
            // else each element.
            let zeros = gradient.iter().filter(|&&g| g == 0.0).count();
            let name = param.name();
            assert!(zeros < gradient.len(), "{what}: {name} has no gradient");
            let few = name.contains("embed") || zeros == 0;
            assert!(few, "{what}: {zeros} elements of {name} have no gradient");
            assert!(gradient.iter().all(|g| g.is_finite()), "{what}: {name}");
        }
    }
}

fn load(folder: &Path) -> (ModelConfig, Params) {
    let folder = Folder::open(folder.to_str().unwrap()).unwrap();
    let config = folder.config().unwrap();
    let mut builder = ParamBuilder::new(0, DType::F32);
    Transformer::new(&config, SEQ_LEN, DType::F32, &mut builder).unwrap();
    let params = builder.build(1).unwrap();
    weights::load(&params, &folder.weights().unwrap()).unwrap();
    (config, params)
}

fn comes_back(what: &str, config: &ModelConfig, params: &Params) {
    let copy = tempfile::tempdir().unwrap();
    weights::save(copy.path(), config, params, &Tokenizer::Bytes).unwrap();
    let (config_again, params_again) = load(copy.path());
    assert_eq!(config_again, *config, "{what}");
    let bits = |params: &Params| -> Vec<(String, Vec<u64>)> {
        let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect();
        values(params).into_iter().map(|(name, v)| (name, bits(v))).collect()
    };
    assert!(bits(&params_again) == bits(params), "{what}: other weights came back");
    let mut files: Vec<String> = std::fs::read_dir(copy.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, ["config.json", "model.safetensors"], "{what}");
}

#[test]
fn folders_of_transformers_come_back_bit_for_bit() {
    for name in ["llama", "llama_v4", "llama3", "qwen2", "qwen3", "yarn"] {
        let (config, params) = load(&common::fixture(name));
        // Drawn weights would be equal too, were nothing read.
        let (_, drawn) = {
            let mut builder = ParamBuilder::new(0, DType::F32);
            let model = Transformer::new(&config, SEQ_LEN, DType::F32, &mut builder);
            (model.unwrap(), builder.build(1).unwrap())
        };
        for ((name, read), (_, drawn)) in values(&params).iter().zip(values(&drawn)) {
            assert!(*read != drawn, "{name} was not read");
        }
        comes_back(name, &config, &params);
    }
}

#[test]
fn every_variant_comes_back_bit_for_bit() {
    for (what, config) in variants() {
        comes_back(what, &config, &build(&config, 5, DType::F32).unwrap().1);
    }
}
