//! Saving: bit for bit, in shards, atomically.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use common::{fixture, message, says, tiny, values, write_values};
use hub::{Dtype, Family, Folder, Save, check_writable, copy_tokenizer, save};

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Asserts that the folder holds the model of `values`, in f32.
#[track_caller]
fn assert_holds(folder: &Path, config: &hub::ModelConfig) {
    let folder = Folder::open(folder.to_str().unwrap()).unwrap();
    assert_eq!(&folder.config().unwrap(), config);
    let weights = folder.weights().unwrap();
    assert_eq!(weights.names().count(), config.tensors().len());
    for tensor in config.tensors() {
        let expected = values(&tensor);
        let mut read = vec![0f32; expected.len()];
        let origin = vec![0; tensor.shape.len()];
        weights
            .read(&tensor.name, &tensor.shape, &origin, &tensor.shape, &mut read)
            .unwrap();
        assert!(read.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn round_trip() {
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        for tied in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("made/on/the/way");
            let mut config = tiny(family);
            config.tie_word_embeddings = tied;
            common::save_values(&folder, &config, Dtype::F32);
            assert_eq!(files(&folder), ["config.json", "model.safetensors"]);
            assert_holds(&folder, &config);
        }
    }
}

/// A model that transformers wrote, read and saved: the same header, the same bytes.
#[test]
fn as_transformers_saves_it() {
    for name in ["llama", "qwen3"] {
        let source = Folder::open(fixture(name).to_str().unwrap()).unwrap();
        let (config, weights) = (source.config().unwrap(), source.weights().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut tensors = config.tensors();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        save(dir.path(), &config, Dtype::F32, &tensors, |tensor, out| {
            let mut whole = vec![0f32; tensor.shape.iter().product()];
            let origin = vec![0; tensor.shape.len()];
            weights.read(
                &tensor.name,
                &tensor.shape,
                &origin,
                &tensor.shape,
                &mut whole,
            )?;
            out.write(&whole)
        })
        .unwrap();
        let parse = |path: PathBuf| {
            let file = fs::read(path.join("model.safetensors")).unwrap();
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            assert_eq!(length % 8, 0);
            let header: serde_json::Value =
                serde_json::from_slice(&file[8..8 + length]).unwrap();
            (header, file[8 + length..].to_vec())
        };
        let (ours, theirs) = (parse(dir.path().into()), parse(fixture(name)));
        assert_eq!(ours.0, theirs.0, "{name}");
        assert!(ours.1 == theirs.1, "{name}");
        assert_eq!(ours.0["__metadata__"]["format"], "pt");
        let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["dtype"], "float32");
        assert_eq!(config["torch_dtype"], "float32");
    }
}

#[test]
fn shards() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny(Family::Qwen3);
    let largest = config.tensors().iter().map(|t| values(t).len() * 4).max().unwrap();
    let write = |limit: u64| {
        Save::new(dir.path(), Dtype::F32)
            .max_shard_bytes(limit)
            .write(&config, &config.tensors(), write_values)
            .unwrap();
        assert_holds(dir.path(), &config);
        files(dir.path())
    };
    let found = write(1000);
    let n = found.len() - 2;
    assert!(n > 3, "{found:?}");
    assert_eq!(found[1], format!("model-00001-of-{n:05}.safetensors"));
    assert_eq!(found[n], format!("model-{n:05}-of-{n:05}.safetensors"));
    assert_eq!(found[n + 1], "model.safetensors.index.json");
    for name in &found[1..=n] {
        let file = fs::read(dir.path().join(name)).unwrap();
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert!(file.len() - 8 - header <= 1000.max(largest), "{name}");
    }
    let text = fs::read_to_string(dir.path().join(&found[n + 1])).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(index["metadata"]["total_size"], config.parameters() * 4);
    assert_eq!(index["weight_map"].as_object().unwrap().len(), config.tensors().len());

    // Each save removes what the one before left: loaders prefer the single file.
    assert_eq!(write(u64::MAX), ["config.json", "model.safetensors"]);
    let again = write(1);
    assert_eq!(again.len(), config.tensors().len() + 2);
    assert!(!again.contains(&"model.safetensors".to_string()));
    assert_eq!(write(1000), found);
}

/// Whatever goes wrong, the older model stays as it was and nothing lies around.
#[test]
fn interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny(Family::Llama);
    common::save_values(dir.path(), &config, Dtype::F32);
    let tensors = config.tensors();
    let attempt = |at: usize, how: &str| {
        let mut calls = 0;
        let result = Save::new(dir.path(), Dtype::BF16).max_shard_bytes(600).write(
            &config,
            &tensors,
            |tensor, out| {
                calls += 1;
                let values = values(tensor);
                match how {
                    _ if calls < at => out.write(&values),
                    "error" => bail!("the rank died"),
                    "short" => out.write(&values[1..]),
                    _ => out.write(&[&values[..], &[0.0]].concat()),
                }
            },
        );
        let error = message(result);
        assert_eq!(files(dir.path()), ["config.json", "model.safetensors"]);
        assert_holds(dir.path(), &config);
        error
    };
    let norm = "model.layers.0.input_layernorm.weight";
    says(&attempt(2, "error"), &["was not saved", norm, "the rank died"]);
    says(&attempt(2, "short"), &[norm, "1 elements of [8] were not written"]);
    says(&attempt(2, "long"), &[norm, "1 elements more than its shape has"]);
    attempt(tensors.len(), "error");
}

