//! What the flags come down to: a model, a tokenizer, data.
use crate::{config::Config, presets};
use anyhow::{Context, Result, bail, ensure};
use corpus::{Corpus, Tokenizer};
use hub::{Folder, ModelConfig, Weights};
use std::path::{Path, PathBuf};

/// What a run works with.
pub struct Inputs {
    /// The architecture.
    pub model: ModelConfig,
    /// Where to start from; `None`: from random weights.
    pub weights: Option<Weights>,
    /// Between text and tokens.
    pub tokenizer: Tokenizer,
    /// What is read, in words.
    pub source: String,
    /// The tokens.
    pub data: Corpus,
    /// The highest learning rate.
    pub max_lr: f64,
}

/// The text and the tokenizer that ship with the book.
fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(file)
}

/// Opens what the flags name, and checks that it fits together.
///
/// # Errors
/// Something is missing, damaged, not supported, or does not fit the rest.
pub fn open(config: &Config) -> Result<Inputs> {
    let random = config.is_random();
    let folder = if presets::is_preset(&config.model) {
        ensure!(
            !Path::new(&config.model).join("config.json").exists(),
            "--model {0} is a preset, and here is also a folder {0} with a model: for \
             the folder write --model ./{0}, for the preset start elsewhere",
            config.model
        );
        None
    } else {
        Some(Folder::open(&config.model).with_context(|| {
            format!(
                "--model {}: expected a preset ({}), a folder or a hub id",
                config.model,
                presets::preset_names()
            )
        })?)
    };
    let tokenizer = tokenizer(config, folder.as_ref())?;
    let (tokens, end) = (tokenizer.vocab_size(), tokenizer.end_of_document());
    let (model, weights) = match &folder {
        Some(folder) => {
            let (model, weights) = (folder.config()?, folder.weights()?);
            weights.check_all_used(&model)?;
            ensure!(
                config.seq_len <= model.max_position_embeddings,
                "--seq-len {} is longer than the {} tokens that {} was made for \
                 (max_position_embeddings in its config.json)",
                config.seq_len,
                model.max_position_embeddings,
                config.model
            );
            (model, Some(weights))
        }
        None => (presets::preset(&config.model, tokens, end, config.seq_len)?, None),
    };
    if !random || config.tokenizer.is_some() {
        check_vocabulary(&model, tokens)?;
    }
    let files = match config.data.is_empty() {
        true => vec![shipped("stories.jsonl")],
        false => config.data.clone(),
    };
    let options = corpus::Options {
        files: files.clone(),
        seq_len: config.seq_len,
        seed: config.seed,
        workers: config.workers,
        validation_fraction: config.validation_fraction,
        isolate_documents: config.isolate_documents,
        quiet: config.quiet,
    };
    let (data, source) = if random {
        (Corpus::random(model.vocab_size, &options)?, "random tokens".to_string())
    } else {
        let data = Corpus::open(&options, &tokenizer)?;
        let names = files.iter().map(|file| match file.file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => file.display().to_string(),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let source = format!("{} tokens of {names}", data.train.tokens());
        (data, source)
    };
    let max_lr = config.lr.unwrap_or(match weights {
        Some(_) => 2e-5,
        // At or near the best of two sweeps: ch01_learning_rates_* in book/runs.
        None => 0.04 / (model.hidden_size as f64).sqrt(),
    });
    Ok(Inputs { model, weights, tokenizer, source, data, max_lr })
}

/// `tokens` is the tokenizer's vocabulary size.
///
/// # Errors
/// The model cannot take all of the tokenizer's tokens.
fn check_vocabulary(model: &ModelConfig, tokens: usize) -> Result<()> {
    if tokens > model.vocab_size {
        bail!(
            "the tokenizer has {tokens} tokens, the model's vocabulary {}: choose the \
             model's own tokenizer, or a preset: its vocabulary follows the tokenizer",
            model.vocab_size
        )
    }
    Ok(())
}

fn tokenizer(config: &Config, folder: Option<&Folder>) -> Result<Tokenizer> {
    if let Some(spec) = &config.tokenizer {
        return Tokenizer::open(spec);
    }
    match folder {
        Some(folder) => match folder.tokenizer() {
            Some(own) => Tokenizer::open(&own.to_string_lossy()),
            // They are never read.
            None if config.is_random() => Ok(Tokenizer::Bytes),
            None => bail!(
                "--model {}: the folder has no tokenizer.json: name one with \
                 --tokenizer FILE, or --tokenizer bytes if it was trained on bytes",
                config.model
            ),
        },
        None if config.data.is_empty() => {
            Tokenizer::open(&shipped("tokenizer.json").to_string_lossy())
        }
        None => Ok(Tokenizer::Bytes),
    }
}
