//! Puts everything together and trains.
use crate::config::{Config, Device};
use crate::inputs::{self, Inputs};
use crate::loss_scale::LossScale;
use crate::recompute::Recompute;
use crate::{evaluate, model, optimizer, replicas, train, weights};
use anyhow::{Context, Error, Result, bail};
use comm::{Group, Layout, Mesh, Reduce};
use hub::ModelConfig;
use params::{ParamBuilder, Params};
use runlog::{Interrupt, Last, RunLog, Step};
use std::io::Write;

/// What a run leaves behind on one rank.
pub struct Outcome {
    /// One for each step made.
    pub steps: Vec<Step>,
    /// Mean loss on the validation data, in nats per token, if it was measured.
    pub val_loss: Option<f64>,
    /// The weights after, and the gradients of, the last step.
    pub params: Params,
    /// What the training's communication was, by what it was for.
    pub communication: Vec<comm::Line>,
    /// Whether the user ended it early.
    pub interrupted: bool,
}

/// Opens what the flags name, and starts the ranks. Returns what each of them left
/// behind, in their order.
///
/// # Errors
/// Whatever the user asked for that cannot be done; found before training if it can be.
/// Or a rank failed.
pub fn run(config: &Config) -> Result<Vec<Outcome>> {
    config.check()?;
    ops::tune::environment().map_err(Error::msg)?;
    let interrupt = Interrupt::install()?;
    if let Some(folder) = &config.save {
        hub::check_writable(folder)?;
    }
    if let Some(file) = &config.trace {
        trace::check_writable(file)?;
    }
    let inputs = inputs::open(config)?;
    let each = |world| rank(config, &inputs, &interrupt, world);
    Ok(match config.device {
        Device::Cpu => comm::launch(config.dp, each)?,
        Device::Gpu => comm::launch_on_gpus(config.dp, each)?,
    })
}

