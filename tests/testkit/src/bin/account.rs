//! The bytes and operations of a training step, counted beside their closed forms.
use anyhow::Result;
use clap::Parser;
use testkit::account::{Conventions, Counts, Subject};

/// Makes one training step of each model with chapter 1's loop, in fp32, and prints
/// what it held in memory and how many floating-point operations it made, beside what
/// closed forms predict; then how others would count the same operations, and what all
/// of it comes to for Llama-2-7B, which is computed and not run.
#[derive(Parser)]
struct Args {
    /// Presets of chapter 1, or `grouped`: a small model with every variant that
    /// changes a count
    #[arg(long, num_args = 1.., value_name = "NAME",
          default_values = ["nano", "tiny", "grouped"])]
    model: Vec<String>,
    /// Tokens per sequence [default: 128; 200 for `grouped`]
    #[arg(long)]
    seq_len: Option<usize>,
    /// Sequences of the step
    #[arg(long, default_value_t = 8)]
    rows: usize,
    /// Threads that compute; 0 for one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = match args.threads {
        0 => ops::threads::available(),
        threads => threads,
    };
    let _threads = ops::threads::own(threads);
    for name in &args.model {
        let seq_len = args.seq_len.unwrap_or(if name == "grouped" { 200 } else { 128 });
        let subject = Subject::named(name, args.rows, seq_len)?;
        show(&subject, Some(subject.measure(0)?));
    }
    show(&Subject::named("llama-2-7b", 1, 4096)?, None);
    Ok(())
}

/// One table; without measurement, of predictions alone.
fn show(subject: &Subject, measured: Option<Counts>) {
    let predicted = subject.predict();
    let (rows, seq_len) = (subject.rows, subject.seq_len);
    let made = if measured.is_some() { "" } else { ", computed only" };
    println!(
        "== {}: {:.2} million parameters, a step of {rows} x {seq_len} tokens{made}",
        subject.name,
        predicted.elements as f64 / 1e6
    );
    let line = |what: &str, predicted: String, measured: Option<String>| {
        let measured = measured.unwrap_or("-".into());
        println!("{:<10} {what:<40} {predicted:>14} {measured:>14}", subject.name);
    };
    line("", "predicted".into(), Some("measured".into()));
    let (n, tokens) = (predicted.elements as f64, subject.tokens() as f64);
    // Each with what it is divided by, and its decimals.
    let quantities: [(&str, fn(&Counts) -> u64, f64, usize); 12] = [
        ("parameters", |c| c.elements, 1.0, 0),
        ("bytes of parameters", |c| c.parameters, 1.0, 0),
        ("bytes of gradients", |c| c.gradients, 1.0, 0),
        ("bytes of optimizer states", |c| c.optimizer, 1.0, 0),
        ("bytes of these three", states, 1.0, 0),
        ("bytes per parameter", states, n, 2),
        ("bytes per parameter, all but scratch", |c| c.held, n, 2),
        ("bytes saved for backward", |c| c.saved, 1.0, 0),
        ("bytes saved for backward per token", |c| c.saved, tokens, 0),
        ("flops per token, matrices", |c| c.matrices, tokens, 0),
        ("flops per token, attention", |c| c.attention, tokens, 0),
        ("flops per token, all products", |c| c.matrices + c.attention, tokens, 0),
    ];
    for (what, get, divisor, decimals) in quantities {
        let number =
            |counts: &Counts| format!("{:.decimals$}", get(counts) as f64 / divisor);
        line(what, number(&predicted), measured.as_ref().map(number));
    }
    conventions(subject, &predicted);
    println!();
}

fn states(counts: &Counts) -> u64 {
    counts.parameters + counts.gradients + counts.optimizer
}

/// What others would take for the operations of a token, relative to what we take.
fn conventions(subject: &Subject, predicted: &Counts) {
    let Conventions { ours, palm, sc21, sc21_recompute } = subject.conventions();
    let tokens = subject.tokens() as f64;
    let matrices = predicted.matrices as f64 / tokens;
    let computed = (predicted.matrices + predicted.attention) as f64 / tokens;
    let line = |what: &str, number: String, relative: String| {
        println!("{:<10} {what:<40} {number:>14} {relative:>14}", subject.name);
    };
    line("", "flops per token".into(), "of ours".into());
    for (what, flops) in [
        ("ours, and Megatron-LM's today", ours),
        ("ours, of which attention by half", ours - matrices),
        ("PaLM's and nanoGPT's", palm),
        ("Megatron's of 2021", sc21),
        ("Megatron's of 2021, full recompute", sc21_recompute),
        ("what ops computes", computed),
    ] {
        line(what, format!("{flops:.0}"), format!("{:.3}", flops / ours));
    }
}
