//! What a run tells its user: a progress line, a record per step, TensorBoard scalars,
//! and a summary with the memory account.
//!
//! ```no_run
//! use runlog::{Interrupt, Last, Options, RunLog, Step};
//!
//! # fn main() -> anyhow::Result<()> {
//! let interrupt = Interrupt::install()?; // Ctrl-C
//! let mut log = RunLog::start(Options {
//!     steps: 500,
//!     flops_per_token: 6.0 * 8e6,
//!     peak_flops: 1.2e11,
//!     convention: "6 × parameters per token, no attention".into(),
//!     jsonl: Some("run.jsonl".into()),
//!     header: serde_json::json!({"model": "tiny", "seed": 1}),
//!     ..Options::default()
//! })?;
//! let mut last = Last::default();
//! for step in 1..=500 {
//!     // … train …
//!     let (loss, tokens, seconds) = (2.5, 1024, 0.1);
//!     log.step(&Step { step, loss, tokens, seconds, ..Step::default() })?;
//!     last = Last { steps: step, ..last };
//!     if interrupt.requested() {
//!         last.interrupted = true;
//!         break;
//!     }
//! }
//! log.finish(&Last { memory: vec![memory::account(0)], ..last })?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything shown goes to stderr; stdout is left to what a program makes. On a
//! terminal the progress is one live line, elsewhere a line now and then (the first
//! three steps, every twentieth of the run, every ten seconds, and the last step).
//!
//! **The JSONL file**, one record a line:
//!
//! - first, `run`: the header; `steps`: how many are planned; and `mfu`:
//!   `flops_per_token`, `peak_flops`, `convention`;
//! - for each step, the fields of [`Step`]: `step`, `loss`, `grad_norm`, `lr`,
//!   `tokens`, `seconds`, `bytes_peak`, and whatever is in `extra`;
//! - last, `last`: the fields of [`Last`], with `memory` per rank and family and
//!   `process_peak` in bytes; and `val_loss`, `null` if it was not measured.
//!
//! Numbers are written so that reading them gives the same `f64`. JSON has no NaN and
//! no infinity: such a field is `null`, and the record then has `"nonfinite": {"loss":
//! "NaN"}` (or `"inf"`, `"-inf"`). Each record is in the file before [`RunLog::step`]
//! returns, so that a run killed later keeps it. [`read`] reads a file back.

mod interrupt;
mod jsonl;
mod progress;
mod record;
mod rhythm;
mod summary;
mod tensorboard;
mod units;

pub use interrupt::Interrupt;
pub use jsonl::{Log, read};
pub use progress::say;
pub use record::{Last, Step};
pub use tensorboard::{Events, crc32c};

use anyhow::{Context, Result, ensure};
use progress::Progress;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What a run is and where it reports.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The step the run is to end with.
    pub steps: u64,
    /// Floating-point operations per target token, forward and backward, as
    /// [`convention`](Self::convention) counts them.
    pub flops_per_token: f64,
    /// Dense peak of all devices together, FLOP/s; 0 if unknown: then no MFU is shown.
    pub peak_flops: f64,
    /// In words, what `flops_per_token` counts. Shown once, at the start.
    pub convention: String,
    /// The file of records. One that exists is moved aside to `NAME.1`, `NAME.2`, ….
    pub jsonl: Option<PathBuf>,
    /// The folder for a TensorBoard event file.
    pub tensorboard: Option<PathBuf>,
    /// Model, data and flags: the `run` field of the first record.
    pub header: Value,
    /// Shows neither progress nor summary. Files are written all the same, and
    /// [`RunLog::say`] still speaks.
    pub quiet: bool,
}

/// The one place a run reports to. In a run of many ranks, one of them has it.
#[derive(Debug)]
pub struct RunLog {
    progress: Progress,
    jsonl: Option<jsonl::Writer>,
    events: Option<Events>,
    /// Model FLOPs per token, as a fraction of the peak's FLOPs per second.
    mfu_seconds: f64,
    planned: u64,
    quiet: bool,
    /// The last step reported.
    at: u64,
}

