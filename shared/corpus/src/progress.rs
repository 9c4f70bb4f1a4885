//! A progress bar that shows itself only when there is something to wait for.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long a task may take before it is worth a bar.
const PATIENCE: Duration = Duration::from_millis(700);

/// A bar over bytes; hidden for the first moment, if asked, and off a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    wanted: bool,
    started: Instant,
}

impl Progress {
    /// A bar for `bytes` of work, labelled `what`.
    pub(crate) fn new(what: &'static str, bytes: u64, quiet: bool) -> Progress {
        let bar =
            ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        let wanted = !quiet && stderr().is_terminal();
        Progress { bar, wanted, started: Instant::now() }
    }

    /// `bytes` more are done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        if self.wanted && self.started.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.wanted = false;
        }
        self.bar.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
