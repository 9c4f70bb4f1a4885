//! What data parallelism sends in a step, counted beside its closed form.
use anyhow::Result;
use ch04_data_parallel::config::Precision;
use ch04_data_parallel::run::Outcome;
use ch04_data_parallel::{Config, run};
use clap::Parser;

/// Makes one step of chapter 4 for each model, number of ranks, precision and number of
/// micro-batches, and prints what its ledger has booked for the
/// gradients beside the closed form.
#[derive(Parser)]
struct Args {
    /// Presets
    #[arg(long, num_args = 1.., default_values = ["nano", "tiny"])]
    model: Vec<String>,
    /// Numbers of ranks
    #[arg(long, num_args = 1.., default_values_t = [2, 3, 4])]
    dp: Vec<usize>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!(
        "{:<6} {:>5} {:>5} {:>9} {:>10} {:>8} {:>6} {:>12} {:>12} {:>12}",
        "model",
        "ranks",
        "type",
        "batches",
        "parameters",
        "buckets",
        "calls",
        "2(n-1)/n",
        "closed form",
        "counted"
    );
    for model in &args.model {
        for dp in &args.dp {
            let settings = [(Precision::Fp32, 1), (Precision::Fp32, 2)];
            for (precision, accumulated) in
                settings.into_iter().chain([(Precision::Bf16, 1), (Precision::Fp64, 1)])
            {
                show(model, *dp, precision, accumulated)?;
            }
        }
    }
    Ok(())
}

fn show(
    model: &str,
    dp: usize,
    precision: Precision,
    accumulated: usize,
) -> Result<()> {
    let config = Config {
        model: model.into(),
        workers: 1,
        threads: 1,
        steps: 1,
        seq_len: 16,
        micro_batch: 1,
        global_batch: dp * accumulated,
        validation_sequences: 1,
        quiet: true,
        precision,
        dp,
        ..Config::default()
    };
    let ranks = run(&config)?;
    let counted: Vec<[u64; 2]> = ranks.iter().map(booked).collect();
    let [calls, bytes] = counted[0];
    let params = &ranks[0].params;
    // Gradients are in the type that sums are made in.
    let size = params.flats[0].grads.dtype().size_in_bytes();
    let closed = |len: usize| 2 * (dp - 1) * len.div_ceil(dp) * size;
    let closed: usize = params.flats.iter().map(|flat| closed(flat.grads.len())).sum();
    let all = counted.iter().all(|other| *other == [calls, bytes]);
    let same = if all { "" } else { "; other ranks booked something else" };
    let psi = params.elements();
    println!(
        "{model:<6} {dp:>5} {:>5} {accumulated:>9} {psi:>10} {:>8} {calls:>6} {:>12.0} \
         {closed:>12} {bytes:>12}{same}",
        format!("{precision:?}").to_lowercase(),
        params.flats.len(),
        2.0 * (dp - 1) as f64 / dp as f64 * (psi * size) as f64,
    );
    Ok(())
}

/// Calls and bytes that a rank booked for the gradients of its only step.
fn booked(rank: &Outcome) -> [u64; 2] {
    let ours = rank.communication.iter();
    let ours = ours.filter(|line| line.family == "gradients");
    ours.fold([0, 0], |[calls, bytes], line| {
        [calls + line.entry.calls, bytes + line.entry.bytes]
    })
}
