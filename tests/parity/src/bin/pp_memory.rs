//! What each stage of chapter 7 keeps for backward at its peak, beside its plan.
use anyhow::Result;
use ch07_pipeline_parallel::config::{Config, Granularity};
use ch07_pipeline_parallel::inputs;
use clap::Parser;
use parity::pp_stage::{Setting, schedules};
use serde_json::{Map, json};

/// Makes a step in fp32 with each schedule, and prints as JSON: how many chunks'
/// activations each stage holds at most, as planned (`held`); the bytes that it kept
/// for backward at the peak, as counted (`peak`), and as its actions have it from what
/// single chunks keep (`predicted`); what a chunk between the first and the last keeps
/// of a micro-batch (`chunk`), and after the first half of backward (`half`); what is
/// put off with that (`put_off`).
#[derive(Parser)]
struct Args {
    /// A preset
    #[arg(long, default_value = "nano")]
    preset: String,
    /// Layers, instead of the preset's
    #[arg(long, default_value_t = 8)]
    layers: usize,
    /// Stages
    #[arg(long, default_value_t = 4)]
    pp: usize,
    /// Micro-batches
    #[arg(long, default_value_t = 8)]
    micros: usize,
    /// Tokens of the one sequence of each
    #[arg(long, default_value_t = 128)]
    seq_len: usize,
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
    model.num_hidden_layers = args.layers;
    let mut all = Map::new();
    for (name, schedule) in schedules()? {
        let setting = Setting {
            model: model.clone(),
            chunks: schedule.usual_chunks(),
            schedule,
            pp: args.pp,
            micros: args.micros,
            rows: 1,
            seq_len: args.seq_len,
            recompute: Granularity::None,
        };
        let (plan, kept) = (setting.plan()?, setting.measure()?);
        let stages = 0..args.pp;
        let held: Vec<_> = stages.clone().map(|stage| plan.most_held(stage)).collect();
        let predicted: Vec<_> =
            stages.map(|stage| kept[stage].predict(&plan, stage)).collect();
        let peak: Vec<_> = kept.iter().map(|kept| kept.peak).collect();
        let put_off: Vec<_> = kept.iter().map(|kept| kept.put_off).collect();
        // The last one has the head besides.
        let [chunk, half] = kept[plan.places[1]].chunks[&1];
        all.insert(
            name.into(),
            json!({
                "held": held,
                "peak": peak,
                "predicted": predicted,
                "chunk": chunk,
                "half": half,
                "put_off": put_off,
            }),
        );
    }
    println!("{}", serde_json::Value::Object(all));
    Ok(())
}
