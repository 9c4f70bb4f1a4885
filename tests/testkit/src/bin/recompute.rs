//! Recomputation in bytes, operations and time, counted beside its closed forms.
use anyhow::{Context, Result, bail};
use ch03_recompute::config::{Config, Granularity, Precision};
use ch03_recompute::{recompute::Recompute, segment::Keep};
use clap::{Parser, Subcommand};
use std::time::Instant;
use testkit::account::Subject;
use testkit::recompute::{Trainer, settings};

/// What recomputation saves, and what it costs.
#[derive(Parser)]
struct Args {
    /// Threads that compute; 0 for one per core
    #[arg(long, default_value_t = 0, global = true)]
    threads: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bytes kept for backward, at the peak of a step, and operations, beside what the
    /// closed forms say
    Bytes {
        /// Presets, or `grouped`: a small model with every variant that changes a count
        #[arg(long, num_args = 1.., default_values = ["nano", "tiny", "grouped"])]
        model: Vec<String>,
    },
    /// Bytes that a layer keeps of a token, entry by entry, as the closed form has it
    Layer {
        /// A preset, `grouped`, or `llama-2-7b`
        #[arg(long, default_value = "nano")]
        model: String,
    },
    /// Most bytes of activations with segments of so many layers, in a deep model
    Segments {
        /// A preset
        #[arg(long, default_value = "nano")]
        model: String,
        /// How many layers it has instead of its own
        #[arg(long, default_value_t = 64)]
        layers: usize,
    },
    /// What is alive after each operation of a step, one setting after the other
    OverTime {
        /// A preset
        #[arg(long, default_value = "nano")]
        model: String,
        /// Settings, by the names that `bytes` shows [default: all]
        #[arg(long, num_args = 1.., value_name = "SETTING")]
        only: Vec<String>,
    },
    /// Seconds of a step, relative to recomputing nothing: medians, interleaved
    Time {
        /// A preset
        #[arg(long, default_value = "tiny")]
        model: String,
        /// Steps of each setting
        #[arg(long, default_value_t = 21)]
        steps: usize,
        /// Settings, by the names that `bytes` shows, the first being what the others
        /// are compared with [default: all]
        #[arg(long, num_args = 1.., value_name = "SETTING")]
        only: Vec<String>,
    },
}

/// Those of the settings that are asked for: all, if none is.
fn chosen(layers: usize, only: &[String]) -> Result<Vec<(&'static str, Config)>> {
    let all = settings(layers);
    if only.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let found = all.iter().find(|(what, _)| what == name).cloned();
        found.with_context(|| {
            let names: Vec<&str> = all.iter().map(|(what, _)| *what).collect();
            format!("no setting is named {name}: expected some of {}", names.join(" "))
        })
    };
    only.iter().map(find).collect()
}

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = match args.threads {
        0 => ops::threads::available(),
        threads => threads,
    };
    let _threads = ops::threads::own(threads);
    match args.command {
        Command::Bytes { model } => model.iter().try_for_each(|name| show_bytes(name)),
        Command::Layer { model } => layer(&model),
        Command::Segments { model, layers } => segments(&model, layers),
        Command::OverTime { model, only } => over_time(&model, &only),
        Command::Time { model, steps, only } => time(&model, steps, &only),
    }
}

/// The model, and 8 rows of so many tokens.
fn subject(name: &str) -> Result<Subject> {
    Subject::named(name, 8, if name == "grouped" { 200 } else { 128 })
}

fn show_bytes(name: &str) -> Result<()> {
    let subject = subject(name)?;
    for (precision, label) in [(Precision::Fp32, "fp32"), (Precision::Bf16, "bf16")] {
        println!("== {name}, {label}, a step of {} tokens", subject.tokens());
        println!(
            "{:<8} {:<5} {:<24} {:>11} {:>11} {:>7} {:>12} {:>12} {:>7} {:>10} {:>10}",
            "model",
            "type",
            "  recomputed",
            "saved/token",
            "measured",
            "ratio",
            "peak",
            "measured",
            "ratio",
            "Mflop/token",
            "measured",
        );
        let settings = settings(subject.model.num_hidden_layers);
        for (i, (what, config)) in (1..).zip(settings) {
            let config = Config { precision, ..config };
            let predicted = subject.predict_step(&config)?;
            let measured = subject.measure_step(&config, 0)?;
            let tokens = subject.tokens() as f64;
            let ratio = |a: u64, b: u64| a as f64 / b as f64;
            println!(
                "{name:<8} {label:<5} {i} {what:<22} {:>11.0} {:>11.0} {:>7.4} {:>12} \
                 {:>12} {:>7.4} {:>10.4} {:>10.4}",
                predicted.saved as f64 / tokens,
                measured.saved as f64 / tokens,
                ratio(measured.saved, predicted.saved),
                predicted.peak,
                measured.peak,
                ratio(measured.peak, predicted.peak),
                predicted.flops as f64 / tokens / 1e6,
                measured.flops as f64 / tokens / 1e6,
            );
        }
        println!();
    }
    Ok(())
}

