//! Ctrl-C: the first asks for a good end, the second ends at once. What a batch system
//! or a closed terminal sends (SIGTERM, SIGHUP) counts as Ctrl-C.

use crate::progress::say;
use anyhow::{Result, anyhow};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// Whether the user asked the run to end. Clones share the answer.
///
/// The training loop asks after each step. Ranks must agree on the step at which they
/// stop: let one of them ask and tell the others.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

static INSTALLED: OnceLock<Result<Interrupt, String>> = OnceLock::new();

impl Interrupt {
    /// From now on the first Ctrl-C is noted here, with a word to the user, and the
    /// second ends the process at once with status 130. Installing again gives the
    /// same `Interrupt`.
    ///
    /// # Errors
    /// If the signal cannot be handled, or is handled by someone else already.
    pub fn install() -> Result<Interrupt> {
        let installed = INSTALLED.get_or_init(|| {
            let interrupt = Interrupt::default();
            let handler = interrupt.clone();
            ctrlc::set_handler(move || handler.pressed())
                .map(|()| interrupt)
                .map_err(|error| error.to_string())
        });
        let cannot = |error| anyhow!("cannot listen for Ctrl-C: {error}");
        installed.clone().map_err(cannot)
    }

    /// Whether the run should end after the present step.
    pub fn requested(&self) -> bool {
        self.requested.load(SeqCst)
    }

    /// Asks for the end, as Ctrl-C does. `Interrupt::default()` hears nothing else.
    pub fn request(&self) {
        self.requested.store(true, SeqCst);
    }

    fn pressed(&self) {
        if self.requested.swap(true, SeqCst) {
            exit();
        }
        // In a thread of its own: a terminal that takes no output must not keep the
        // second press from being heard.
        let word = || say("finishing this step; press again to quit at once");
        drop(std::thread::Builder::new().spawn(word));
    }
}

/// Ends the process without its exit handlers, which might wait for a busy thread.
fn exit() -> ! {
    const STATUS: i32 = 128 + 2; // as shells report SIGINT
    #[cfg(unix)]
    // SAFETY: ends the process; any thread may.
    unsafe {
        libc::_exit(STATUS)
    }
    #[cfg(not(unix))]
    std::process::exit(STATUS)
}
