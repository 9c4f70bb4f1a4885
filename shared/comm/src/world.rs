//! Who waits for whom: found by what ranks have called, and not by a clock.
//!
//! A call of several ranks is a [`Slot`]. Each member *posts* its part; when all have,
//! the slot is *ready*. A rank that has to wait says so: if no rank is left that could
//! still post what the waiting ones need, they would wait for ever, and all are told. A
//! slow rank is no false alarm.
use crate::call::Call;
use crate::engine::{HINT, Key, Part, several};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

/// All ranks.
pub(crate) struct World {
    state: Mutex<State>,
}

pub(crate) struct State {
    slots: HashMap<Key, Arc<Slot>>,
    ranks: Vec<Rank>,
    /// Numbers of groups, by what makes them different.
    groups: HashMap<String, u64>,
    pub failure: Option<Error>,
}

/// What a rank is doing.
enum Rank {
    Running,
    /// For the others' part of a call.
    Waiting(Arc<Slot>),
    Returned,
}

/// One call of several ranks.
pub(crate) struct Slot {
    /// As the first of them has it.
    pub part: Part,
    pub calls: Box<[OnceLock<Call>]>,
    ready: AtomicBool,
    /// How many members have done their part of the work.
    pub done: AtomicUsize,
    /// When the last member was done.
    pub over: OnceLock<Instant>,
    pub bell: Condvar,
}

impl Slot {
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
    pub fn is_over(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.part.members.len()
    }
    /// Members that have not posted.
    pub fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.part.members.iter().zip(&self.calls);
        all.filter(|(_, call)| call.get().is_none()).map(|(rank, _)| *rank)
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
            let mut text = format!("ranks disagree about {}:", self.part.name());
            for (place, call) in posted() {
                if let Some(call) = call.get() {
                    let rank = self.part.members[place];
                    let _ = write!(text, "\n  rank {rank}: {call}");
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
    pub fn lock(&self) -> MutexGuard<'_, State> {
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
    pub fn post(&self, part: Part, call: Call) -> Result<(Arc<Slot>, bool)> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let Part { key, place, .. } = part;
        let slot = state.slots.entry(key).or_insert_with(|| {
            Arc::new(Slot {
                calls: part.members.iter().map(|_| OnceLock::new()).collect(),
                part,
                ready: AtomicBool::new(false),
                done: AtomicUsize::new(0),
                over: OnceLock::new(),
                bell: Condvar::new(),
            })
        });
        let slot = slot.clone();
        let _ = slot.calls[place].set(call);
        if let Some(why) = slot.disagreement(place) {
            return Err(state.fail(Error::new(why)));
        }
        let last = slot.missing().next().is_none();
        if last {
            state.slots.remove(&key);
            slot.ready.store(true, Ordering::Release);
            slot.bell.notify_all();
        }
        Ok((slot, last))
    }
    /// Whether a slot will never be ready: a call has failed, or a rank that is missing
    /// has returned. (Who only asks does not wait, and may still do what others need.)
    pub fn is_hopeless(&self, slot: &Slot) -> bool {
        let state = self.lock();
        let returned = |rank: usize| matches!(state.ranks[rank], Rank::Returned);
        !slot.is_ready() && (state.failure.is_some() || slot.missing().any(returned))
    }
    /// Fails all calls of all ranks, unless they have failed before.
    pub fn give_up(&self, error: Error) {
        self.lock().fail(error);
    }
    /// A rank makes no more calls; `why` if it failed.
    pub fn returned(&self, rank: usize, why: Option<Error>) {
        let mut state = self.lock();
        state.ranks[rank] = Rank::Returned;
        let Some(error) = why else {
            state.circle();
            return;
        };
        // What failed first may be the consequence of this: of a call that was left in
        // flight, say.
        let text = error.to_string();
        let first = state.fail(error).to_string();
        // All ranks may have failed alike: that is told once.
        let said = text.split_once(": ").map_or(&*text, |(_rank, said)| said);
        if !text.contains(&first) && !first.contains(said) {
            state.failure = Some(Error::new(format!("{first}\nand then {text}")));
        }
    }
    /// Whether that rank makes no more calls.
    #[cfg(feature = "cuda")]
    pub fn has_returned(&self, rank: usize) -> bool {
        matches!(self.lock().ranks[rank], Rank::Returned)
    }
    /// Why no rank can make a call any more, if so.
    pub fn failure(&self) -> Option<Error> {
        self.lock().failure.clone()
    }
}

impl State {
    /// From now on that rank waits for the others' part of a call; that it will never
    /// come is a failure.
    pub fn waits(&mut self, rank: usize, slot: &Arc<Slot>) {
        self.ranks[rank] = Rank::Waiting(slot.clone());
        self.circle();
    }
    /// It waits no longer.
    pub fn runs(&mut self, rank: usize) {
        self.ranks[rank] = Rank::Running;
    }
    /// Fails all calls from now on, and those that wait; returns the first failure.
    fn fail(&mut self, error: Error) -> Error {
        let failure = self.failure.get_or_insert(error).clone();
        self.slots.values().for_each(|slot| slot.bell.notify_all());
        failure
    }
    /// Fails if ranks wait for what will never be posted.
    fn circle(&mut self) {
        // Who may still post something: whoever runs, and whoever waits only for such.
        let mut able: Vec<bool> =
            self.ranks.iter().map(|rank| matches!(rank, Rank::Running)).collect();
        loop {
            let found = self.ranks.iter().enumerate().position(|(i, rank)| {
                let Rank::Waiting(slot) = rank else { return false };
                !able[i] && slot.missing().all(|rank| able[rank])
            });
            match found {
                Some(rank) => able[rank] = true,
                None => break,
            }
        }
        let waiting = |rank: &usize| matches!(self.ranks[*rank], Rank::Waiting(_));
        let stuck: Vec<usize> =
            (0..able.len()).filter(|rank| !able[*rank] && waiting(rank)).collect();
        if !stuck.is_empty() {
            let error = Error::new(self.report(&stuck));
            self.fail(error);
        }
    }
    /// What every rank is doing, of which those in `stuck` wait for ever.
    fn report(&self, stuck: &[usize]) -> String {
        let mut text = format!(
            "{} for what will never be called:",
            several(stuck, "waits", "wait")
        );
        for (i, rank) in self.ranks.iter().enumerate() {
            let _ = match rank {
                Rank::Waiting(slot) if !slot.is_ready() => {
                    let own = slot.part.members.iter().position(|rank| *rank == i);
                    let call = own.and_then(|place| slot.calls[place].get());
                    let call = call.map(Call::to_string).unwrap_or_default();
                    let missing: Vec<usize> = slot.missing().collect();
                    let missing = several(&missing, "", "");
                    let name = slot.part.name();
                    write!(text, "\n  rank {i}: {call}: {name}; waits for {missing}")
                }
                Rank::Returned => write!(text, "\n  rank {i}: has returned"),
                Rank::Waiting(_) | Rank::Running => {
                    write!(text, "\n  rank {i}: is computing")
                }
            };
        }
        text + HINT
    }
}
