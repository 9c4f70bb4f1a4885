//! Ranks as threads of one process, which read and write each other's memory.
//!
//! When a slot is ready, each member works on a part of its own, for all; when all are
//! done, the call is over. From the moment on that it is ready, nothing can fail any
//! more: a member may not go home with an error and free memory that others still read.
use crate::call::Call;
use crate::engine::{Engine, Flight, Part};
use crate::error::{Error, Result};
use crate::world::{Slot, World};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::Builder;
use std::time::Instant;

/// Looks at a slot before a thread goes to sleep; most calls are over sooner.
const LOOKS: usize = 400;

/// One rank.
pub(crate) struct Threads {
    world: Arc<World>,
    rank: usize,
    /// Of each group, who makes this rank's part of started calls, one after the other.
    helpers: Mutex<HashMap<u64, Sender<Arc<Slot>>>>,
}

impl Threads {
    pub fn new(world: Arc<World>, rank: usize) -> Threads {
        Threads { world, rank, helpers: Mutex::default() }
    }
    fn helpers(&self) -> MutexGuard<'_, HashMap<u64, Sender<Arc<Slot>>>> {
        self.helpers.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Makes this rank's part of started calls while the rank goes on. Each group has a
    /// helper of its own, so that none waits for another's calls.
    fn helper(&self, part: &Part) -> Result<Sender<Arc<Slot>>> {
        let mut helpers = self.helpers();
        if let Some(helper) = helpers.get(&part.key.group) {
            return Ok(helper.clone());
        }
        let (sender, slots) = channel::<Arc<Slot>>();
        let (world, place, rank) = (self.world.clone(), part.place, self.rank);
        let run = move || {
            memory::set_rank(rank);
            // A call that failed is reported by whoever waits for it.
            while let Ok(slot) = slots.recv() {
                if world.wait(&slot, None, Slot::is_ready).is_ok() {
                    world.work(&slot, place);
                }
            }
        };
        let name = format!("rank {rank}, {}", part.title);
        Builder::new().name(name).spawn(run).map_err(|error| {
            Error::new(format!("rank {rank}: no thread for a helper: {error}"))
        })?;
        helpers.insert(part.key.group, sender.clone());
        Ok(sender)
    }
}

impl Engine for Threads {
    fn group(&self, words: String) -> Result<u64> {
        Ok(self.world.group(words))
    }
    fn left(&self, group: u64) {
        self.helpers().remove(&group);
    }
    fn post(&self, part: Part, call: Call, started: bool) -> Result<Box<dyn Flight>> {
        let (world, place) = (self.world.clone(), part.place);
        let message = part.key.ends.is_some();
        let helper = (started && !message).then(|| self.helper(&part)).transpose()?;
        let (slot, last) = world.post(part, call)?;
        // Whoever comes second copies a message.
        if message && last {
            world.work(&slot, place);
        }
        if let Some(helper) = helper {
            // It ends only with this engine.
            let _ = helper.send(slot.clone());
        }
        let works = (!started && !message).then_some(place);
        Ok(Box::new(Seat { world, slot, rank: self.rank, works }))
    }
    fn give_up(&self, error: Error) {
        self.world.give_up(error);
    }
}

/// One member's place in a slot.
struct Seat {
    world: Arc<World>,
    slot: Arc<Slot>,
    rank: usize,
    /// Its place, if it does its part of the work itself.
    works: Option<usize>,
}

impl Flight for Seat {
    fn wait(&self) -> Result<()> {
        let Seat { world, slot, rank, works } = self;
        if let Some(place) = works {
            world.wait(slot, Some(*rank), Slot::is_ready)?;
            world.work(slot, *place);
        }
        world.wait(slot, Some(*rank), Slot::is_over)
    }
    fn is_over(&self) -> bool {
        self.slot.is_over() || self.world.is_hopeless(&self.slot)
    }
    fn over_at(&self) -> Option<Instant> {
        self.slot.over.get().copied()
    }
}

impl World {
    /// Does a member's part of the work of a slot that is ready; of a message, both
    /// members'.
    fn work(&self, slot: &Slot, place: usize) {
        let calls: Vec<&Call> = slot.calls.iter().filter_map(OnceLock::get).collect();
        let guard = Unfinished;
        // SAFETY: all members have posted, and none returns, or drops what it has lent,
        // before all are done.
        unsafe { (calls[place].work)(&calls, place) }
        std::mem::forget(guard);
        let parts = if slot.part.key.ends.is_some() { 2 } else { 1 };
        let done = slot.done.fetch_add(parts, Ordering::AcqRel) + parts;
        if done == slot.part.members.len() {
            let _ = slot.over.set(Instant::now());
            // Whoever looked before that, and is about to sleep, holds the lock.
            drop(self.lock());
            slot.bell.notify_all();
        }
    }
    /// Waits until all members have posted, or are done. `rank` is who waits; `None`
    /// for one of its helpers, while it may go on itself.
    ///
    /// # Errors
    /// They never will.
    pub fn wait(
        &self,
        slot: &Arc<Slot>,
        rank: Option<usize>,
        reached: fn(&Slot) -> bool,
    ) -> Result<()> {
        for look in 0..LOOKS {
            if reached(slot) {
                return Ok(());
            }
            if look % 8 == 7 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let mut state = self.lock();
        let mut outcome = Ok(());
        while !reached(slot) {
            // A slot that is ready will be over, whatever happens elsewhere; one that
            // is not will never be after a failure.
            if !slot.is_ready() {
                if let Some(rank) = rank {
                    state.waits(rank, slot);
                }
                if let Some(failure) = &state.failure {
                    outcome = Err(failure.clone());
                    break;
                }
            }
            state = slot.bell.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        if let Some(rank) = rank {
            state.runs(rank);
        }
        outcome
    }
}

/// Others would wait for ever, or read what was freed, if a part of a call that is
/// ready were not made.
struct Unfinished;

impl Drop for Unfinished {
    fn drop(&mut self) {
        eprintln!("comm: a panic in the middle of a call");
        std::process::abort()
    }
}