fn layer(name: &str) -> Result<()> {
    let subject = subject(name)?;
    println!(
        "{:<23} {:<22} {:>8} {:>8}",
        "recomputed", "kept of a token", "fp32", "bf16"
    );
    for (what, config) in settings(1) {
        let recompute = Recompute::new(&config, 1)?;
        let entries = match recompute.segments[0] {
            (_, Keep::All) => subject.layer_entries(&recompute),
            _ => vec![("the layer's input", [subject.model.hidden_size, 0])],
        };
        let mut sums = [0, 0];
        for (entry, [numbers, in_sums]) in entries {
            // A number has 4 bytes or 2; one of those that sums are made in, 4.
            let bytes = [4 * (numbers + in_sums), 2 * numbers + 4 * in_sums];
            println!("{what:<23} {entry:<22} {:>8} {:>8}", bytes[0], bytes[1]);
            sums = [sums[0] + bytes[0], sums[1] + bytes[1]];
        }
        println!("{what:<23} {:<22} {:>8} {:>8}", "= together", sums[0], sums[1]);
    }
    Ok(())
}

fn segments(name: &str, layers: usize) -> Result<()> {
    let mut subject = Subject::named(name, 2, 128)?;
    subject.model.num_hidden_layers = layers;
    println!("{name} with {layers} layers, a step of {} tokens", subject.tokens());
    println!("layers of a segment   kB/token   measured");
    for n in (1..=layers).filter(|n| *n <= 8 || n.is_power_of_two()) {
        let config = Config {
            recompute: Granularity::Full,
            recompute_layers: Some(n),
            ..Config::default()
        };
        let tokens = subject.tokens() as f64;
        let predicted = subject.predict_activations(&config)? as f64 / tokens / 1e3;
        let measured = subject.measure_activations(&config, 0)? as f64 / tokens / 1e3;
        println!("{n:<19} {predicted:>10.2} {measured:>10.2}");
    }
    Ok(())
}

fn over_time(name: &str, only: &[String]) -> Result<()> {
    let subject = subject(name)?;
    println!("recomputed                Mflop    kept_kB   total_kB  pass");
    for (what, config) in chosen(subject.model.num_hidden_layers, only)? {
        let mut before = None;
        for moment in subject.watch_step(&config, 0)? {
            // Rotations and additions keep nothing, and need no line of their own.
            let now = (moment.flops, moment.saved / 1024, moment.backward);
            if before.replace(now) == Some(now) {
                continue;
            }
            println!(
                "{what:<22} {:>8.1} {:>10.1} {:>10.1}  {}",
                moment.flops as f64 / 1e6,
                moment.saved as f64 / 1e3,
                moment.total as f64 / 1e3,
                if moment.backward { "backward" } else { "forward" }
            );
        }
    }
    Ok(())
}

fn time(name: &str, steps: usize, only: &[String]) -> Result<()> {
    if steps == 0 {
        bail!("--steps is 0: expected at least 1")
    }
    let subject = subject(name)?;
    let mut runs = vec![];
    for (what, config) in chosen(subject.model.num_hidden_layers, only)? {
        let mut trainer = Trainer::new(&subject, &config, 0)?;
        trainer.step()?;
        let flops = subject.predict_step(&config)?.flops;
        runs.push((what, trainer, flops, vec![]));
    }
    // In turns, so that whatever else the machine does hits all alike.
    for _ in 0..steps {
        for (_, trainer, _, seconds) in &mut runs {
            let start = Instant::now();
            trainer.step()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let first = &runs[0].0;
    println!("{:<22} {:>9} {:>9}  of `{first}`", "recomputed", "seconds", "flops");
    let none = runs[0].3.clone();
    for (what, _, flops, seconds) in &runs {
        // Of each turn, then the middle one.
        let mut ratios: Vec<f64> =
            seconds.iter().zip(&none).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{what:<22} {:>9.3} {:>9.3}",
            ratios[ratios.len() / 2],
            *flops as f64 / runs[0].2 as f64
        );
    }
    Ok(())
}
