//! Puts everything together and trains.
use crate::config::{Config, Device, Offload, Switch};
use crate::inputs::{self, Inputs};
use crate::loss_scale::LossScale;
use crate::optimizer::AdamW;
use crate::pipeline::Pipeline;
use crate::plan::{self, Costs, Plan};
use crate::recompute::Recompute;
use crate::tensor_parallel::{self, TensorParallel};
use crate::zero::{self, Zero};
use crate::{evaluate, model, replicas, stages, train, weights};
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use comm::{Group, Layout, Mesh, Reduce};
use corpus::Split;
use hub::ModelConfig;
use params::{ParamBuilder, Params};
use runlog::{Interrupt, Last, RunLog, Step};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::rc::Rc;

/// Columns for a schedule.
const WIDTH: usize = 66;

/// What a run leaves behind on one rank.
pub struct Outcome {
    /// One for each step made.
    pub steps: Vec<Step>,
    /// Mean loss on the validation data, in nats per token, if it was measured.
    pub val_loss: Option<f64>,
    /// This rank's parameters: their values after the last step, but in stage 3, where
    /// `Zero` had them; and their gradients, which are sums in what this rank updates,
    /// and are freed from stage 2 on.
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
    let plan = plan(config)?;
    let ranks = config.ranks();
    if let Some(processes) = comm::processes()? {
        ensure!(
            processes == ranks,
            "mpirun started {processes} processes, but --tp {} times --pp {} times \
             --dp {} are {ranks} ranks: expected as many",
            config.tp,
            config.pp,
            config.dp
        );
    }
    let inputs = inputs::open(config)?;
    tensor_parallel::check(&inputs.model, config.tp)?;
    let layers = inputs.model.num_hidden_layers;
    stages::cut(layers, plan.places.len(), given(config))?;
    check_ends(&inputs.model, &plan)?;
    let each = |world| rank(config, &inputs, &plan, &interrupt, world);
    Ok(match config.device {
        Device::Cpu => comm::launch(ranks, each)?,
        Device::Gpu => comm::launch_on_gpus(ranks, each)?,
    })
}

/// What one rank trains, and with what.
pub struct Parts {
    /// Its groups.
    pub mesh: Mesh,
    /// Its stage's.
    pub params: Params,
    /// Who has what of them.
    pub zero: Rc<Zero>,
    /// Its stage.
    pub pipeline: Pipeline,
    /// Of its part of the parameters.
    pub optimizer: AdamW,
}

/// Builds one rank's parts, on `threads` threads.
///
/// # Errors
/// As for [`run`].
pub fn build(
    config: &Config,
    inputs: &Inputs,
    plan: &Plan,
    world: Group,
    threads: usize,
) -> Result<Parts> {
    let layout = Layout { tp: config.tp, pp: config.pp, ..Layout::default() };
    let mut mesh = Mesh::new(world, &layout)?;
    mesh.ends("pp", model::EMBEDDINGS)?;
    let tp = TensorParallel::new(&mut mesh, &inputs.model, config.sp)?;
    let dtype = config.precision.dtype();
    let layers = inputs.model.num_hidden_layers;
    let recompute = Recompute::new(config, layers)?;
    let cut = stages::cut(layers, plan.places.len(), given(config))?;
    let peers = mesh.data();
    let mut builder = ParamBuilder::new(config.seed, dtype).multiple_of(peers.size());
    let model = model::Transformer::new(
        &tp,
        &inputs.model,
        &cut,
        &plan.chunks_of(mesh.axis("pp")?.rank()),
        config.seq_len,
        dtype,
        &recompute,
        &mut builder,
    )?;
    let params = match config.zero {
        // SAFETY: `fill` writes a flat buffer before anybody reads it, and from then on
        // `Zero` gathers one before it lends it.
        3 => unsafe { builder.build_without_memory()? },
        _ => builder.build_zeros()?,
    };
    let fill = |params: &Params| {
        match &inputs.weights {
            Some(files) => weights::load(params, files)?,
            None => params.flats[0].draw(config.seed, threads)?,
        }
        replicas::check_equal(params, peers)
    };
    let (zero, params) = Zero::new(config.zero.into(), params, &mesh, fill)?;
    let zero = Rc::new(zero);
    let pipeline = Pipeline::new(model, plan.clone(), &mesh, dtype, zero.clone())?;
    check_same_data(&inputs.data.train, mesh.model())?;
    check_same_schedule(plan, mesh.world())?;
    let file = match &config.offload {
        Offload::None => None,
        Offload::File(path) => Some(zero::states_file(path, mesh.world().rank())?),
    };
    let optimizer = AdamW::new(&params, &mesh, zero.clone(), file.as_ref())
        .with_context(|| {
            format!("the optimizer's states, with --offload {}", config.offload)
        })?;
    Ok(Parts { mesh, params, zero, pipeline, optimizer })
}

