//! When each stage of chapter 7 did what, in a step that was made.
use anyhow::{Context, Result};
use ch07_pipeline_parallel::config::{Config, Granularity};
use ch07_pipeline_parallel::inputs;
use ch07_pipeline_parallel::schedule::{Action, Schedule};
use clap::Parser;
use parity::pp_stage::Setting;
use serde_json::json;
use std::time::Instant;

/// Trains some steps, each stage on a thread of its own, and prints the last one as
/// JSON: for each stage its actions, and when each began and ended, in milliseconds
/// from the first one's beginning, waiting included.
#[derive(Parser)]
struct Args {
    /// gpipe, 1f1b, interleaved, zb-h1, zbv, or a file of actions
    #[arg(long, default_value = "1f1b")]
    schedule: Schedule,
    /// Stages
    #[arg(long, default_value_t = 2)]
    pp: usize,
    /// Chunks on each [default: 2 for interleaved and zbv, else 1]
    #[arg(long = "virtual")]
    chunks: Option<usize>,
    /// Micro-batches
    #[arg(long, default_value_t = 4)]
    micros: usize,
    /// Sequences of each
    #[arg(long, default_value_t = 1)]
    rows: usize,
    /// Tokens of each
    #[arg(long, default_value_t = 128)]
    seq_len: usize,
    /// A preset
    #[arg(long, default_value = "tiny")]
    preset: String,
    /// Layers, instead of the preset's
    #[arg(long)]
    layers: Option<usize>,
    /// Steps; the first ones choose plans for their products and take memory
    #[arg(long, default_value_t = 6)]
    steps: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let config = Config {
        model: args.preset,
        seq_len: args.seq_len,
        workers: 1,
        ..Config::default()
    };
    let mut model = inputs::open(&config)?.model;
    model.num_hidden_layers = args.layers.unwrap_or(model.num_hidden_layers);
    let setting = Setting {
        model,
        chunks: args.chunks.unwrap_or(args.schedule.usual_chunks()),
        schedule: args.schedule,
        pp: args.pp,
        micros: args.micros,
        rows: args.rows,
        seq_len: args.seq_len,
        recompute: Granularity::None,
    };
    let stages = setting.launch(|stage, batches| {
        for _ in 0..args.steps {
            // They begin together.
            stage.barrier()?;
            stage.step(batches)?;
        }
        Ok(stage.pipeline.times())
    })?;
    let times = || stages.iter().flatten().map(|(_, times)| *times);
    let start = times().map(|[start, _]| start).min().context("no action")?;
    let end = times().map(|[_, end]| end).max().context("no action")?;
    let at = |time: Instant| (time - start).as_secs_f64() * 1e3;
    let slot = |(action, [from, to]): &(Action, [Instant; 2])| {
        json!([action.to_string(), at(*from), at(*to)])
    };
    let stage = |slots: &Vec<_>| slots.iter().map(slot).collect::<Vec<_>>();
    let stages: Vec<_> = stages.iter().map(stage).collect();
    println!("{}", json!({"stages": stages, "step_ms": at(end)}));
    Ok(())
}
