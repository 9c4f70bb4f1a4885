//! # Fill in: an inbox
//!
//! The sender's list, without what stays there or goes elsewhere, is a queue of what is
//! to come: the next thing received is what stands at its head. So no message needs a
//! label, and a receiver knows the shape of each before it comes.
//!
//! Whatever comes before its time is kept by its key. That is memory: a schedule whose
//! messages are needed in quite another order than they are sent has an inbox as large
//! as the difference.
//!
//! MPI and NCCL match what one rank sends to another with what that one receives in the
//! order of both (MPI also by a tag). With one chunk on each stage only one kind of
//! thing comes from each neighbour, and is needed in the order in which it is sent. On
//! the V of `zbv`, a neighbour sends hidden states for one chunk and gradients for the
//! other: with three stages and six micro-batches, some have to be kept.
use anyhow::{Result, bail};
use ch07_pipeline_parallel::schedule::Pass;
use std::collections::{HashMap, VecDeque};

/// What a message is for: forward or backward, in which chunk, of which micro-batch.
pub type Key = (Pass, usize, usize);

/// What comes from one other stage.
pub struct Inbox<T> {
    /// In the order in which it is sent.
    coming: VecDeque<Key>,
    /// What came before its time.
    here: HashMap<Key, T>,
}

impl<T> Inbox<T> {
    /// `coming`: what the other stage sends in a step, in its order; each once.
    pub fn new(coming: Vec<Key>) -> Inbox<T> {
        Inbox { coming: coming.into(), here: HashMap::new() }
    }
    /// The message that `key` says. `receive` waits for the next one that the other
    /// stage sends, and returns it.
    ///
    /// # Errors
    /// Those of `receive`; or no such message will come, or not any more.
    pub fn take(
        &mut self,
        key: Key,
        mut receive: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        if let Some(message) = self.here.remove(&key) {
            return Ok(message);
        }
        while let Some(next) = self.coming.pop_front() {
            let message = receive()?;
            if next == key {
                return Ok(message);
            }
            self.here.insert(next, message);
        }
        bail!("no {key:?} will come")
    }
}