/// One rank: builds everything, trains, saves, measures, and shows a sample.
fn rank(
    config: &Config,
    inputs: &Inputs,
    plan: &Plan,
    interrupt: &Interrupt,
    world: Group,
) -> Result<Outcome> {
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
    let Parts { mesh, params, zero, pipeline, mut optimizer } =
        build(config, inputs, plan, world, threads)?;
    let world = mesh.world();
    // Measured by all at the same time.
    world.barrier("peak")?;
    let mut peak = [ops::tune::peak_flops(config.precision.dtype())?];
    world.all_reduce("peak", &mut peak, Reduce::Sum)?;
    // The first rank speaks for all.
    let mut log = match world.rank() {
        0 => Some(RunLog::start(log_options(config, inputs, peak[0]))?),
        _ => None,
    };
    if let (Some(log), false) = (&mut log, config.quiet) {
        log.say(&introduction(config, inputs));
        if let Some(device) = &device {
            log.say(&format!("computes on {}", device.name()));
        }
        if config.pp > 1 {
            log.say(&picture(config, plan)?);
        }
        if config.zero >= 2 && !pipeline.is_one_by_one() {
            log.say(
                "--zero 2 and 3 are a poor match for this schedule: gradients pile up \
                 until its last micro-batch and are divided then; with --zero 3 each \
                 pass gathers its parameters anew. --zero 1 sends less",
            );
        }
    }

    let (mut steps, mut communication, mut table) = (vec![], vec![], None);
    // Whether training came to its end, on all ranks or on none.
    let mut over = false;
    let trained = trace::record(config.trace.as_deref(), world, || {
        world.ledger().reset();
        let ended = train::train(
            config,
            inputs.max_lr,
            &inputs.data.train,
            &pipeline,
            &params,
            &zero,
            &mesh,
            &mut optimizer,
            LossScale::new(config),
            log.as_mut(),
            interrupt,
            &mut steps,
        )?;
        communication = world.ledger().lines();
        table = communication_table(world);
        over = true;
        Ok(ended)
    });
    // Before stage 3, what all had sent arrives though one of them failed. In stage 3
    // all have to ask, also the rank whose trace cannot be written now.
    let can = over || config.zero < 3;
    let whole = match config.save.is_some() && can {
        true => zero.need_all(),
        false => Ok(()),
    };
    let complete = can && whole.is_ok();
    if trained.is_ok() {
        whole?;
    }
    // These ranks hold the model once, and speak for all that do.
    let speaks = mesh.data().rank() == 0;
    // Whatever ended the training on all ranks, what was learnt until then is not lost.
    // (What a rank held that failed alone is; in stage 3 so is the model.)
    if let Some(folder) = config.save.as_ref().filter(|_| speaks && !steps.is_empty()) {
        let (model, tokenizer) = (&inputs.model, &inputs.tokenizer);
        let saved = match complete {
            true => weights::save(folder, model, &params, tokenizer, mesh.model()),
            false => Err(anyhow!("its parameters are not all here")),
        };
        match (&trained, saved) {
            (Err(error), Err(_)) => bail!("{error:#}; the model could not be saved"),
            (Ok(Some(error)), Err(also)) => bail!("{error:#}; and {also:#}"),
            (_, saved) => saved?,
        }
        if let Some(log) = &mut log {
            let (step, folder) = (steps.len(), folder.display());
            log.say(&format!("saved the model in {folder}, after step {step}"));
        }
    }
    if let Some(error) = trained? {
        // None returns before all is saved: that would be a failure of its own.
        world.barrier("saved")?;
        return Err(error);
    }
    zero.free_all()?;
    let val_loss = evaluate::validation_loss(
        &pipeline,
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
    }
    // Random tokens teach nothing that could be read.
    let shown = !config.quiet && !config.is_random() && config.sample > 0;
    // Who has a part of the parameters is asked for it.
    if shown && (speaks || config.zero >= 3) && !interrupted {
        show_sample(config, inputs, &pipeline, world.rank() == 0)?;
    }
    Ok(Outcome { steps, val_loss, params, communication, interrupted })
}

/// What the training cost this rank in communication, if there are others.
fn communication_table(world: &Group) -> Option<String> {
    if world.size() == 1 {
        return None;
    }
    let mut text =
        format!("communication of rank {}\n{}", world.rank(), world.ledger());
    let (mut hidden, mut waited) = (0.0, 0.0);
    for line in world.ledger().lines() {
        hidden += line.entry.overlapped.as_secs_f64();
        waited += line.entry.exposed.as_secs_f64();
    }
    if hidden + waited > 0.0 {
        let share = 100.0 * hidden / (hidden + waited);
        text += &format!("\nof all this time, {share:.0} % hidden by computation");
    }
    Some(text)
}

/// Checks that the ranks that hold the model together see the same tokens.
fn check_same_data(data: &Split, group: &Group) -> Result<()> {
    let batch = data.batch(0, 1)?;
    let mut all = vec![0; group.size() * batch.tokens.len()];
    group.all_gather("same data", &batch.tokens, &mut all)?;
    let mut others = all.chunks(batch.tokens.len());
    ensure!(
        others.all(|tokens| tokens == batch.tokens),
        "ranks {:?} hold one model together, and see other data: give all the same \
         --data, --tokenizer and --seed",
        group.members()
    );
    Ok(())
}

