//! Ranks as threads of one process, which read and write each other's memory.
//!
//! A call of several ranks is a [`Slot`]. Each member *posts* its part; when all have,
//! the slot is *ready*, and each member works on a part of its own, for all; when all
//! are done, the call is over. A rank that has to wait says so: if no rank is left that
//! could still post what the waiting ones need, they would wait for ever, and all are
//! told. That is decided by who waits for whom, not by a clock, so a slow rank is no
//! false alarm.
//!
//! From the moment on that a slot is ready, nothing can fail any more: a member may not
//! go home with an error and free memory that others still read.
use crate::call::Call;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

/// Looks at a slot before a thread goes to sleep; most calls are over sooner.
const LOOKS: usize = 400;

/// All ranks.
pub(crate) struct World {
    state: Mutex<State>,
}

struct State {
    slots: HashMap<Key, Arc<Slot>>,
    ranks: Vec<Rank>,
    /// Numbers of groups, by what makes them different.
    groups: HashMap<String, u64>,
    failure: Option<Error>,
}

/// What a rank is doing.
enum Rank {
    Running,
    /// For the others' part of a call.
    Waiting(Arc<Slot>),
    Returned,
}

/// Which call: the group's number, of a message its ends, and how many came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub group: u64,
    pub ends: Option<[usize; 2]>,
    pub ordinal: u64,
}

/// One call of several ranks.
pub(crate) struct Slot {
    key: Key,
    /// The group's name, for messages.
    name: Arc<str>,
    /// Ranks of the world.
    members: Arc<[usize]>,
    calls: Box<[OnceLock<Call>]>,
    ready: AtomicBool,
    done: AtomicUsize,
    /// When the last member was done.
    over: OnceLock<Instant>,
    bell: Condvar,
}

impl Slot {
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
    pub fn is_over(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.members.len()
    }
    pub fn over_at(&self) -> Option<Instant> {
        self.over.get().copied()
    }
    fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.members.iter().zip(&self.calls);
        all.filter(|(_, call)| call.get().is_none()).map(|(rank, _)| *rank)
    }
    /// `call 3 of group dp [0, 1]`.
    fn name(&self) -> String {
        let what = if self.key.ends.is_some() { "message" } else { "call" };
        format!("{what} {} of group {}", self.key.ordinal, self.name)
    }
    /// Why what the member at `place` posted cannot be one call with what others have.
    fn disagreement(&self, place: usize) -> Option<String> {
        let posted = || self.calls.iter().enumerate();
        let own = self.calls[place].get()?;
        let counts = |a: &Call, b: usize, which: usize| a.counts[which].get(b).copied();
        let mut others = posted().filter_map(|(i, call)| Some((i, call.get()?)));
        let differs = others.any(|(i, other)| {
            (i != place && !own.agrees(other))
                || counts(own, i, 0) != counts(other, place, 1)
                || counts(own, i, 1) != counts(other, place, 0)
        });
        differs.then(|| {
            let mut text = format!("ranks disagree about {}:", self.name());
            for (place, call) in posted() {
                if let Some(call) = call.get() {
                    let _ = write!(text, "\n  rank {}: {call}", self.members[place]);
                }
            }
            text
        })
    }
}

