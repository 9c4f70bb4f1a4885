//! # Fill in: an inbox
//!
//! Two stages with several chunks each send each other more than one kind of thing:
//! hidden states for this chunk and for that, gradients for both. They arrive in the
//! order in which the other stage sends them, and nothing on them says which is which.
//! What this stage needs next may be behind something that it needs later.
//!
//! But schedules are data. This stage knows the other one's list, too, and so what it
//! will send, in which order. Write an inbox for what comes from one other stage. Asked
//! for a message, it receives until that one is here, and keeps the others for later.
//!
//! A receive waits until there is something. So it receives only if what is wanted is
//! not here yet, and not once more than it takes: what comes behind may be sent only
//! after the sender has had something from this stage. What was handed out is kept no
//! longer.
//!
//! ## Hint
//!
//! What does the inbox have to remember of the messages that have not arrived, and what
//! of those that have? Go through `take` for the messages a b c, wanted as b c a: how
//! often is `receive` called in each? When is it certain that a message will never
//! come?
#![allow(unused_variables)]
use anyhow::Result;
use ch07_pipeline_parallel::schedule::Pass;
use std::marker::PhantomData;

/// What a message is for: forward or backward, in which chunk, of which micro-batch.
pub type Key = (Pass, usize, usize);

/// What comes from one other stage.
pub struct Inbox<T> {
    // Put here what it has to remember, in place of this.
    messages: PhantomData<T>,
}

impl<T> Inbox<T> {
    /// `coming`: what the other stage sends in a step, in its order; each once.
    pub fn new(coming: Vec<Key>) -> Inbox<T> {
        todo!("what is still to come")
    }
    /// The message that `key` says. `receive` waits for the next one that the other
    /// stage sends, and returns it.
    ///
    /// # Errors
    /// Those of `receive`; or no such message will come, or not any more.
    pub fn take(&mut self, key: Key, receive: impl FnMut() -> Result<T>) -> Result<T> {
        todo!("what is here, or else what comes")
    }
}
