//! Puts everything together and trains.
use crate::config::{self, Config, Precision};
use crate::{evaluate, model, optimizer, train, weights};
use anyhow::{Context, Result};
use corpus::{Corpus, Tokenizer};
use hub::{Folder, ModelConfig, Weights};
use params::{ParamBuilder, Params};
use runlog::{Interrupt, Last, RunLog, Step};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a run leaves behind.
pub struct Outcome {
    /// One for each step made.
    pub steps: Vec<Step>,
    /// Mean loss on the validation data, in nats per token, unless the run was
    /// interrupted.
    pub val_loss: Option<f64>,
    /// The weights after, and the gradients of, the last step.
    pub params: Params,
    /// Whether the user ended it early.
    pub interrupted: bool,
}

/// Builds everything, trains, measures, saves, and shows a sample.
///
/// # Errors
/// Whatever the user asked for that cannot be done; found before training if it can be.
pub fn run(config: &Config) -> Result<Outcome> {
    config.check()?;
    let start = Instant::now();
    let interrupt = Interrupt::install()?;
    if let Some(folder) = &config.save {
        hub::check_writable(folder)?;
    }
    let threads = match config.threads {
        0 => std::thread::available_parallelism()?.get(),
        threads => threads,
    };
    let _threads = ops::threads::own(threads);

    let chosen = choose(config)?;
    let (model_config, tokenizer) = (&chosen.model, &chosen.tokenizer);
    let data = read_data(config, &chosen)?;
    let dtype = config.precision.dtype();
    let mut builder = ParamBuilder::new(config.seed, dtype);
    let model =
        model::Transformer::new(model_config, config.seq_len, dtype, &mut builder)?;
    let params = match &chosen.weights {
        Some(_) => builder.build_zeros()?,
        None => builder.build(threads)?,
    };
    if let Some(files) = &chosen.weights {
        weights::load(&params, files)?;
    }
    let mut optimizer = optimizer::AdamW::new(&params)?;
    let mut log = RunLog::start(options(config, &chosen, &params))?;

    let steps = train::train(
        config,
        chosen.lr,
        &data.train,
        &model,
        &params,
        &mut optimizer,
        &mut log,
        &interrupt,
    )?;
    let interrupted = interrupt.requested();
    if let Some(folder) = &config.save {
        weights::save(folder, model_config, &params, tokenizer)?;
        log.say(&format!("saved the model in {}", folder.display()));
    }
    let mut val_loss = None;
    if !interrupted && config.validation_rows > 0 && data.validation.sequences() > 0 {
        let (rows, micro_batch) = (config.validation_rows, config.micro_batch);
        let loss =
            evaluate::validation_loss(&model, &data.validation, rows, micro_batch)?;
        val_loss = Some(loss);
    }
    log.finish(&Last {
        steps: steps.len() as u64,
        val_loss,
        tokens: steps.iter().map(|step| step.tokens).sum(),
        seconds: start.elapsed().as_secs_f64(),
        memory: vec![memory::account(0)],
        interrupted,
    })?;
    // Random tokens teach nothing that could be read.
    if !interrupted && !config.quiet && !chosen.random && config.sample > 0 {
        show_sample(config, &model, tokenizer)?;
    }
    Ok(Outcome { steps, val_loss, params, interrupted })
}

/// What the flags come down to.
struct Chosen {
    model: ModelConfig,
    /// Where to start from; `None`: from random weights.
    weights: Option<Weights>,
    tokenizer: Tokenizer,
    data: Vec<PathBuf>,
    random: bool,
    lr: f64,
}

/// The text and the tokenizer that ship with the book.
fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(file)
}

