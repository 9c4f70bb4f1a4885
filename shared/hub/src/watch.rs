//! Waiting for a download only as long as it makes progress.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;

/// Runs a request in a thread of its own and waits while it makes progress: hf-hub
/// sets no timeouts, and a hub that accepts and says nothing would hang us for ever.
pub(crate) fn attended<T: Send + 'static>(
    endpoint: &str,
    patience: Duration,
    request: impl FnOnce(Watch) -> T + Send + 'static,
) -> Result<T> {
    let watch = Watch::default();
    let (done, result) = mpsc::channel();
    let in_thread = watch.clone();
    thread::Builder::new()
        .name("download".into())
        .spawn(move || done.send(request(in_thread)))
        .context("cannot start a thread for the download")?;
    loop {
        let idle = watch.state().last.elapsed();
        match result.recv_timeout(patience.saturating_sub(idle)) {
            Ok(result) => return Ok(result),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("{} gave an answer that hf-hub could not make sense of", endpoint)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let idle = watch.state().last.elapsed();
                ensure!(
                    idle < patience,
                    "{} has sent nothing for {:.0?}; check the network and try again: \
                     what has arrived is kept",
                    endpoint,
                    idle
                );
            }
        }
    }
}

/// Sees a download's progress: for the bar, for patience, and for the expected length.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<WatchState>>);

pub(crate) struct WatchState {
    /// When bytes last arrived.
    last: Instant,
    /// The file's length, once the hub has told it.
    pub expected: u64,
    bar: Option<ProgressBar>,
}

impl Default for WatchState {
    fn default() -> Self {
        Self { last: Instant::now(), expected: 0, bar: None }
    }
}

impl Watch {
    pub fn state(&self) -> MutexGuard<'_, WatchState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of_file(self, progress: bool) -> Self {
        self.state().bar = progress.then(|| ProgressBar::new(0));
        self
    }
}

impl hf_hub::api::Progress for Watch {
    fn init(&mut self, size: usize, filename: &str) {
        let mut state = self.state();
        state.last = Instant::now();
        state.expected = size as u64;
        if let Some(bar) = &mut state.bar {
            hf_hub::api::Progress::init(bar, size, filename);
        }
    }

    fn update(&mut self, size: usize) {
        let mut state = self.state();
        state.last = Instant::now();
        if let Some(bar) = &state.bar {
            bar.inc(size as u64);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = &self.state().bar {
            bar.finish();
        }
    }
}
