//! What each rank keeps for backward, with and without the sequence cut, counted beside
//! its closed form.
use anyhow::{Context, Result};
use ch06_sequence_parallel::{Config, inputs};
use clap::Parser;
use parity::tp_memory::{RECOMPUTE, Setting};

/// Makes steps of chapter 6 in fp32, of one micro-batch, and prints the bytes that each
/// rank keeps between forward and backward.
#[derive(Parser)]
struct Args {
    /// A preset
    #[arg(long, default_value = "tiny")]
    model: String,
    /// Numbers of ranks
    #[arg(long, num_args = 1.., default_values_t = [1, 2, 4, 8])]
    tp: Vec<usize>,
    /// Only where this is computed again: none, selective, full
    #[arg(long, default_value = "")]
    recompute: String,
    /// Tokens of the micro-batch's one sequence
    #[arg(long, default_value_t = 128)]
    seq_len: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let config =
        Config { model: args.model, seq_len: args.seq_len, ..Config::default() };
    let model = inputs::open(&config)?.model;
    println!(
        "{:<9} {:>2} {:>8}  {:>9} {:>9} {:>9} {:>11} {:>9}",
        "recompute",
        "tp",
        "sequence",
        "streams",
        "pairs",
        "end",
        "closed form",
        "counted"
    );
    let wanted =
        RECOMPUTE.into_iter().filter(|(name, _)| name.contains(&args.recompute));
    for (name, recompute) in wanted {
        for sequence in [false, true] {
            for tp in &args.tp {
                let setting = Setting {
                    model: model.clone(),
                    rows: 1,
                    seq_len: args.seq_len,
                    tp: *tp,
                    sequence,
                    recompute,
                };
                if setting.fits() {
                    show(name, &setting)?;
                }
            }
        }
    }
    Ok(())
}

fn show(name: &str, setting: &Setting) -> Result<()> {
    let kept = setting.predict();
    let [streams, pairs, end] = [kept.streams, kept.pairs, kept.end];
    // Of the rank that keeps most.
    let counted = setting.measure()?.into_iter().max().context("no ranks")?;
    println!(
        "{name:<9} {:>2} {:>8}  {:>9} {:>9} {:>9} {:>11} {counted:>9}",
        setting.tp,
        if setting.sequence { "cut" } else { "whole" },
        setting.bytes(streams),
        setting.bytes(pairs),
        setting.bytes(end),
        setting.bytes(kept.total()),
    );
    Ok(())
}
