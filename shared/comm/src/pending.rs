//! A call that was started, and is waited for later.
use crate::error::Result;
use crate::group::Group;
use crate::ledger::Stopwatch;
use crate::threads::Slot;
use std::sync::Arc;
use std::time::Instant;

/// A call in flight, and the memory that it works on.
///
/// Dropping it waits for the call, since others may still read that memory.
#[must_use = "a started call is over only when it was waited for"]
pub struct Pending<L> {
    /// `None` in a group of one, and once it was waited for.
    pub(crate) flight: Option<Flight>,
    /// Boxed: what it lends must not move with it.
    pub(crate) lease: Option<Box<L>>,
}

pub(crate) struct Flight {
    pub group: Group,
    pub slot: Arc<Slot>,
    pub started: Instant,
    pub stopwatch: Stopwatch,
}

impl<L> Pending<L> {
    /// Whether it is over, so that waiting would take no time.
    pub fn is_over(&self) -> bool {
        self.flight.as_ref().is_none_or(|flight| flight.slot.is_over())
    }
    /// Waits until it is over, and returns the memory.
    ///
    /// # Errors
    /// Another rank failed, or will never make its part of the call.
    pub fn wait(mut self) -> Result<L> {
        self.land()?;
        match self.lease.take() {
            Some(lease) => Ok(*lease),
            None => unreachable!("taken only here, where `self` ends"),
        }
    }
    fn land(&mut self) -> Result<()> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let waiting = Instant::now();
        flight.group.until_over(&flight.slot)?;
        let over = flight.slot.over_at().unwrap_or(waiting);
        // What went on while this rank did something else.
        let hidden = over.min(waiting).duration_since(flight.started);
        flight.stopwatch.stop(waiting.elapsed(), hidden);
        Ok(())
    }
}

impl<L> Drop for Pending<L> {
    fn drop(&mut self) {
        // An error is no news: every later call of this rank returns it.
        let _ = self.land();
    }
}
