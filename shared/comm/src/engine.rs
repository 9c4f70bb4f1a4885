//! What a group asks of whoever carries its calls: threads, or processes under MPI.
use crate::call::Call;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// One rank's access to all others.
pub(crate) trait Engine: Send + Sync {
    /// The number of a group, the same for all who ask with the same words.
    ///
    /// # Errors
    /// Another group has that number.
    fn group(&self, words: String) -> Result<u64>;
    /// This rank uses that group no longer.
    fn left(&self, group: u64);
    /// Posts this rank's part of a call. If it is `started`, it comes to its end while
    /// the rank does something else; if not, the rank waits for it at once. The call's
    /// memory is lent until it is over, or has failed.
    ///
    /// # Errors
    /// It disagrees with what others have posted, or an earlier call has failed.
    fn post(&self, part: Part, call: Call, started: bool) -> Result<Box<dyn Flight>>;
    /// Fails all calls of all ranks, unless they have failed before.
    fn give_up(&self, error: Error);
    /// The rank has returned, and all know: what still works for it comes to its end.
    fn finish(&self) {}
}

/// A call in flight.
pub(crate) trait Flight {
    /// Waits until it is over; is called once.
    ///
    /// # Errors
    /// It never will be, because not all will post their part.
    fn wait(&self) -> Result<()>;
    /// Whether waiting would take no time, because it is over, or will never be.
    fn is_over(&self) -> bool;
    /// When it was.
    fn over_at(&self) -> Option<Instant>;
}

/// Which call: the group's number, of a message its ends, and how many came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    pub group: u64,
    pub ends: Option<[usize; 2]>,
    pub ordinal: u64,
}

/// Which part of a call of several ranks.
#[derive(Clone)]
pub(crate) struct Part {
    pub key: Key,
    /// The group's name and members, for messages: `dp [0, 2]`.
    pub title: Arc<str>,
    /// Ranks of the world; of a message, its ends.
    pub members: Arc<[usize]>,
    /// Which of them this is.
    pub place: usize,
}

impl Part {
    /// `call 3 of group dp [0, 1]`.
    pub fn name(&self) -> String {
        let what = if self.key.ends.is_some() { "message" } else { "call" };
        format!("{what} {} of group {}", self.key.ordinal, self.title)
    }
}

/// `rank 3 waits`, `ranks 3, 4 wait`.
pub(crate) fn several(ranks: &[usize], one: &str, more: &str) -> String {
    let names: Vec<String> = ranks.iter().map(|rank| rank.to_string()).collect();
    let (what, verb) = if ranks.len() == 1 { ("rank", one) } else { ("ranks", more) };
    format!("{what} {} {verb}", names.join(", ")).trim_end().to_string()
}

/// What to say to ranks that wait for ever.
pub(crate) const HINT: &str = "
(all members of a group make the same calls in the same order; where everyone sends \
before it receives, `exchange` does both)";
