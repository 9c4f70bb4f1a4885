//! What sequence parallelism sends, counted beside its closed form.
use anyhow::{Context, Result};
use ch06_sequence_parallel::config::{Precision, Switch};
use ch06_sequence_parallel::run::Outcome;
use ch06_sequence_parallel::{Config, inputs, run, tensor_parallel};
use clap::Parser;
use params::Element;

/// Makes single steps of chapter 6, of 24 tokens in fp32, and prints what a rank sends,
/// by family and operation.
#[derive(Parser)]
struct Args {
    /// Presets
    #[arg(long, num_args = 1.., default_values = ["nano", "tiny"])]
    model: Vec<String>,
    /// Numbers of ranks
    #[arg(long, num_args = 1.., default_values_t = [2, 4, 8])]
    tp: Vec<usize>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!(
        "{:<6} {:>2} {:>8}  {:<17} {:<14} {:>5} {:>11} {:>9}",
        "model",
        "tp",
        "sequence",
        "family",
        "operation",
        "calls",
        "closed form",
        "counted"
    );
    for model in &args.model {
        for tp in &args.tp {
            for sp in [Switch::Off, Switch::On] {
                sent(model, *tp, sp)?;
            }
        }
    }
    Ok(())
}

fn sent(name: &str, tp: usize, sp: Switch) -> Result<()> {
    let config = Config {
        model: name.into(),
        workers: 1,
        threads: 1,
        steps: 1,
        seq_len: 24,
        micro_batch: 1,
        global_batch: 1,
        validation_sequences: 1,
        quiet: true,
        precision: Precision::Fp32,
        tp,
        sp,
        ..Config::default()
    };
    let model = inputs::open(&config)?.model;
    // The heads decide how many ranks there can be.
    if tensor_parallel::check(&model, tp).is_err() {
        return Ok(());
    }
    let ranks = run(&config)?;
    let (t, layers) = (tp as u64, model.num_hidden_layers as u64);
    let hidden = model.hidden_size as u64;
    // Two pairs of matrices in each layer, and one end of the model.
    let pairs = 2 * layers + 1;
    let size = size_of::<f32>() as u64;
    // A gather or a scatter of the residual stream.
    let half = (t - 1) * config.seq_len as u64 * hidden / t * size;
    // Two of each layer, and the last: what does not divide is padded.
    let sums = size_of::<<f32 as Element>::Acc>() as u64;
    let norms = 2 * (t - 1) * (pairs * hidden).div_ceil(t) * sums;
    let sequence = if sp == Switch::On { "cut" } else { "whole" };
    let forms: &[_] = match sp {
        Switch::Off => &[
            ("f", "all_reduce", pairs, 2 * half),
            ("g", "all_reduce", pairs, 2 * half),
        ],
        Switch::On => &[
            ("f", "all_gather", pairs, half),
            ("f", "reduce_scatter", pairs, half),
            ("f again", "all_gather", 2 * layers, half),
            ("g", "reduce_scatter", pairs, half),
            ("g", "all_gather", pairs, half),
            ("partial gradients", "all_reduce", 1, norms),
        ],
    };
    let mut all = [0, 0, 0];
    for (family, operation, calls, each) in forms {
        let counted: Vec<[u64; 2]> =
            ranks.iter().map(|rank| booked(rank, family, operation)).collect();
        let [made, bytes] = *counted.first().context("no ranks")?;
        let closed = calls * each;
        let same = counted.iter().all(|other| *other == counted[0]);
        println!(
            "{name:<6} {tp:>2} {sequence:>8}  {family:<17} {operation:<14} {made:>5} \
             {closed:>11} {bytes:>9}{}{}",
            if made == *calls { "" } else { "; another number of calls" },
            if same { "" } else { "; other ranks booked something else" },
        );
        if *family != "partial gradients" {
            all = [all[0] + made, all[1] + closed, all[2] + bytes];
        }
    }
    let [calls, closed, bytes] = all;
    println!(
        "{name:<6} {tp:>2} {sequence:>8}  {:<17} {:<14} {calls:>5} {closed:>11} \
         {bytes:>9}",
        "activations", "all"
    );
    Ok(())
}

/// Calls and bytes that a rank booked in the group of all of them.
fn booked(rank: &Outcome, family: &str, operation: &str) -> [u64; 2] {
    let ours = rank.communication.iter().filter(|line| {
        let of = (line.family, line.group.as_str(), line.operation);
        of == (family, "tp", operation)
    });
    ours.fold([0, 0], |[calls, bytes], line| {
        [calls + line.entry.calls, bytes + line.entry.bytes]
    })
}
