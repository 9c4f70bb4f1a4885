//! A call that was started, and is waited for later.
use crate::engine::Flight;
use crate::error::Result;
use crate::group::Group;
use crate::ledger::Stopwatch;
use std::ops::DerefMut;
use std::ptr::NonNull;
use std::time::Instant;

/// A call in flight, and the memory that it works on.
///
/// Dropping it waits for the call, since others may still read that memory. (If it is
/// forgotten, the memory is never freed.)
#[must_use = "a started call is over only when it was waited for"]
pub struct Pending<L> {
    /// `None` in a group of one, and once it was waited for.
    journey: Option<Journey>,
    lease: Lease<L>,
}

pub(crate) struct Journey {
    pub group: Group,
    pub flight: Box<dyn Flight>,
    pub stopwatch: Stopwatch,
}

/// Memory that others have pointers into: it stays where it is, and nobody claims it
/// while the lease moves.
pub(crate) struct Lease<L>(NonNull<L>);

impl<T, L: DerefMut<Target = [T]>> Lease<L> {
    /// With what `call` makes of the memory.
    pub fn new<C>(lease: L, call: impl FnOnce(&mut [T]) -> C) -> (Lease<L>, C) {
        let start = NonNull::from(Box::leak(Box::new(lease)));
        // SAFETY: nobody else has the pointer yet.
        let call = call(unsafe { &mut *start.as_ptr() });
        (Lease(start), call)
    }
}

impl<T, L, M> Lease<(L, M)>
where
    L: DerefMut<Target = [T]>,
    M: DerefMut<Target = [T]>,
{
    /// As [`Lease::new`], of memory in two places.
    pub fn pair<C>(
        leases: (L, M),
        call: impl FnOnce(&mut [T], &mut [T]) -> C,
    ) -> (Lease<(L, M)>, C) {
        let start = NonNull::from(Box::leak(Box::new(leases)));
        // SAFETY: nobody else has the pointer yet.
        let (first, second) = unsafe { &mut *start.as_ptr() };
        let call = call(first, second);
        (Lease(start), call)
    }
}

impl Lease<()> {
    /// Of a call that works on no memory.
    pub fn none() -> Lease<()> {
        Lease(NonNull::from(Box::leak(Box::new(()))))
    }
}

impl<L> Lease<L> {
    /// # Safety
    /// The call is over, and the lease is not used again.
    unsafe fn free(&mut self) -> Box<L> {
        // SAFETY: it was leaked from a box; the caller's.
        unsafe { Box::from_raw(self.0.as_ptr()) }
    }
}

impl<L> Pending<L> {
    /// Of what is not under way.
    pub(crate) fn new(lease: Lease<L>) -> Pending<L> {
        Pending { journey: None, lease }
    }
    /// From now on it is under way.
    pub(crate) fn fly(
        &mut self,
        group: Group,
        flight: Box<dyn Flight>,
        mut stopwatch: Stopwatch,
    ) {
        stopwatch.fly();
        self.journey = Some(Journey { group, flight, stopwatch });
    }
    /// Whether waiting would take no time: it is over, or some rank has failed or
    /// returned without it. Between two questions do something: a rank that only asks
    /// counts as one that computes, for which others may wait.
    pub fn is_over(&self) -> bool {
        self.journey.as_ref().is_none_or(|journey| journey.flight.is_over())
    }
    /// Waits until it is over, and returns the memory.
    ///
    /// # Errors
    /// Another rank failed, or will never make its part of the call. The memory is
    /// freed then.
    pub fn wait(mut self) -> Result<L> {
        self.land()?;
        // SAFETY: it has landed, and `self` is not dropped.
        let lease = unsafe { self.lease.free() };
        std::mem::forget(self);
        Ok(*lease)
    }
    fn land(&mut self) -> Result<()> {
        let Some(journey) = self.journey.take() else { return Ok(()) };
        let waiting = Instant::now();
        journey.flight.wait()?;
        journey.stopwatch.land(waiting, journey.flight.over_at());
        Ok(())
    }
}

impl<L> Drop for Pending<L> {
    fn drop(&mut self) {
        if let (Some(journey), true) = (&self.journey, std::thread::panicking()) {
            // Others need not wait for a rank that is on its way out.
            journey.group.give_up();
        }
        // An error is no news: every later call of this rank returns it.
        let _ = self.land();
        // SAFETY: it has landed, or failed and will never be made; and this is the end.
        drop(unsafe { self.lease.free() });
    }
}