fn choose(config: &Config) -> Result<Chosen> {
    let random = config.data == [Path::new("random")];
    let is_preset = config::preset(&config.model, 1, 0).is_some();
    let folder = match is_preset {
        true => None,
        false => Some(Folder::open(&config.model).with_context(|| {
            format!(
                "--model {}: expected a preset ({}), a folder or a hub id",
                config.model,
                config::preset_names()
            )
        })?),
    };
    let own = folder.as_ref().and_then(|folder| folder.tokenizer());
    let tokenizer = match (&config.tokenizer, own) {
        (Some(spec), _) => Tokenizer::open(spec)?,
        (None, Some(own)) => Tokenizer::open(&own.to_string_lossy())?,
        (None, None) if config.data.is_empty() => {
            Tokenizer::open(&shipped("tokenizer.json").to_string_lossy())?
        }
        (None, None) => Tokenizer::Bytes,
    };
    let (tokens, end) = (tokenizer.vocab_size(), tokenizer.end_of_document());
    let (model, weights) = match &folder {
        Some(folder) => (folder.config()?, Some(folder.weights()?)),
        None => (config::preset(&config.model, tokens, end).context("a preset")?, None),
    };
    if !random {
        config::check_vocabulary(&model, tokens)?;
    }
    let data = match config.data.is_empty() {
        true => vec![shipped("stories.jsonl")],
        false => config.data.clone(),
    };
    let lr = config.lr.unwrap_or(match weights {
        Some(_) => 2e-5,
        None => 0.04 / (model.hidden_size as f64).sqrt(),
    });
    Ok(Chosen { model, weights, tokenizer, data, random, lr })
}

fn read_data(config: &Config, chosen: &Chosen) -> Result<Corpus> {
    let options = corpus::Options {
        files: chosen.data.clone(),
        seq_len: config.seq_len,
        seed: config.seed,
        workers: config.workers,
        validation_fraction: config.validation_fraction,
        isolate_documents: config.isolate_documents,
        quiet: config.quiet,
    };
    match chosen.random {
        true => Corpus::random(chosen.model.vocab_size, &options),
        false => Corpus::open(&options, &chosen.tokenizer),
    }
}

/// Floating-point operations per second of the best matrix product in this type.
fn peak_flops(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => ops::tune::peak_flops::<f32>(),
        Precision::Fp64 => ops::tune::peak_flops::<f64>(),
    }
}

fn options(config: &Config, chosen: &Chosen, params: &Params) -> runlog::Options {
    let model = &chosen.model;
    // Each element of a matrix is used once per token, in a multiplication and an
    // addition, forward, and twice that backward; looking up an embedding computes
    // nothing. Scores and their use: 2 · 2 · (seq / 2) · width forward.
    let matrices = params.iter().filter(|param| param.shard().decays());
    let mut elements: usize = matrices.map(|param| param.shard().elements()).sum();
    if !model.tie_word_embeddings {
        elements -= model.vocab_size * model.hidden_size;
    }
    let width = model.num_attention_heads * model.head_dim;
    let attention = 6 * model.num_hidden_layers * config.seq_len * width;
    runlog::Options {
        steps: config.steps,
        flops_per_token: (6 * elements + attention) as f64,
        peak_flops: peak_flops(config.precision),
        convention: "model FLOPs, causal attention counted by half, over the best \
                     matrix product measured on this machine"
            .into(),
        jsonl: config.log.clone(),
        tensorboard: config.tensorboard.clone(),
        header: serde_json::json!({
            "flags": std::env::args().skip(1).collect::<Vec<_>>(),
            "model": config.model,
            "parameters": params.elements(),
            "lr": chosen.lr,
            "seed": config.seed,
        }),
        quiet: config.quiet,
    }
}

fn show_sample(
    config: &Config,
    model: &model::Transformer,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let mut prompt = tokenizer.encode(config.prompt.as_deref().unwrap_or_default())?;
    if prompt.is_empty() {
        prompt.push(tokenizer.end_of_document());
    }
    let (count, seq_len) = (config.sample, config.seq_len);
    let text =
        evaluate::sample(model, tokenizer, &prompt, count, seq_len, 0.8, config.seed)?;
    let prompt = config.prompt.as_deref().unwrap_or_default();
    writeln!(std::io::stdout(), "\n{prompt}{text}").context("cannot show the sample")
}
