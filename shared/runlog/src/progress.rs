//! The progress line: live on a terminal, a line now and then elsewhere.

use crate::record::Step;
use crate::rhythm::Rhythm;
use crate::units;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Steps over which speed and time left are averaged.
const WINDOW: usize = 20;

/// The live line now on the terminal, if there is one.
static LIVE: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn live() -> Option<ProgressBar> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Shows a message on stderr, above the progress line if there is one. Any thread may.
pub fn say(line: &str) {
    // Whoever closed stderr does not want to read it: that is no reason to stop.
    let print = || drop(writeln!(std::io::stderr(), "{line}"));
    match live() {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Shows steps as they come.
#[derive(Debug)]
pub struct Progress {
    planned: u64,
    start: Instant,
    recent: VecDeque<(u64, f64)>,
    screen: Screen,
    /// The newest step's line, if it has not been shown to stay.
    unshown: Option<String>,
}

#[derive(Debug)]
enum Screen {
    Live(ProgressBar),
    Lines(Rhythm),
    Nothing,
}

impl Progress {
    pub fn new(planned: u64, quiet: bool) -> Progress {
        let smart = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let screen = if quiet {
            Screen::Nothing
        } else if std::io::stderr().is_terminal() && smart {
            let bar = ProgressBar::new(planned);
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            *LIVE.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
            Screen::Live(bar)
        } else {
            Screen::Lines(Rhythm::new(planned))
        };
        let (start, recent) = (Instant::now(), VecDeque::new());
        Progress { planned, start, recent, screen, unshown: None }
    }

    /// `mfu_seconds` times tokens per second is the MFU; 0 if it is unknown.
    pub fn step(&mut self, step: &Step, mfu_seconds: f64) {
        if matches!(self.screen, Screen::Nothing) {
            return;
        }
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((step.tokens, step.seconds));
        let line = self.line(step, mfu_seconds);
        match &mut self.screen {
            Screen::Lines(rhythm) => {
                let due = rhythm.due(step.step, self.start.elapsed().as_secs_f64());
                self.unshown = (!due).then(|| line.clone());
                if due {
                    say(&line);
                }
            }
            Screen::Live(bar) => {
                bar.set_message(line.clone());
                self.unshown = Some(line);
            }
            Screen::Nothing => {}
        }
    }

    fn line(&self, step: &Step, mfu_seconds: f64) -> String {
        let tokens: u64 = self.recent.iter().map(|&(tokens, _)| tokens).sum();
        let seconds: f64 = self.recent.iter().map(|&(_, seconds)| seconds).sum();
        let rate = tokens as f64 / seconds;
        let mfu = (mfu_seconds > 0.0).then_some(rate * mfu_seconds);
        let left = self.planned.saturating_sub(step.step) as f64 * seconds
            / self.recent.len() as f64;
        line(step, self.planned, rate, mfu, left)
    }

    /// Takes the live line away; the newest step's line stays.
    pub fn finish(&mut self) {
        if let Screen::Live(bar) = &self.screen {
            bar.finish_and_clear();
            *LIVE.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.screen = Screen::Nothing;
        if let Some(line) = self.unshown.take() {
            say(&line);
        }
    }
}

/// A run that ends in an error leaves a clean terminal and its last step in sight.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Columns keep their place while the numbers grow.
fn line(step: &Step, planned: u64, rate: f64, mfu: Option<f64>, left: f64) -> String {
    let width = planned.to_string().len();
    let mut line = format!(
        "step {:>width$}/{planned}  loss {:>7.4}  {:>5} tok/s",
        step.step,
        step.loss,
        units::count(rate)
    );
    if let Some(mfu) = mfu {
        line += &format!("  MFU {:>4} %", units::percent(mfu));
    }
    line += &format!("  mem {:>7}", units::bytes(step.bytes_peak));
    line + &format!("  {:>5} left", units::clock(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64, loss: f64, bytes_peak: u64) -> Step {
        Step { step, loss, bytes_peak, ..Step::default() }
    }

    #[test]
    fn the_line_is_as_promised() {
        let step = at(120, 2.34564, 512_000_000);
        assert_eq!(
            line(&step, 500, 12_345.0, Some(0.41), 72.0),
            "step 120/500  loss  2.3456  12.3k tok/s  MFU   41 %  mem  512 MB  \
             01:12 left"
        );
        assert!(!line(&step, 500, 1.0, None, 1.0).contains("MFU"));
    }

    #[test]
    fn columns_keep_their_place() {
        let lines = [
            line(&at(1, 10.9, 98_300_000), 500, 7.0, Some(0.0041), 59.0),
            line(&at(20, f64::NAN, 1_230_000_000), 500, 99_950.0, Some(0.07), 3000.0),
            line(&at(500, f64::INFINITY, 999), 500, f64::INFINITY, Some(1.2), 0.0),
        ];
        let places = |line: &String| {
            let words = ["loss", "tok/s", "MFU", "mem", "left"];
            words.map(|word| line.find(word).unwrap())
        };
        assert!(lines.iter().all(|l| places(l) == places(&lines[0])), "{lines:#?}");
    }

    #[test]
    fn speed_and_time_left_are_over_the_last_twenty_steps() {
        let mut progress = Progress::new(100, true);
        progress.screen = Screen::Lines(Rhythm::new(u64::MAX));
        for step in 1..=40 {
            let seconds = if step <= 20 { 60.0 } else { 0.5 };
            let step = Step { step, tokens: 1000, seconds, ..Step::default() };
            progress.step(&step, 0.0);
        }
        let line = progress.unshown.take().unwrap();
        assert!(line.contains("2.00k tok/s") && line.contains("00:30 left"), "{line}");
    }
}
