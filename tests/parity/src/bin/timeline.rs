//! One step of chapter 4 as it went on each rank, in few lines: what a trace has
//! operation by operation, here phase by phase.
use anyhow::{Context, Result, ensure};
use ch04_data_parallel::config::Switch;
use ch04_data_parallel::{Config, run};
use clap::Parser;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Traces some steps with overlap, as many without, and prints for both the step whose
/// time is the median: for each rank and track when each phase began and ended, in
/// milliseconds from the beginning of the step. What is shorter than 50 µs is left out,
/// but for the calls of the group.
#[derive(Parser)]
struct Args {
    /// A preset
    #[arg(long, default_value = "tiny")]
    model: String,
    /// Ranks
    #[arg(long, default_value_t = 2)]
    dp: usize,
    /// Sequences of a rank's micro-batch, of which it has one in a step
    #[arg(long, default_value_t = 1)]
    micro_batch: usize,
    /// Tokens of a sequence
    #[arg(long, default_value_t = 128)]
    seq_len: usize,
    /// Steps to choose from, after three to warm up
    #[arg(long, default_value_t = 21)]
    steps: usize,
    /// Print a step of this trace instead
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

/// Not counted: the first steps choose plans for their products and take memory.
const WARM_UP: usize = 3;

fn main() -> Result<()> {
    let args = Args::parse();
    println!(
        "{:<8} {:>4} {:<8} {:>8} {:>8}  phase",
        "overlap", "rank", "track", "from", "to"
    );
    if let Some(file) = &args.trace {
        return show("?", file);
    }
    let folder = tempfile::tempdir()?;
    for (name, overlap) in [("on", Switch::On), ("off", Switch::Off)] {
        let file = folder.path().join("trace.json");
        run(&Config {
            model: args.model.clone(),
            threads: 1,
            steps: (WARM_UP + args.steps) as u64,
            seq_len: args.seq_len,
            micro_batch: args.micro_batch,
            global_batch: args.micro_batch * args.dp,
            dp: args.dp,
            validation_sequences: 1,
            quiet: true,
            trace: Some(file.clone()),
            overlap,
            ..Config::default()
        })?;
        show(name, &file)?;
    }
    Ok(())
}

/// In microseconds: what is left out.
const SHORT: f64 = 50.0;

/// What a rank did for a time, in microseconds.
struct Event {
    rank: u64,
    track: String,
    name: String,
    category: String,
    from: f64,
    to: f64,
    bytes: Option<u64>,
}

/// The step of median time of the trace in `file`.
fn show(overlap: &str, file: &Path) -> Result<()> {
    let events = read(file).with_context(|| format!("{}", file.display()))?;
    // A step begins when all ranks have agreed not to stop.
    let agreed = |e: &&Event| e.name == "interrupt" && e.track == "wait" && e.rank == 0;
    let starts: Vec<f64> = events.iter().filter(agreed).map(|e| e.to).collect();
    let mut steps: Vec<[f64; 2]> =
        starts.windows(2).skip(WARM_UP).map(|pair| [pair[0], pair[1]]).collect();
    ensure!(!steps.is_empty(), "a trace of fewer than {} steps", WARM_UP + 2);
    steps.sort_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
    let [start, end] = steps[steps.len() / 2];
    let ranks = events.iter().map(|e| e.rank).max().unwrap_or(0);
    for rank in 0..=ranks {
        let mine = |e: &&Event| e.rank == rank && e.from < end && e.to > start;
        for track in ["compute", "data", "wait"] {
            let on = |e: &&Event| mine(e) && e.track == track;
            let mut found: Vec<&Event> = events.iter().filter(on).collect();
            found.sort_by(|a, b| a.from.total_cmp(&b.from));
            for (phase, from, to) in phases(track, &found) {
                if track != "data" && to - from < SHORT {
                    continue;
                }
                let at = |time: f64| (time.clamp(start, end) - start) / 1e3;
                let (from, to) = (at(from), at(to));
                println!(
                    "{overlap:<8} {rank:>4} {track:<8} {from:>8.3} {to:>8.3}  {phase}"
                );
            }
        }
    }
    Ok(())
}

/// Neighbours of the same kind are one phase; calls are one each.
fn phases(track: &str, events: &[&Event]) -> Vec<(String, f64, f64)> {
    let mut phases: Vec<(String, f64, f64)> = vec![];
    let mut bucket = events.iter().filter(|e| e.name == "gradients").count();
    for event in events {
        let phase = match track {
            "compute" => event.category.clone(),
            "data" if event.name == "gradients" => {
                // The last bucket leaves first.
                bucket -= 1;
                format!("bucket {bucket}, {} bytes", event.bytes.unwrap_or(0))
            }
            _ => event.name.clone(),
        };
        match phases.last_mut() {
            // Nothing but reading a clock lies between.
            Some((last, _, to))
                if *last == phase && track != "data" && event.from - *to < 20.0 =>
            {
                *to = event.to
            }
            _ => phases.push((phase, event.from, event.to)),
        }
    }
    phases
}

fn read(file: &Path) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(file)?;
    let trace: Value = serde_json::from_str(&text)?;
    let all = trace["traceEvents"].as_array().context("no traceEvents")?;
    let mut tracks = BTreeMap::new();
    let mut events = vec![];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    for event in all {
        let rank = event["pid"].as_u64().context("an event of no process")?;
        let place = (rank, event["tid"].as_u64());
        if event["name"] == "thread_name" {
            tracks.insert(place, text(&event["args"]["name"]));
        }
        if let (Some(from), Some(long)) = (event["ts"].as_f64(), event["dur"].as_f64())
        {
            events.push(Event {
                rank,
                track: tracks.get(&place).cloned().unwrap_or_default(),
                name: text(&event["name"]),
                category: text(&event["cat"]),
                from,
                to: from + long,
                bytes: event["args"]["bytes"].as_u64(),
            });
        }
    }
    Ok(events)
}
