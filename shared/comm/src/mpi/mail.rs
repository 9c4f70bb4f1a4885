//! The letters of a driver.
use super::desk::Doing;
use super::driver::Driver;
use super::wire::{Awaited, Transfer};
use crate::error::{Error, Result};
use crate::letters::Letter;
use serde::{Deserialize, Serialize};

/// A letter, in its launch.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub launch: u64,
    pub letter: Letter,
}

impl Driver {
    /// # Errors
    /// MPI's.
    pub(super) fn send(&mut self, to: usize, letter: Letter) -> Result<()> {
        if to == self.wire.rank {
            self.own.push_back((to, letter));
            return Ok(());
        }
        let envelope = Envelope { launch: self.run.number, letter };
        let bytes = serde_json::to_vec(&envelope)
            .map_err(|error| Error::new(format!("a letter: {error}")))?;
        // SAFETY: the bytes are kept beside the transfer, and do not move with it.
        let transfer = unsafe { self.wire.post(&bytes, to) }?;
        self.sent.push((transfer, bytes));
        Ok(())
    }
    /// Reads what has come; returns whether something has.
    ///
    /// # Errors
    /// MPI's; or it is no letter.
    pub(super) fn read(&mut self) -> Result<bool> {
        let mut some = false;
        loop {
            if let Some((from, letter)) = self.own.pop_front() {
                self.hear(from, letter)?;
            } else if let Some((from, bytes)) = self.wire.letter()? {
                let envelope = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::new(format!("a letter: {error}")))?;
                self.sort(from, envelope)?;
            } else {
                break;
            }
            some = true;
        }
        let mut i = 0;
        while i < self.sent.len() {
            if self.sent[i].0.is_over(&mut Awaited::default())? {
                self.sent.swap_remove(i);
            } else {
                i += 1;
            }
        }
        Ok(some)
    }
    /// Hears it in its launch.
    ///
    /// # Errors
    /// MPI's.
    pub(super) fn sort(&mut self, from: usize, envelope: Envelope) -> Result<()> {
        if let Letter::Leaves = envelope.letter {
            self.gone.push((from, envelope.launch));
            return self.check_gone();
        }
        if envelope.launch != self.run.number {
            self.early.push((from, envelope));
            return Ok(());
        }
        self.hear(from, envelope.letter)
    }
    fn hear(&mut self, from: usize, letter: Letter) -> Result<()> {
        match letter {
            Letter::Missing(key, missing) => {
                let Some(ticket) = self.run.held.get(&key) else { return Ok(()) };
                if !missing.is_empty() {
                    let returned = |rank| self.run.returned.contains_key(rank);
                    if missing.iter().any(returned) {
                        ticket.lose_hope();
                    }
                    ticket.awaits(missing.into_iter());
                } else if let Some(ticket) = self.run.held.remove(&key) {
                    self.start(ticket);
                }
            }
            Letter::Returned { rank, posted } => {
                self.run.returned.insert(rank, posted.into_iter().collect());
                for ticket in self.run.held.values() {
                    if ticket.awaited().contains(&rank) {
                        ticket.lose_hope();
                    }
                }
                self.look_for_abandoned()?;
            }
            Letter::Fails { origin, why } => self.fail(origin, Error::new(why)),
            Letter::AllQuiet => {
                self.run.quiet = [true; 2];
                let Some((error, _)) = self.run.failure.clone() else { return Ok(()) };
                let queues = std::mem::take(&mut self.run.queues).into_values();
                let messages = std::mem::take(&mut self.run.messages);
                for job in queues.flatten().chain(messages) {
                    job.transfers.into_iter().for_each(Transfer::forget);
                    self.desk.close(&job.ticket, Err(error.clone()));
                }
            }
            letter => {
                let registrar = self.run.registrar.as_mut();
                let mail = registrar.map(|registrar| registrar.hear(from, letter));
                for (to, letter) in mail.unwrap_or_default() {
                    self.send(to, letter)?;
                }
            }
        }
        Ok(())
    }
    /// Nobody can launch again when one of the processes does not.
    ///
    /// # Errors
    /// This one has.
    pub(super) fn check_gone(&self) -> Result<()> {
        let number = self.run.number;
        match self.gone.iter().find(|(_, last)| *last < number) {
            Some((rank, _)) if self.desk.doing() != Doing::Nothing => {
                Err(Error::new(format!(
                    "launch {number} of this process, but rank {rank}'s has ended \
                     without: all processes make the same launches"
                )))
            }
            _ => Ok(()),
        }
    }
}
