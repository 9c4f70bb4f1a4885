//! The board of ranks that are processes: letters, which the rendezvous carries.
//!
//! Rank 0 keeps who has failed or returned, in a [`Registrar`] as MPI's ranks have, and
//! tells all; so every rank has the same failure, the first that rank 0 heard of. That
//! a process has died each rank hears from the hub, and says for itself what it was
//! doing. If rank 0 watches (FERROTRON_COMM_DEBUG), ranks tell it of each call before
//! they make it, and a lane makes it when rank 0 has answered that all have.
use super::board::Board;
use super::seat::Seat;
use crate::call::Call;
use crate::engine::{HINT, Key, Part};
use crate::error::{Error, Result};
use crate::letters::{Description, Letter, Stream};
use crate::registrar::Registrar;
use crate::rendezvous::{Meeting, News, Post, Seat as Chair};
use crate::world::Slot;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long a rank waits for rank 0 to confirm a failure that it has reported.
const CONFIRMATION: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and not kept")]
enum Memo {
    Letter(Letter),
    /// To all: those bytes, under that name.
    Note(String, Vec<u8>),
    /// From rank 0, first of all: whether it watches.
    Watches(bool),
}

pub(super) struct Remote {
    office: Arc<Office>,
    post: Post,
    watched: bool,
}

/// What a rank knows.
struct Office {
    rank: usize,
    size: usize,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    watched: Option<bool>,
    /// Why no call can be made any more, and which rank said so.
    failure: Option<(usize, Error)>,
    notes: HashMap<String, Vec<u8>>,
    /// Calls that all members have posted, and that are not over.
    agreed: HashSet<Key>,
    /// This rank's calls that are not over, in their order.
    open: Vec<(Key, String)>,
    /// How many calls of each kind this rank has posted.
    posted: HashMap<Stream, u64>,
    /// And those ranks that make no more.
    returned: HashMap<usize, HashMap<Stream, u64>>,
    /// What makes groups different, by their numbers.
    groups: HashMap<u64, String>,
}

impl Remote {
    /// Meets the other ranks.
    ///
    /// # Errors
    /// As for [`Meeting::join`].
    pub fn meet(chair: &Chair, watch: bool) -> Result<(Remote, Meeting)> {
        let (rank, size) = (chair.rank, chair.size);
        let (state, bell) = Default::default();
        let office = Arc::new(Office { rank, size, state, bell });
        let own = office.clone();
        let mut registrar = (rank == 0).then(|| Registrar::new(size));
        let meeting = Meeting::join(chair, move |post, news| match news {
            News::Letter { from, bytes } => {
                let Ok(memo) = serde_json::from_slice(&bytes) else { return };
                own.read(from, memo, registrar.as_mut(), post);
            }
            News::Died { rank } => own.died(rank),
        })?;
        let post = meeting.post().clone();
        if rank == 0 {
            send(&post, None, &Memo::Watches(watch))?;
        }
        let state = office.when(|state| state.watched.is_some());
        let watched = match (state.watched, &state.failure) {
            (Some(watched), _) => watched,
            (None, Some((_, error))) => return Err(error.clone()),
            (None, None) => false,
        };
        drop(state);
        Ok((Remote { office, post, watched }, meeting))
    }
    /// Says that this rank makes no more calls, and why if it failed.
    pub fn returns(&self, why: Option<String>) {
        let posted = self.office.lock().posted.clone().into_iter().collect();
        let letter = Letter::Returns { why, posted };
        // If nobody hears it, that is known as a death.
        let _ = send(&self.post, Some(0), &Memo::Letter(letter));
    }
    /// Waits until no rank makes any more calls, or all of them fail.
    pub fn all_returned_or_failed(&self) {
        let size = self.office.size;
        drop(self.office.when(|state| state.returned.len() == size));
    }
    /// Waits until no rank makes any more calls; returns why all failed, if so, and
    /// which rank said so.
    pub fn all_returned(&self) -> Option<(usize, Error)> {
        let size = self.office.size;
        // Without rank 0, nobody tells who has returned.
        let state = self.office.when_all(|state| state.returned.len() == size);
        state.failure.clone()
    }
}

fn send(post: &Post, to: Option<usize>, memo: &Memo) -> Result<()> {
    let bytes = serde_json::to_vec(memo)
        .map_err(|error| Error::new(format!("a letter: {error}")))?;
    post.send(to, &bytes)
}

