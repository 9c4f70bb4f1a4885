//! Ranks as processes that `mpirun` starts, on one host or several.
//!
//! In each process one thread, the [`driver`], makes all calls to MPI. The rank posts a
//! [`Ticket`] for each of its calls and sleeps until it is over; the driver exchanges
//! the bytes with the other members' drivers ([`job`]), so that started calls go on
//! while ranks compute. Drivers also write each other letters: rank 0's keeps who has
//! failed or returned, for all, and with `FERROTRON_COMM_DEBUG=1` in its environment
//! compares all calls and watches who waits for whom, as is done between threads.
mod desk;
mod driver;
mod job;
mod mail;
mod run;
mod signal;
mod ticket;
mod wire;

use crate::call::Call;
use crate::engine::{Engine, Flight, Part};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::launch::{outcome, spawn, verdict};
use desk::{Desk, Doing, Order};
use std::fmt::Display;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::scope;
use std::time::Instant;
use ticket::Ticket;

/// Runs `f` on this process's rank, among those of so many processes.
///
/// # Errors
/// As for [`launch`](crate::launch).
pub(crate) fn launch<T: Send, E: Display + Send>(
    ranks: usize,
    processes: usize,
    f: impl Fn(Group) -> std::result::Result<T, E> + Sync,
) -> Result<Vec<T>> {
    if ranks != processes {
        return Err(Error::new(format!(
            "{ranks} ranks, but mpirun started {processes} processes, each of which is \
             one: `mpirun -n {ranks}`, or ask for {processes}"
        )));
    }
    let desk = Desk::get()?;
    if desk.size != ranks {
        return Err(Error::new(format!(
            "{ranks} processes were started, but MPI knows of {}: is it another MPI's \
             mpirun?",
            desk.size
        )));
    }
    // One after the other, in the same order in every process.
    static LAUNCHES: Mutex<u64> = Mutex::new(0);
    let mut launches = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let number = *launches;
    *launches += 1;
    let rank = desk.rank;
    desk.begin(number);
    let run = || {
        outcome(rank, || {
            let engine = Arc::new(Processes(desk.clone()));
            let words = format!("world of launch {number}");
            let group = Group::world(engine, words, ranks, rank);
            f(group.map_err(|error| error.to_string())?)
                .map_err(|error| format!("rank {rank}: {error:#}"))
        })
    };
    let result = scope(|scope| match spawn(scope, rank, run) {
        // A panic was caught.
        Ok(thread) => thread.join().unwrap_or_else(|_| Err("a panic".into())),
        Err(error) => Err(format!("no thread for rank {rank}: {error}")),
    });
    let (sender, all_returned) = channel();
    desk.set(Doing::Returned);
    let why = result.as_ref().err().map(|why| Error::new(why.clone()));
    desk.order(Order::Returns(why, sender));
    // If the driver is no more, it has said why.
    let _ = all_returned.recv();
    desk.set(Doing::Nothing);
    verdict(rank, result, desk.failure()).map(|result| vec![result])
}

/// All processes, for the rank of this one.
struct Processes(Arc<Desk>);

impl Engine for Processes {
    fn group(&self, words: String) -> Result<u64> {
        self.0.group(words)
    }
    fn left(&self, _: u64) {}
    fn post(&self, part: Part, call: Call, _: bool) -> Result<Box<dyn Flight>> {
        let desk = self.0.clone();
        let ticket = Arc::new(Ticket::new(part, call));
        desk.post(ticket.clone())?;
        Ok(Box::new(Seat { desk, ticket }))
    }
    fn give_up(&self, error: Error) {
        self.0.order(Order::GivesUp(error));
    }
}

struct Seat {
    desk: Arc<Desk>,
    ticket: Arc<Ticket>,
}

impl Flight for Seat {
    fn wait(&self) -> Result<()> {
        if self.desk.debug && !self.ticket.is_over() {
            self.desk.order(Order::Waits(self.ticket.part.key));
        }
        self.ticket.wait()
    }
    fn is_over(&self) -> bool {
        self.ticket.is_settled()
    }
    fn over_at(&self) -> Option<Instant> {
        self.ticket.over_at()
    }
}
