//! What tensor parallelism sends, holds and keeps, counted beside its closed forms.
use anyhow::{Context, Result};
use ch05_tensor_parallel::config::Precision;
use ch05_tensor_parallel::run::Outcome;
use ch05_tensor_parallel::{Config, inputs, run};
use clap::{Parser, Subcommand};
use hub::ModelConfig;
use memory::Family;
use parity::small::{self, Small};

/// Makes single steps of chapter 5 and prints what was counted.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a rank sends in a step, by family, beside the closed form
    Sent {
        /// Presets, or `qk-norm`: a small model that normalizes queries and keys
        #[arg(long, num_args = 1.., default_values = ["nano", "tiny", "qk-norm"])]
        model: Vec<String>,
        /// Numbers of ranks
        #[arg(long, num_args = 1.., default_values_t = [2, 4, 8])]
        tp: Vec<usize>,
    },
    /// What a rank holds and keeps in a step of one micro-batch, beside the closed form
    Held {
        /// A preset
        #[arg(long, default_value = "tiny")]
        model: String,
        /// Numbers of ranks
        #[arg(long, num_args = 1.., default_values_t = [1, 2, 4, 8])]
        tp: Vec<usize>,
    },
    /// Which slice of each parameter each rank has
    Slices {
        /// A preset
        #[arg(long, default_value = "nano")]
        model: String,
        /// The number of ranks
        #[arg(long, default_value_t = 2)]
        tp: usize,
        /// Whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Sent { model, tp } => {
            println!(
                "{:<8} {:>2} {:>5} {:>7}  {:<17} {:>6} {:>10} {:>12} {:>12}",
                "model",
                "tp",
                "type",
                "batches",
                "family",
                "calls",
                "of bytes",
                "closed form",
                "counted"
            );
            for model in &model {
                for tp in &tp {
                    let settings = [(Precision::Fp32, 1), (Precision::Fp32, 2)];
                    for (precision, batches) in
                        settings.into_iter().chain([(Precision::Bf16, 1)])
                    {
                        sent(model, *tp, precision, batches)?;
                    }
                }
            }
            Ok(())
        }
        Command::Held { model, tp } => held(&model, &tp),
        Command::Slices { model, tp, only } => slices(&model, tp, &only),
    }
}

/// One step of few tokens.
fn one_step(model: &str, tp: usize) -> Config {
    Config {
        model: model.into(),
        workers: 1,
        threads: 1,
        steps: 1,
        seq_len: 24,
        micro_batch: 1,
        global_batch: 1,
        validation_sequences: 1,
        quiet: true,
        tp,
        ..Config::default()
    }
}

/// The heads decide how many ranks there can be.
fn fits(model: &ModelConfig, tp: usize) -> bool {
    ch05_tensor_parallel::tensor_parallel::check(model, tp).is_ok()
}

fn sent(name: &str, tp: usize, precision: Precision, batches: usize) -> Result<()> {
    let mut config = Config { precision, global_batch: batches, ..one_step(name, tp) };
    // Gone when dropped.
    let mut _files = None;
    if name == "qk-norm" {
        let [.., (_, model)] = small::models();
        let files = Small::new(&model)?;
        config.model = files.model().to_string_lossy().into_owned();
        config.data = vec![files.even()];
        config.tokenizer = Some("bytes".into());
        _files = Some(files);
    }
    let model = inputs::open(&config)?.model;
    if !fits(&model, tp) {
        return Ok(());
    }
    let ranks = run(&config)?;
    let tokens = config.micro_batch * config.seq_len;
    let passes = batches as u64;
    let layers = model.num_hidden_layers as u64;
    // Of activations, and of the sums of gradients.
    let size = precision.dtype().size_in_bytes();
    let sums = ranks[0].params.flats[0].grads.dtype().size_in_bytes();
    let activations = tokens * model.hidden_size * size;
    // Two pairs of matrices in each layer, and one end of the model.
    let both = passes * (2 * layers + 1);
    let dim = model.head_dim;
    let copies = (tp / model.num_key_value_heads).max(1);
    let kv = 2 * model.num_hidden_layers * dim * model.hidden_size;
    let norms = 2 * model.num_hidden_layers * dim;
    for (family, group, calls, bytes, each) in [
        ("f", "tp", both, activations, all_reduce(activations, size, tp)),
        ("g", "tp", both, activations, all_reduce(activations, size, tp)),
        // Three numbers of 8 bytes, of this rank, to all others.
        ("cross-entropy", "tp", passes, 24 * tokens, (tp - 1) * 24 * tokens),
        ("gradient norm", "model", 1, 8, all_reduce(8, 8, tp)),
        (
            "partial gradients",
            "tp",
            u64::from(model.qk_norm && tp > 1),
            norms * sums,
            all_reduce(norms * sums, sums, tp),
        ),
        (
            "partial gradients",
            "tp-kv",
            u64::from(copies > 1),
            kv * sums,
            all_reduce(kv * sums, sums, copies),
        ),
    ] {
        let closed = calls * each as u64;
        let counted: Vec<[u64; 2]> =
            ranks.iter().map(|rank| booked(rank, family, group)).collect();
        let [made, sent] = counted[0];
        if made == 0 && calls == 0 {
            continue;
        }
        let same = counted.iter().all(|other| *other == counted[0]);
        println!(
            "{name:<8} {tp:>2} {:>5} {batches:>7}  {:<17} {made:>6} {bytes:>10} \
             {closed:>12} {sent:>12}{}{}",
            format!("{precision:?}").to_lowercase(),
            if group == "tp-kv" { "shared heads" } else { family },
            if made == calls { "" } else { "; another number of calls" },
            if same { "" } else { "; other ranks booked something else" },
        );
    }
    Ok(())
}

