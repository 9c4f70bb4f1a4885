//! Puts everything together and trains.
use crate::config::{Config, Device};
use crate::inputs::{self, Inputs};
use crate::loss_scale::LossScale;
use crate::{evaluate, model, optimizer, train, weights};
use anyhow::{Context, Error, Result, bail};
use hub::ModelConfig;
use params::{ParamBuilder, Params};
use runlog::{Interrupt, Last, RunLog, Step};
use std::io::Write;

/// What a run leaves behind.
pub struct Outcome {
    /// One for each step made.
    pub steps: Vec<Step>,
    /// Mean loss on the validation data, in nats per token, if it was measured.
    pub val_loss: Option<f64>,
    /// The weights after, and the gradients of, the last step.
    pub params: Params,
    /// Whether the user ended it early.
    pub interrupted: bool,
}

/// Builds everything, trains, saves, measures, and shows a sample.
///
/// # Errors
/// Whatever the user asked for that cannot be done; found before training if it can be.
pub fn run(config: &Config) -> Result<Outcome> {
    config.check()?;
    ops::tune::environment().map_err(Error::msg)?;
    let interrupt = Interrupt::install()?;
    if let Some(folder) = &config.save {
        hub::check_writable(folder)?;
    }
    let threads = match config.threads {
        0 => ops::threads::available(),
        threads => threads,
    };
    let _threads = ops::threads::own(threads);
    let device = match config.device {
        Device::Cpu => None,
        Device::Gpu => Some(ops::device::own(0, 1)?),
    };

    let inputs = inputs::open(config)?;
    let dtype = config.precision.dtype();
    let mut builder = ParamBuilder::new(config.seed, dtype);
    let model =
        model::Transformer::new(&inputs.model, config.seq_len, dtype, &mut builder)?;
    let params = match &inputs.weights {
        Some(_) => builder.build_zeros()?,
        None => builder.build(threads)?,
    };
    if let Some(files) = &inputs.weights {
        weights::load(&params, files)?;
    }
    let mut optimizer = optimizer::AdamW::new(&params)?;
    let mut log = RunLog::start(log_options(config, &inputs, &params)?)?;
    if !config.quiet {
        log.say(&introduction(config, &inputs, &params));
        if let Some(device) = &device {
            log.say(&format!("computes on {}", device.name()));
        }
    }

    let mut steps = vec![];
    let trained = train::train(
        config,
        inputs.max_lr,
        &inputs.data.train,
        &model,
        &params,
        &mut optimizer,
        LossScale::new(config),
        &mut log,
        &interrupt,
        &mut steps,
    );
    // Whatever ended the training, what was learnt until then is not lost.
    if let Some(folder) = config.save.as_ref().filter(|_| !steps.is_empty()) {
        let saved = weights::save(folder, &inputs.model, &params, &inputs.tokenizer);
        match (&trained, saved) {
            (Err(error), Err(also)) => bail!("{error:#}; and {also:#}"),
            (_, saved) => saved?,
        }
        let (step, folder) = (steps.len(), folder.display());
        log.say(&format!("saved the model in {folder}, after step {step}"));
    }
    trained?;
    let validation = (&inputs.data.validation, config.validation_sequences);
    let val_loss = match interrupt.requested() {
        true => None,
        false => evaluate::validation_loss(
            &model,
            validation.0,
            validation.1,
            config.micro_batch,
            &interrupt,
        )?,
    };
    let interrupted = interrupt.requested();
    log.finish(&Last {
        steps: steps.len() as u64,
        val_loss,
        tokens: steps.iter().map(|step| step.tokens).sum(),
        seconds: steps.iter().map(|step| step.seconds).sum(),
        memory: vec![memory::account(0)],
        interrupted,
    })?;
    // Random tokens teach nothing that could be read.
    if !interrupted && !config.quiet && !config.is_random() && config.sample > 0 {
        show_sample(config, &inputs, &model)?;
    }
    Ok(Outcome { steps, val_loss, params, interrupted })
}

fn introduction(config: &Config, inputs: &Inputs, params: &Params) -> String {
    let layers = inputs.model.num_hidden_layers;
    let from = if inputs.weights.is_some() { "its weights" } else { "random weights" };
    format!(
        "{}: {:.2} million parameters in {layers} layers, from {from}; {}, {} a step; \
         learning rate {:.2e}",
        config.model,
        params.elements() as f64 / 1e6,
        inputs.source,
        config.global_batch * config.seq_len,
        inputs.max_lr
    )
}

/// Model FLOPs per token, forward and backward (Chowdhery et al. 2022, *PaLM*, appendix
/// B, with causal attention counted by half).
///
/// Each element of a matrix is used in one multiplication and one addition forward, and
/// in twice as many backward; looking up an embedding computes nothing. A token's
/// scores against the `seq_len / 2` tokens that it sees on average, and the mixture of
/// their values, cost `2 · 2 · seq_len / 2` per layer and channel forward.
pub fn flops_per_token(model: &ModelConfig, seq_len: usize) -> f64 {
    let tensors = model.tensors();
    let matrices = tensors.iter().filter(|tensor| tensor.shape.len() > 1);
    let mut elements: usize = matrices.map(|tensor| tensor.elements()).sum();
    if !model.tie_word_embeddings {
        elements -= model.vocab_size * model.hidden_size;
    }
    let channels = model.num_attention_heads * model.head_dim;
    (6 * elements + 6 * model.num_hidden_layers * seq_len * channels) as f64
}

fn log_options(
    config: &Config,
    inputs: &Inputs,
    params: &Params,
) -> Result<runlog::Options> {
    Ok(runlog::Options {
        steps: config.steps,
        flops_per_token: flops_per_token(&inputs.model, config.seq_len),
        // What the best matrix product reaches on this machine.
        peak_flops: ops::tune::peak_flops(config.precision.dtype())?,
        convention: "causal attention by half, peak measured".into(),
        jsonl: config.log.clone(),
        tensorboard: config.tensorboard.clone(),
        header: serde_json::json!({
            "config": config,
            "parameters": params.elements(),
            "max_lr": inputs.max_lr,
        }),
        quiet: config.quiet,
    })
}

fn show_sample(
    config: &Config,
    inputs: &Inputs,
    model: &model::Transformer,
) -> Result<()> {
    let tokenizer = &inputs.tokenizer;
    let text = config.prompt.as_deref().unwrap_or_default();
    let prompt = tokenizer.encode(text)?;
    let (count, seq_len) = (config.sample, config.seq_len);
    let text =
        evaluate::sample(model, tokenizer, &prompt, count, seq_len, config.seed)?;
    writeln!(std::io::stdout(), "\n{text}").context("cannot show the sample")
}