impl World {
    pub fn new(ranks: usize) -> Arc<World> {
        let ranks = (0..ranks).map(|_| Rank::Running).collect();
        let (slots, groups) = Default::default();
        let state = State { slots, ranks, groups, failure: None };
        Arc::new(World { state: Mutex::new(state) })
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// The number of a group, the same for all who ask with the same words.
    pub fn group(&self, words: String) -> u64 {
        let groups = &mut self.lock().groups;
        let next = groups.len() as u64;
        *groups.entry(words).or_insert(next)
    }
    /// Posts a member's part; also returns whether it was the last.
    ///
    /// # Errors
    /// It disagrees with what others have posted, or an earlier call has failed.
    pub fn post(
        &self,
        key: Key,
        name: &Arc<str>,
        members: &Arc<[usize]>,
        place: usize,
        call: Call,
    ) -> Result<(Arc<Slot>, bool)> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let slot = state.slots.entry(key).or_insert_with(|| {
            Arc::new(Slot {
                key,
                name: name.clone(),
                members: members.clone(),
                calls: members.iter().map(|_| OnceLock::new()).collect(),
                ready: AtomicBool::new(false),
                done: AtomicUsize::new(0),
                over: OnceLock::new(),
                bell: Condvar::new(),
            })
        });
        let slot = slot.clone();
        let _ = slot.calls[place].set(call);
        if let Some(why) = slot.disagreement(place) {
            return Err(self.fail(&mut state, Error::new(why)));
        }
        let last = slot.missing().next().is_none();
        if last {
            state.slots.remove(&key);
            slot.ready.store(true, Ordering::Release);
            slot.bell.notify_all();
        }
        Ok((slot, last))
    }
    /// Does a member's part of the work of a slot that is ready; of a message, both
    /// members'.
    pub fn work(&self, slot: &Slot, place: usize) {
        let calls: Vec<&Call> = slot.calls.iter().filter_map(OnceLock::get).collect();
        let guard = Unfinished;
        // SAFETY: all members have posted, and none returns, or drops what it has lent,
        // before all are done.
        unsafe { (calls[place].work)(&calls, place) }
        std::mem::forget(guard);
        let parts = if slot.key.ends.is_some() { 2 } else { 1 };
        let done = slot.done.fetch_add(parts, Ordering::AcqRel) + parts;
        if done == slot.members.len() {
            let _ = slot.over.set(Instant::now());
            // Whoever looked before that, and is about to sleep, holds the lock.
            drop(self.lock());
            slot.bell.notify_all();
        }
    }
    /// Whether a slot will never be ready: a call has failed, or a rank that is missing
    /// has returned. (Who only asks does not wait, and may still do what others need.)
    pub fn is_hopeless(&self, slot: &Slot) -> bool {
        let state = self.lock();
        let returned = |rank: usize| matches!(state.ranks[rank], Rank::Returned);
        !slot.is_ready() && (state.failure.is_some() || slot.missing().any(returned))
    }
    /// Waits until all members have posted. `rank` is who waits; `None` for one of its
    /// helpers, while it may go on itself.
    ///
    /// # Errors
    /// They never will.
    pub fn until_ready(&self, slot: &Arc<Slot>, rank: Option<usize>) -> Result<()> {
        self.wait(slot, rank, Slot::is_ready)
    }
    /// Waits until all members are done.
    ///
    /// # Errors
    /// They never will be, because not all will post.
    pub fn until_over(&self, slot: &Arc<Slot>, rank: Option<usize>) -> Result<()> {
        self.wait(slot, rank, Slot::is_over)
    }
    fn wait(
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
                    state.ranks[rank] = Rank::Waiting(slot.clone());
                    self.circle(&mut state);
                }
                if let Some(failure) = &state.failure {
                    outcome = Err(failure.clone());
                    break;
                }
            }
            state = slot.bell.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        if let Some(rank) = rank {
            state.ranks[rank] = Rank::Running;
        }
        outcome
    }
    /// Fails all calls of all ranks, unless they have failed before.
    pub fn give_up(&self, error: Error) {
        self.fail(&mut self.lock(), error);
    }
    /// A rank makes no more calls; `why` if it failed.
    pub fn returned(&self, rank: usize, why: Option<Error>) {
        let mut state = self.lock();
        state.ranks[rank] = Rank::Returned;
        let Some(error) = why else {
            self.circle(&mut state);
            return;
        };
        // What failed first may be the consequence of this: of a call that was left in
        // flight, say.
        let text = error.to_string();
        let first = self.fail(&mut state, error).to_string();
        if !text.contains(&first) && !first.contains(&text) {
            state.failure = Some(Error::new(format!("{first}\nand then {text}")));
        }
    }
    /// Why no rank can make a call any more, if so.
    pub fn failure(&self) -> Option<Error> {
        self.lock().failure.clone()
    }
    /// Fails all calls from now on, and those that wait; returns the first failure.
    fn fail(&self, state: &mut State, error: Error) -> Error {
        let failure = state.failure.get_or_insert(error).clone();
        state.slots.values().for_each(|slot| slot.bell.notify_all());
        failure
    }
    /// Fails if ranks wait for what will never be posted.
    fn circle(&self, state: &mut State) {
        // Who may still post something: whoever runs, and whoever waits only for such.
        let mut able: Vec<bool> =
            state.ranks.iter().map(|rank| matches!(rank, Rank::Running)).collect();
        loop {
            let found = state.ranks.iter().enumerate().position(|(i, rank)| {
                let Rank::Waiting(slot) = rank else { return false };
                !able[i] && slot.missing().all(|rank| able[rank])
            });
            match found {
                Some(rank) => able[rank] = true,
                None => break,
            }
        }
        let waiting = |rank: &usize| matches!(state.ranks[*rank], Rank::Waiting(_));
        let stuck: Vec<usize> =
            (0..able.len()).filter(|rank| !able[*rank] && waiting(rank)).collect();
        if !stuck.is_empty() {
            let error = Error::new(state.report(&stuck));
            self.fail(state, error);
        }
    }
}

impl State {
    /// What every rank is doing, of which those in `stuck` wait for ever.
    fn report(&self, stuck: &[usize]) -> String {
        let mut text = format!(
            "{} for what will never be called:",
            several(stuck, "waits", "wait")
        );
        for (i, rank) in self.ranks.iter().enumerate() {
            let _ = match rank {
                Rank::Waiting(slot) if !slot.is_ready() => {
                    let own = slot.members.iter().position(|rank| *rank == i);
                    let call = own.and_then(|place| slot.calls[place].get());
                    let call = call.map(Call::to_string).unwrap_or_default();
                    let missing: Vec<usize> = slot.missing().collect();
                    let missing = several(&missing, "", "");
                    let name = slot.name();
                    write!(text, "\n  rank {i}: {call}: {name}; waits for {missing}")
                }
                Rank::Returned => write!(text, "\n  rank {i}: has returned"),
                Rank::Waiting(_) | Rank::Running => {
                    write!(text, "\n  rank {i}: is computing")
                }
            };
        }
        text + "\n(all members of a group make the same calls in the same order; where \
                everyone sends before it receives, `exchange` does both)"
    }
}

/// `rank 3 waits`, `ranks 3, 4 wait`.
fn several(ranks: &[usize], one: &str, more: &str) -> String {
    let names: Vec<String> = ranks.iter().map(|rank| rank.to_string()).collect();
    let (what, verb) = if ranks.len() == 1 { ("rank", one) } else { ("ranks", more) };
    format!("{what} {} {verb}", names.join(", ")).trim_end().to_string()
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