/// What a rank sends in an all-reduce of `bytes`, in a ring of `n`; what does not
/// divide is padded.
fn all_reduce(bytes: usize, size: usize, n: usize) -> usize {
    2 * (n - 1) * (bytes / size).div_ceil(n) * size
}

/// Calls and bytes that a rank booked for a family in a group.
fn booked(rank: &Outcome, family: &str, group: &str) -> [u64; 2] {
    let ours = rank.communication.iter();
    let ours = ours.filter(|line| line.family == family && line.group == group);
    ours.fold([0, 0], |[calls, bytes], line| {
        [calls + line.entry.calls, bytes + line.entry.bytes]
    })
}

fn held(name: &str, ranks: &[usize]) -> Result<()> {
    println!(
        "{:<6} {:>2} {:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "model",
        "tp",
        "elements",
        "parameters",
        "gradients",
        "optimizer",
        "on all ranks",
        "divided",
        "together",
        "saved"
    );
    for tp in ranks {
        let config = Config { seq_len: 128, ..one_step(name, *tp) };
        let model = inputs::open(&config)?.model;
        if !fits(&model, *tp) {
            continue;
        }
        (0..*tp).for_each(memory::reset_peak);
        let outcomes = run(&config)?;
        let account = memory::account(0);
        let (all, divided) = saved(&model, *tp);
        let bytes = 4 * config.seq_len;
        println!(
            "{name:<6} {tp:>2} {:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
            outcomes[0].params.elements(),
            account[Family::Parameters].peak,
            account[Family::Gradients].peak,
            account[Family::Optimizer].peak,
            bytes * all,
            bytes * divided,
            bytes * (all + divided),
            account[Family::Activations].peak,
        );
    }
    Ok(())
}

/// Numbers that forward saves for backward, per token: those that every rank saves all
/// of, and those that it saves its part of. (Chapter 1 has them entry by entry.)
fn saved(model: &ModelConfig, tp: usize) -> (usize, usize) {
    let ModelConfig { hidden_size: hidden, num_hidden_layers: layers, .. } = *model;
    // Inputs and outputs of the norms; those of the last one, and the gradient that the
    // loss leaves for backward.
    let all = layers * 4 * hidden + 3 * hidden;
    let heads = model.num_attention_heads / tp;
    let kv_heads = model.num_key_value_heads.div_ceil(tp);
    let qkv = (heads + 2 * kv_heads) * model.head_dim;
    let normalized = if model.qk_norm { qkv } else { 0 };
    // Attention's output, and one number for each head.
    let mixed = heads * model.head_dim + heads;
    let mlp = 3 * model.intermediate_size / tp;
    (all, layers * (normalized + qkv + mixed + mlp))
}

fn slices(model: &str, tp: usize, only: &str) -> Result<()> {
    let config = one_step(model, tp);
    let ranks = run(&config)?;
    println!(
        "{:<44} {:>4} {:>11} {:>11} {:>11}",
        "parameter", "rank", "whole", "from", "has"
    );
    for first in ranks[0].params.iter().filter(|p| p.name().contains(only)) {
        for (rank, outcome) in ranks.iter().enumerate() {
            let param = outcome.params.get(first.name());
            let shard = param.context("a parameter of the first rank alone")?.shard();
            let words = |sizes: &[usize]| -> String {
                let sizes: Vec<_> = sizes.iter().map(usize::to_string).collect();
                sizes.join(" × ")
            };
            println!(
                "{:<44} {rank:>4} {:>11} {:>11} {:>11}",
                shard.name,
                words(&shard.global_shape),
                words(&shard.offset),
                words(&shard.held()),
            );
        }
    }
    Ok(())
}