/// One rank: builds everything, trains, saves, measures, and shows a sample.
fn rank(
    config: &Config,
    inputs: &Inputs,
    interrupt: &Interrupt,
    world: Group,
) -> Result<Outcome> {
    let mesh = Mesh::new(world, &Layout::default())?;
    let world = mesh.world();
    let threads = match config.threads {
        0 => (ops::threads::available() / comm::ranks_here(world.size())).max(1),
        threads => threads,
    };
    let _threads = ops::threads::own(threads);
    let device = match config.device {
        Device::Cpu => None,
        Device::Gpu => {
            let (rank, ranks) = (world.rank(), world.size());
            let place = comm::place_here(rank, ranks);
            Some(ops::device::own(place, comm::ranks_here(ranks))?)
        }
    };

    let dtype = config.precision.dtype();
    let recompute = Recompute::new(config, inputs.model.num_hidden_layers)?;
    let mut builder = ParamBuilder::new(config.seed, dtype);
    let model = model::Transformer::new(
        &inputs.model,
        config.seq_len,
        dtype,
        &recompute,
        &mut builder,
    )?;
    let params = match &inputs.weights {
        Some(_) => builder.build_zeros()?,
        None => builder.build(threads)?,
    };
    if let Some(files) = &inputs.weights {
        weights::load(&params, files)?;
    }
    replicas::check_equal(&params, mesh.data())?;
    let mut optimizer = optimizer::AdamW::new(&params)?;
    // Measured by all at the same time.
    world.barrier("peak")?;
    let mut peak = [ops::tune::peak_flops(config.precision.dtype())?];
    world.all_reduce("peak", &mut peak, Reduce::Sum)?;
    // The first rank speaks for all.
    let mut log = match world.rank() {
        0 => Some(RunLog::start(log_options(config, inputs, &params, peak[0]))?),
        _ => None,
    };
    if let (Some(log), false) = (&mut log, config.quiet) {
        log.say(&introduction(config, inputs, &params));
        if let Some(device) = &device {
            log.say(&format!("computes on {}", device.name()));
        }
    }

    let (mut steps, mut communication, mut table) = (vec![], vec![], None);
    let trained = trace::record(config.trace.as_deref(), world, || {
        world.ledger().reset();
        let ended = train::train(
            config,
            inputs.max_lr,
            &inputs.data.train,
            &model,
            &params,
            &mesh,
            &mut optimizer,
            LossScale::new(config),
            log.as_mut(),
            interrupt,
            &mut steps,
        )?;
        communication = world.ledger().lines();
        table = communication_table(world);
        Ok(ended)
    });
    // Whatever ended the training, what was learnt until then is not lost.
    let folder = config.save.as_ref().filter(|_| !steps.is_empty());
    if let (Some(folder), Some(log)) = (folder, &mut log) {
        let saved = weights::save(folder, &inputs.model, &params, &inputs.tokenizer);
        match (&trained, saved) {
            (Err(error) | Ok(Some(error)), Err(also)) => {
                bail!("{error:#}; and {also:#}")
            }
            (_, saved) => saved?,
        }
        let (step, folder) = (steps.len(), folder.display());
        log.say(&format!("saved the model in {folder}, after step {step}"));
    }
    if let Some(error) = trained? {
        // None returns before all is saved: that would be a failure of its own.
        world.barrier("saved")?;
        return Err(error);
    }
    let val_loss = evaluate::validation_loss(
        &model,
        &inputs.data.validation,
        config.validation_sequences,
        config.micro_batch,
        &mesh,
        interrupt,
    )?;
    let memory = world.memory()?;
    let interrupted = train::interrupted(world, interrupt)?;
    if let Some(log) = log {
        log.finish(&Last {
            steps: steps.len() as u64,
            val_loss,
            tokens: steps.iter().map(|step| step.tokens).sum(),
            seconds: steps.iter().map(|step| step.seconds).sum(),
            memory,
            interrupted,
        })?;
        if let (Some(table), false) = (table, config.quiet) {
            runlog::say(&table);
        }
        // Random tokens teach nothing that could be read.
        if !interrupted && !config.quiet && !config.is_random() && config.sample > 0 {
            show_sample(config, inputs, &model)?;
        }
    }
    Ok(Outcome { steps, val_loss, params, communication, interrupted })
}

/// What the training cost this rank in communication, if there are others.
fn communication_table(world: &Group) -> Option<String> {
    if world.size() == 1 {
        return None;
    }
    let gradients = world.ledger().family("gradients");
    let [hidden, waited] =
        [gradients.overlapped, gradients.exposed].map(|time| time.as_secs_f64());
    let mut text =
        format!("communication of rank {}\n{}", world.rank(), world.ledger());
    if hidden + waited > 0.0 {
        let share = 100.0 * hidden / (hidden + waited);
        text += &format!("\nof the gradients' time, {share:.0} % hidden by backward");
    }
    Some(text)
}

fn introduction(config: &Config, inputs: &Inputs, params: &Params) -> String {
    let layers = inputs.model.num_hidden_layers;
    let from = if inputs.weights.is_some() { "its weights" } else { "random weights" };
    format!(
        "{}: {:.2} million parameters in {layers} layers, from {from}; {}, {} a step \
         on {}; learning rate {:.2e}",
        config.model,
        params.elements() as f64 / 1e6,
        inputs.source,
        config.global_batch * config.seq_len,
        match config.dp {
            1 => "1 rank".to_string(),
            dp => format!("{dp} data-parallel ranks"),
        },
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
    peak_flops: f64,
) -> runlog::Options {
    runlog::Options {
        steps: config.steps,
        flops_per_token: flops_per_token(&inputs.model, config.seq_len),
        // Of all ranks together.
        peak_flops,
        convention: "causal attention by half, peak measured".into(),
        jsonl: config.log.clone(),
        tensorboard: config.tensorboard.clone(),
        header: serde_json::json!({
            "config": config,
            "parameters": params.elements(),
            "max_lr": inputs.max_lr,
        }),
        quiet: config.quiet,
    }
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
