//! A run that trains nothing and reports everything, to look at:
//! `cargo run -p runlog --example demo -- FOLDER [STEPS]`.

use memory::Family;
use runlog::{Interrupt, Last, Options, RunLog, Step};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "demo".into()));
    let steps = arguments.next().map_or(Ok(200), |n| n.parse())?;
    let interrupt = Interrupt::install()?;
    let mut log = RunLog::start(Options {
        steps,
        flops_per_token: 5e6,
        peak_flops: 1e12,
        convention: "6 × parameters per token, no attention".into(),
        jsonl: Some(folder.join("run.jsonl")),
        tensorboard: Some(folder.join("events")),
        header: serde_json::json!({"model": "none", "data": "none"}),
        quiet: false,
    })?;
    let parameters = {
        let _tag = memory::tag(Family::Parameters);
        vec![0f32; 2_000_000]
    };
    let (start, mut last) = (Instant::now(), Last::default());
    for step in 1..=steps {
        let began = Instant::now();
        let activations = {
            let _tag = memory::tag(Family::Activations);
            vec![1f32; 4_000_000]
        };
        std::thread::sleep(Duration::from_millis(30));
        drop(activations);
        let x = step as f64;
        let mut report = Step {
            step,
            loss: 1.7 + 3.0 / x.sqrt(),
            grad_norm: if step == 7 { f64::NAN } else { 1.0 / x },
            lr: 3e-4 * (1.0 - x / steps as f64),
            tokens: 1000,
            seconds: began.elapsed().as_secs_f64(),
            bytes_peak: memory::account(0).total.peak,
            ..Step::default()
        };
        report.extra.insert("bytes_sent".into(), (1000 * step).into());
        log.step(&report)?;
        if step % 50 == 0 {
            log.say(&format!("a word after step {step}"));
        }
        last.steps = step;
        last.tokens += report.tokens;
        last.interrupted = interrupt.requested();
        if last.interrupted {
            break;
        }
    }
    last.val_loss = Some(1.9);
    last.seconds = start.elapsed().as_secs_f64();
    last.memory = vec![memory::account(0)];
    drop(parameters);
    log.finish(&last)
}
