//! What the stages of chapter 7 send each other, counted beside its closed form.
use anyhow::Result;
use ch07_pipeline_parallel::config::{Config, Granularity};
use ch07_pipeline_parallel::inputs;
use clap::Parser;
use parity::pp_stage::{Setting, schedules};
use serde_json::{Map, Value, json};

/// Makes a step with each schedule on 1, 2 and 4 stages, and prints as JSON the bytes
/// of hidden states and of their gradients that each stage sends: counted (`sent`), and
/// as micro-batches times batch times sequence times hidden size times bytes of a
/// number, for each boundary to a chunk on another stage (`predicted`).
#[derive(Parser)]
struct Args {
    /// A preset
    #[arg(long, default_value = "nano")]
    preset: String,
    /// Layers, instead of the preset's
    #[arg(long, default_value_t = 8)]
    layers: usize,
    /// Numbers of stages
    #[arg(long, num_args = 1.., default_values_t = [1, 2, 4])]
    pp: Vec<usize>,
    /// Micro-batches
    #[arg(long, default_value_t = 8)]
    micros: usize,
    /// Tokens of the one sequence of each
    #[arg(long, default_value_t = 32)]
    seq_len: usize,
}

/// What stages send each other.
const FAMILIES: [&str; 2] = ["activations", "activation gradients"];

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
        let mut of_schedule = Map::new();
        for pp in &args.pp {
            let setting = Setting {
                model: model.clone(),
                chunks: schedule.usual_chunks(),
                schedule: schedule.clone(),
                pp: *pp,
                micros: args.micros,
                rows: 1,
                seq_len: args.seq_len,
                recompute: Granularity::None,
            };
            let places = setting.plan()?.places;
            // Of one micro-batch, in fp32.
            let once = args.seq_len * model.hidden_size * 4;
            let sent = setting.launch(|stage, batches| {
                stage.step(batches)?;
                let lines = stage.communication();
                let ours = lines.iter().filter(|line| FAMILIES.contains(&line.family));
                Ok(ours.map(|line| line.entry.bytes).sum::<u64>())
            })?;
            let predicted = (0..*pp).map(|stage| {
                // Forward from one side of a boundary, backward from the other.
                let crossed = places.windows(2).filter(|pair| pair[0] != pair[1]);
                let sides = crossed.flatten().filter(|side| **side == stage);
                sides.count() * args.micros * once
            });
            let predicted: Vec<_> = predicted.collect();
            let counts = json!({"sent": sent, "predicted": predicted});
            of_schedule.insert(pp.to_string(), counts);
        }
        all.insert(name.into(), Value::Object(of_schedule));
    }
    println!("{}", Value::Object(all));
    Ok(())
}
