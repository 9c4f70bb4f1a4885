//! What a driver knows of one launch.
use super::job::Job;
use super::ticket::Ticket;
use crate::engine::Key;
use crate::error::Error;
use crate::letters::Stream;
use crate::registrar::Registrar;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// One launch.
pub(super) struct Run {
    pub number: u64,
    /// Rank 0's.
    pub registrar: Option<Registrar>,
    /// Calls that not all members have made, as far as is known here; if rank 0
    /// watches.
    pub held: HashMap<Key, Arc<Ticket>>,
    /// Collectives by group, of which the first is under way.
    pub queues: HashMap<u64, VecDeque<Job>>,
    pub messages: Vec<Job>,
    /// How many calls this rank has made.
    pub posted: HashMap<Stream, u64>,
    /// How many calls those ranks have made that make no more.
    pub returned: HashMap<usize, HashMap<Stream, u64>>,
    /// Why no call can be made any more, and since when.
    pub failure: Option<(Error, Instant)>,
    /// This process has told, or everyone has, that it receives nothing any more.
    pub quiet: [bool; 2],
    /// This rank has reported a failure.
    pub complained: bool,
    /// Who waits for all ranks to return.
    pub done: Option<Sender<()>>,
}

impl Run {
    pub fn new(number: u64, rank: usize, size: usize) -> Run {
        Run {
            number,
            registrar: (rank == 0).then(|| Registrar::new(size)),
            held: HashMap::new(),
            queues: HashMap::new(),
            messages: vec![],
            posted: HashMap::new(),
            returned: HashMap::new(),
            failure: None,
            quiet: [false; 2],
            complained: false,
            done: None,
        }
    }
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.queues.values().flatten().chain(&self.messages)
    }
    pub fn jobs_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.queues.values_mut().flatten().chain(&mut self.messages)
    }
    /// A call that waits in vain, and for which rank: it has returned without it.
    pub fn abandoned(&self) -> Option<(String, usize)> {
        let gone = |job: &Job| {
            let Key { group, ends, ordinal } = job.ticket.part.key;
            let never = |rank: &usize| {
                let Some(posted) = self.returned.get(rank) else { return false };
                posted.get(&(group, ends)).copied().unwrap_or(0) <= ordinal
            };
            job.ticket.awaited().into_iter().find(never)
        };
        self.jobs().find_map(|job| Some((job.ticket.name(), gone(job)?)))
    }
}