impl RunLog {
    /// Opens the files, before any work is done, and writes the first record.
    ///
    /// # Errors
    /// A file or folder that cannot be made or written, or a JSONL file that another
    /// run is writing.
    pub fn start(options: Options) -> Result<RunLog> {
        let mfu = json!({
            "flops_per_token": options.flops_per_token,
            "peak_flops": options.peak_flops,
            "convention": options.convention,
        });
        let header = json!({"run": options.header, "steps": options.steps, "mfu": mfu});
        // The folder first: it harms nobody, while the file may move another aside.
        let events = options.tensorboard.as_deref().map(Events::create).transpose()?;
        let mut jsonl = options.jsonl.map(jsonl::Writer::create).transpose()?;
        if let Some(jsonl) = &mut jsonl {
            if let Some(moved) = jsonl.moved() {
                say(&moved);
            }
            jsonl.write(&header)?;
        }
        let known = options.peak_flops > 0.0;
        if known && !options.quiet && !options.convention.is_empty() {
            let peak = units::with_unit(options.peak_flops, "FLOP/s");
            say(&format!("MFU: {}, of {peak}", options.convention));
        }
        let mfu_seconds =
            if known { options.flops_per_token / options.peak_flops } else { 0.0 };
        Ok(RunLog {
            progress: Progress::new(options.steps, options.quiet),
            jsonl,
            events,
            mfu_seconds,
            planned: options.steps,
            quiet: options.quiet,
            at: 0,
        })
    }

    /// Records a step and shows it, if it is time to.
    ///
    /// # Errors
    /// A step that does not come after the one before, an `extra` field with the name
    /// of another field, or a file that cannot be written.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        ensure!(
            step.step > self.at,
            "step {} was reported after step {}: steps are numbered from 1, upwards",
            step.step,
            self.at
        );
        self.at = step.step;
        if let Some(jsonl) = &mut self.jsonl {
            jsonl.write(&record::step(step)?)?;
        }
        let rate = step.tokens as f64 / step.seconds;
        if let Some(events) = &mut self.events {
            let mut scalars = vec![
                ("train/loss", step.loss),
                ("train/grad_norm", step.grad_norm),
                ("train/lr", step.lr),
                ("train/tokens_per_second", rate),
                ("memory/peak_bytes", step.bytes_peak as f64),
            ];
            if self.mfu_seconds > 0.0 {
                scalars.push(("train/mfu", rate * self.mfu_seconds));
            }
            let named = |(name, value): (&'static str, f64)| (name.to_string(), value);
            let extra = step.extra.iter().filter_map(|(name, value)| {
                Some((format!("extra/{name}"), value.as_f64()?))
            });
            events.scalars(step.step, scalars.into_iter().map(named).chain(extra))?;
        }
        self.progress.step(step, self.mfu_seconds);
        Ok(())
    }

    /// Shows a message without tearing the progress line. [`say`] does the same for
    /// those who have no `RunLog` at hand.
    pub fn say(&mut self, line: &str) {
        say(line);
    }

    /// Writes the last record and shows the summary.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(mut self, last: &Last) -> Result<()> {
        self.progress.finish();
        if let (Some(events), Some(loss)) = (&mut self.events, last.val_loss) {
            let scalar = ("validation/loss".to_string(), loss);
            events.scalars(last.steps, [scalar].into_iter())?;
        }
        if let Some(jsonl) = &mut self.jsonl {
            jsonl.write(&record::last(last))?;
            jsonl.sync().context("the run itself is complete")?;
        }
        if !self.quiet {
            say(&summary::text(last, self.planned));
            if let Some(jsonl) = &self.jsonl {
                say(&format!("records: {}", jsonl.path().display()));
            }
        }
        Ok(())
    }
}