impl Office {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Waits until something is so, or all calls have failed.
    fn when(&self, so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.when_all(|state| so(state) || state.failure.is_some())
    }
    fn when_all(&self, so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        let state = self.bell.wait_while(state, |state| !so(state));
        state.unwrap_or_else(|e| e.into_inner())
    }
    /// What another rank says, or rank 0 for all.
    fn read(
        &self,
        from: usize,
        memo: Memo,
        registrar: Option<&mut Registrar>,
        post: &Post,
    ) {
        match memo {
            Memo::Watches(watched) => self.lock().watched = Some(watched),
            Memo::Note(name, bytes) => drop(self.lock().notes.insert(name, bytes)),
            Memo::Letter(Letter::Missing(key, missing)) => {
                if missing.is_empty() {
                    self.lock().agreed.insert(key);
                }
            }
            Memo::Letter(Letter::Returned { rank, posted }) => {
                let posted = posted.into_iter().collect();
                self.lock().returned.insert(rank, posted);
            }
            Memo::Letter(Letter::Fails { origin, why }) => {
                let error = Error::new(why);
                self.lock().failure.get_or_insert((origin, error));
            }
            Memo::Letter(letter) => {
                let answers = registrar.map(|registrar| registrar.hear(from, letter));
                for (to, letter) in answers.unwrap_or_default() {
                    // Who cannot be reached is found dead.
                    let _ = send(post, Some(to), &Memo::Letter(letter));
                }
            }
        }
        self.bell.notify_all();
    }
    /// A process has ended without a word: an error, if it had not returned.
    fn died(&self, rank: usize) {
        let mut state = self.lock();
        let known = state.failure.is_some() || state.returned.contains_key(&rank);
        if !known {
            let own = self.rank;
            let mut text = format!(
                "rank {rank} has died: its process ended without a word (was it \
                 killed, or out of memory?)"
            );
            match &*state.open {
                [] => text += &format!("\n  rank {own}: has no call under way"),
                open => open.iter().for_each(|(_, name)| {
                    text += &format!("\n  rank {own}: {name}");
                }),
            }
            // Each rank says so for itself: there is nobody else to.
            state.failure = Some((own, Error::new(text)));
        }
        let gone = if rank == 0 { 0..self.size } else { rank..rank + 1 };
        // Without rank 0, nobody tells who has returned.
        for rank in gone {
            state.returned.entry(rank).or_default();
        }
        drop(state);
        self.bell.notify_all();
    }
}

impl Board for Remote {
    fn group(&self, words: String) -> Result<u64> {
        // FNV-1a: processes make groups without asking each other.
        let id = words.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut state = self.office.lock();
        let known = state.groups.entry(id).or_insert_with(|| words.clone());
        if *known == words {
            return Ok(id);
        }
        Err(Error::new(format!(
            "groups `{known}` and `{words}` have the same number: give one of them \
             another name"
        )))
    }
    fn post(&self, part: &Part, call: &Call) -> Result<Option<Arc<Slot>>> {
        let mut state = self.office.lock();
        if let Some((_, error)) = &state.failure {
            return Err(error.clone());
        }
        *state.posted.entry((part.key.group, part.key.ends)).or_default() += 1;
        state.open.push((part.key, format!("{call}: {}", part.name())));
        drop(state);
        if self.watched {
            let letter = Letter::Posts(Description::new(part, call));
            send(&self.post, Some(0), &Memo::Letter(letter))?;
        }
        Ok(None)
    }
    fn has_agreed(&self, seat: &Seat) -> bool {
        !self.watched || self.office.lock().agreed.contains(&seat.part.key)
    }
    fn waits(&self, seat: &Seat) {
        if self.watched && !self.has_agreed(seat) {
            let letter = Letter::Waits(seat.part.key);
            let _ = send(&self.post, Some(0), &Memo::Letter(letter));
        }
    }
    fn over(&self, seat: &Seat) {
        let mut state = self.office.lock();
        state.agreed.remove(&seat.part.key);
        state.open.retain(|(key, _)| *key != seat.part.key);
    }
    fn is_hopeless(&self, seat: &Seat) -> bool {
        let state = self.office.lock();
        state.failure.is_some() || state.gone_without(&seat.part).is_some()
    }
    fn failure(&self, seat: Option<&Seat>) -> Option<Error> {
        let state = self.office.lock();
        if let Some((_, error)) = &state.failure {
            return Some(error.clone());
        }
        let rank = state.gone_without(&seat?.part)?;
        let (own, name) = (self.office.rank, seat?.name());
        Some(Error::new(format!(
            "rank {own} waits for what will never be called:\n  rank {own}: {name}; \
             waits for rank {rank}\n  rank {rank}: has returned{HINT}"
        )))
    }
    fn fail(&self, error: Error) -> Error {
        let letter = Letter::GivesUp(error.to_string());
        if self.office.lock().failure.is_none()
            && send(&self.post, Some(0), &Memo::Letter(letter)).is_ok()
        {
            let state = self.office.lock();
            let unknown = |state: &mut State| state.failure.is_none();
            let _ = self.office.bell.wait_timeout_while(state, CONFIRMATION, unknown);
        }
        let mut state = self.office.lock();
        state.failure.get_or_insert((self.office.rank, error)).1.clone()
    }
    fn tell(&self, name: String, bytes: Vec<u8>) -> Result<()> {
        send(&self.post, None, &Memo::Note(name, bytes))
    }
    fn told(&self, name: &str) -> Option<Vec<u8>> {
        self.office.lock().notes.get(name).cloned()
    }
}

impl State {
    /// A member of a call that makes no more calls, and has not made this one.
    fn gone_without(&self, part: &Part) -> Option<usize> {
        let Key { group, ends, ordinal } = part.key;
        part.members.iter().copied().find(|rank| {
            let posted = self.returned.get(rank);
            let before = |posted: &HashMap<Stream, u64>| {
                posted.get(&(group, ends)).copied().unwrap_or(0)
            };
            posted.is_some_and(|posted| before(posted) <= ordinal)
        })
    }
}