#[test]
fn wrong_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("never");
    let mut config = tiny(Family::Llama);
    let all = config.tensors();
    let attempt = |config: &hub::ModelConfig, tensors: &[hub::TensorSpec]| {
        let error = message(save(&folder, config, Dtype::F32, tensors, write_values));
        assert!(!folder.exists());
        error
    };
    says(&attempt(&config, &all[1..]), &["1 of the model's tensors", "embed_tokens"]);
    let twice = [&all[..], &all[..1]].concat();
    says(&attempt(&config, &twice), &["embed_tokens", "given twice"]);
    let mut wrong = all.clone();
    wrong[0].shape = vec![8, 11];
    says(&attempt(&config, &wrong), &["has shape [8, 11]", "asks for [11, 8]"]);
    config.tie_word_embeddings = true;
    says(&attempt(&config, &all), &["lm_head.weight is not to be saved", "tied"]);
    config.head_dim = 3;
    says(&attempt(&config, &all), &["head_dim is 3"]);
}

#[test]
fn tokenizers() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    says(&message(copy_tokenizer(&from, &to)), &["no tokenizer to copy", "from"]);
    says(&message(copy_tokenizer(&from.join("x.json"), &to)), &["x.json has none"]);

    fs::write(from.join("other.json"), "{}").unwrap();
    copy_tokenizer(&from.join("other.json"), &to).unwrap();
    assert_eq!(files(&to), ["tokenizer.json", "tokenizer_config.json"]);
    let class = fs::read_to_string(to.join("tokenizer_config.json")).unwrap();
    says(&class, &["PreTrainedTokenizerFast"]);

    fs::write(from.join("tokenizer.json"), "{\"version\": 1}").unwrap();
    fs::write(from.join("tokenizer_config.json"), "{\"theirs\": 1}").unwrap();
    fs::write(from.join("notes.txt"), "").unwrap();
    let config = tiny(Family::Llama);
    Save::new(&to, Dtype::F32)
        .tokenizer(&from.join("tokenizer.json"))
        .write(&config, &config.tensors(), write_values)
        .unwrap();
    let expected =
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(files(&to), expected);
    let copied = fs::read_to_string(to.join("tokenizer_config.json")).unwrap();
    assert_eq!(copied, "{\"theirs\": 1}");
    let folder = Folder::open(to.to_str().unwrap()).unwrap();
    assert_eq!(folder.tokenizer(), Some(to.join("tokenizer.json")));
    // Onto itself.
    copy_tokenizer(&to, &to).unwrap();
    assert_eq!(
        fs::read_to_string(to.join("tokenizer.json")).unwrap(),
        "{\"version\": 1}"
    );
}

/// A model that diverged is of no use, and an older one in its place is.
#[test]
fn numbers_that_are_not_finite() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny(Family::Llama);
    let tensors = config.tensors();
    save(dir.path(), &config, Dtype::F32, &tensors, write_values).unwrap();
    let before = fs::read(dir.path().join("model.safetensors")).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let error = message(save(dir.path(), &config, Dtype::F32, &tensors, |t, w| {
            let mut values = values(t);
            if t.name == "model.norm.weight" {
                *values.last_mut().unwrap() = bad;
            }
            w.write(&values)
        }));
        says(&error, &["model.norm.weight has numbers that are not finite"]);
        assert_eq!(fs::read(dir.path().join("model.safetensors")).unwrap(), before);
        assert_eq!(files(dir.path()), ["config.json", "model.safetensors"]);
    }
}

#[test]
fn folders_that_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("a/b/c");
    check_writable(&good).unwrap();
    assert!(files(&good).is_empty());
    for name in ["model.safetensors", "tokenizer.json"] {
        let taken = dir.path().join("taken");
        fs::create_dir_all(taken.join(name)).unwrap();
        let error = message(check_writable(&taken));
        says(&error, &[name, "is a folder, where a file is to be saved"]);
        fs::remove_dir_all(taken).unwrap();
    }
    let file = dir.path().join("file");
    fs::write(&file, "kept").unwrap();
    for bad in [file.clone(), file.join("below"), "/proc/ferrotron".into()] {
        let error = message(check_writable(&bad));
        says(
            &error,
            &[bad.to_str().unwrap(), "cannot be written to", "choose another"],
        );
        let config = tiny(Family::Llama);
        let saved = save(&bad, &config, Dtype::F32, &config.tensors(), write_values);
        says(&message(saved), &["cannot be written to"]);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
}