/// What each stage does in a step.
///
/// # Errors
/// As for [`Schedule::plan`](crate::schedule::Schedule::plan).
pub fn plan(config: &Config) -> Result<Plan> {
    config.schedule.plan(config.pp, config.chunks(), config.micro_batches())
}

/// Checks that all stages follow one schedule: each process reads its file for itself,
/// and messages do not say which micro-batch they are of.
fn check_same_schedule(plan: &Plan, world: &Group) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    plan.stages.hash(&mut hasher);
    let own = hasher.finish() as i64;
    let mut all = vec![0; world.size()];
    world.all_gather("same schedule", &[own], &mut all)?;
    match all.iter().position(|hash| *hash != own) {
        None => Ok(()),
        Some(other) => bail!(
            "rank {other} has another --schedule than rank {}: give all the same file",
            world.rank()
        ),
    }
}

/// Checks that gradients of a tied embedding reach both of its copies: these are summed
/// over the first and the last stage. Only a schedule of the user's has them elsewhere.
fn check_ends(model: &ModelConfig, plan: &Plan) -> Result<()> {
    let (all, last) = (&plan.places, plan.stages.len() - 1);
    let ends = [all[0], all[all.len() - 1]];
    ensure!(
        !model.tie_word_embeddings
            || ends[0] == ends[1]
            || ends.iter().all(|stage| [0, last].contains(stage)),
        "the model's input and output embeddings are tied, and the schedule has its \
         first chunk on stage {} and its last on stage {}: expected stages 0 and \
         {last}, or the same one",
        ends[0],
        ends[1]
    );
    Ok(())
}

/// What stages do in a step, drawn as far as it fits a terminal, and how long a stage
/// has nothing to do.
fn picture(config: &Config, plan: &Plan) -> Result<String> {
    let timeline = plan.timeline(Costs::EQUAL)?;
    let (mut idle, mut total) = (0, 0);
    for stage in 0..timeline.len() {
        let (its, all) = plan::idle(&timeline, stage);
        (idle, total) = (idle + its, total + all);
    }
    let mut text = format!(
        "{}, {} micro-batches: if all passes take as long, a stage is idle for {:.0} % \
         of a step",
        config.schedule,
        config.micro_batches(),
        100.0 * idle as f64 / total as f64
    );
    for (stage, line) in plan::draw(&timeline).iter().enumerate() {
        let shown: String = line.chars().take(WIDTH).collect();
        let more = if shown.len() < line.len() { "…" } else { "" };
        text += &format!("\n  stage {stage}  {shown}{more}");
    }
    Ok(text)
}

/// How many layers each chunk has, if the user says.
fn given(config: &Config) -> Option<&[usize]> {
    config.pp_layers.as_deref()
}

fn introduction(config: &Config, inputs: &Inputs) -> String {
    let layers = inputs.model.num_hidden_layers;
    let from = if inputs.weights.is_some() { "its weights" } else { "random weights" };
    format!(
        "{}: {:.2} million parameters in {layers} layers, from {from}; {}, {} a step \
         on {}{}{}; learning rate {:.2e}",
        config.model,
        inputs.model.parameters() as f64 / 1e6,
        inputs.source,
        config.global_batch * config.seq_len,
        match (config.tp, config.pp, config.dp) {
            (1, 1, 1) => "1 rank".to_string(),
            (tp, 1, 1) => format!("{tp} tensor-parallel ranks"),
            (1, pp, 1) => format!("{pp} pipeline stages"),
            (1, 1, dp) => format!("{dp} data-parallel ranks"),
            (tp, pp, dp) => {
                format!("{} ranks, tp {tp} × pp {pp} × dp {dp}", tp * pp * dp)
            }
        },
        match config.sp {
            Switch::On if config.tp > 1 => ", which divide the sequence",
            _ => "",
        },
        match config.zero {
            0 => String::new(),
            stage => format!(", ZeRO stage {stage}"),
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

fn log_options(config: &Config, inputs: &Inputs, peak_flops: f64) -> runlog::Options {
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
            "parameters": inputs.model.parameters(),
            "max_lr": inputs.max_lr,
        }),
        quiet: config.quiet,
    }
}

/// All ranks that hold the model make the same sample; one of them shows it.
fn show_sample(
    config: &Config,
    inputs: &Inputs,
    pipeline: &Pipeline,
    shows: bool,
) -> Result<()> {
    let tokenizer = &inputs.tokenizer;
    let text = config.prompt.as_deref().unwrap_or_default();
    let prompt = tokenizer.encode(text)?;
    let (count, seq_len) = (config.sample, config.seq_len);
    let text =
        evaluate::sample(pipeline, tokenizer, &prompt, count, seq_len, config.seed)?;
    match shows {
        true => {
            writeln!(std::io::stdout(), "\n{text}").context("cannot show the sample")
        }
        false => Ok(()),
    }
}
