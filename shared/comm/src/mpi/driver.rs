//! The thread of a process that makes all calls to MPI.
use super::desk::{Desk, Doing, Order, say};
use super::job::Job;
use super::mail::Envelope;
use super::run::Run;
use super::ticket::Ticket;
use super::wire::{Awaited, Transfer, Wire};
use crate::engine::{HINT, Key, several};
use crate::error::{Error, Result};
use crate::letters::{Description, Letter};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Looks without sleep for so long; most exchanges are over sooner.
const AWAKE: Duration = Duration::from_micros(100);

/// Sleeps between looks, the longer the longer nothing has come: the least; the most
/// when something is under way, and when nothing is.
const SLEEPS: [Duration; 3] =
    [Duration::from_micros(20), Duration::from_micros(500), Duration::from_millis(2)];

/// How long ranks have for their own ends when no call can be made any more.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    pub wire: Wire,
    pub desk: Arc<Desk>,
    pub orders: Receiver<Order>,
    pub run: Run,
    /// Letters of launches that have not begun here.
    pub early: Vec<(usize, Envelope)>,
    /// Ranks whose processes end, and their last launches.
    pub gone: Vec<(usize, u64)>,
    /// Letters to this process itself.
    pub own: VecDeque<(usize, Letter)>,
    /// Letters that are under way.
    pub sent: Vec<(Transfer, Vec<u8>)>,
    /// Who waits for the end of MPI.
    pub ends: Option<Sender<()>>,
}

impl Driver {
    pub fn new(wire: Wire, desk: Arc<Desk>, orders: Receiver<Order>) -> Driver {
        // Before the first.
        let run = Run::new(u64::MAX, wire.rank, wire.size);
        let (early, gone, own, sent) = Default::default();
        Driver { wire, desk, orders, run, early, gone, own, sent, ends: None }
    }
    /// Until the process ends.
    pub fn run(mut self) {
        if let Err(error) = self.work() {
            say(&format!("rank {}: {error}", self.wire.rank));
            self.desk.report();
            self.wire.abort(1);
        }
        let Driver { wire, ends, .. } = self;
        // The end of MPI: waits for the other processes.
        drop(wire);
        if let Some(ends) = ends {
            let _ = ends.send(());
        }
    }
    fn work(&mut self) -> Result<()> {
        let mut moved = Instant::now();
        loop {
            let order = match self.pause(moved.elapsed()) {
                Some(pause) => self.orders.recv_timeout(pause),
                None => {
                    std::thread::yield_now();
                    self.orders.recv_timeout(Duration::ZERO)
                }
            };
            match order {
                Ok(order) => {
                    moved = Instant::now();
                    self.obey(order)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The desk is gone, and with it the process.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.read()? | self.progress()? {
                moved = Instant::now();
            }
            self.close()?;
            if self.ends.is_some() && self.desk.doing() == Doing::Nothing {
                return self.leave();
            }
        }
    }
    /// How long to sleep when nothing has moved for so long.
    fn pause(&self, still: Duration) -> Option<Duration> {
        let [least, busy, idle] = SLEEPS;
        let most = if self.run.jobs().next().is_some() { busy } else { idle };
        (still > AWAKE).then(|| (still / 10).clamp(least, most))
    }
    fn obey(&mut self, order: Order) -> Result<()> {
        let rank = self.wire.rank;
        match order {
            Order::Begin(number) => {
                self.run = Run::new(number, rank, self.wire.size);
                self.check_gone()?;
                for (from, envelope) in std::mem::take(&mut self.early) {
                    self.sort(from, envelope)?;
                }
            }
            Order::Post(ticket) => self.post(ticket)?,
            Order::Waits(key) => self.send(0, Letter::Waits(key))?,
            Order::GivesUp(error) => self.complain(error.to_string())?,
            Order::Returns(why, done) => {
                self.run.done = Some(done);
                self.returns(why)?;
            }
            Order::End(done) => {
                self.ends = Some(done);
                if self.desk.doing() == Doing::Running {
                    let why = format!("rank {rank}: its process ends meanwhile");
                    self.returns(Some(Error::new(why)))?;
                    self.desk.set(Doing::Returned);
                }
            }
        }
        Ok(())
    }
    /// The last letters of this process.
    fn leave(&mut self) -> Result<()> {
        let rank = self.wire.rank;
        for other in (0..self.wire.size).filter(|other| *other != rank) {
            self.send(other, Letter::Leaves)?;
        }
        let start = Instant::now();
        while !self.sent.is_empty() && start.elapsed() < GRACE {
            self.read()?;
        }
        Ok(())
    }
    fn returns(&mut self, why: Option<Error>) -> Result<()> {
        let why = why.map(|why| why.to_string());
        let posted = self.run.posted.iter().map(|(stream, n)| (*stream, *n)).collect();
        self.send(0, Letter::Returns { why, posted })
    }
    fn post(&mut self, ticket: Arc<Ticket>) -> Result<()> {
        let Key { group, ends, .. } = ticket.part.key;
        *self.run.posted.entry((group, ends)).or_default() += 1;
        if let Some((error, _)) = &self.run.failure {
            self.desk.close(&ticket, Err(error.clone()));
        } else if self.desk.debug {
            let description = Description::new(&ticket.part, &ticket.call);
            self.run.held.insert(ticket.part.key, ticket);
            self.send(0, Letter::Posts(description))?;
        } else {
            self.start(ticket);
            self.look_for_abandoned()?;
        }
        Ok(())
    }
    pub fn start(&mut self, ticket: Arc<Ticket>) {
        let Key { group, ends, .. } = ticket.part.key;
        let job = Job::new(ticket, self.desk.tag(group, ends.is_some()));
        if ends.is_some() {
            // Now, and not when it is its turn: the order of receives matters.
            self.run.messages.push(job);
        } else {
            self.run.queues.entry(group).or_default().push_back(job);
        }
    }
    /// No call can be made any more. What all have made comes to its end if rank 0
    /// watches, since then all know which that is.
    pub fn fail(&mut self, origin: usize, error: Error) {
        self.desk.fail(origin, error.clone());
        self.run.failure = Some((error.clone(), Instant::now()));
        for (_, ticket) in self.run.held.drain() {
            self.desk.close(&ticket, Err(error.clone()));
        }
        if !self.desk.debug {
            self.run.jobs_mut().for_each(Job::wind_up);
        }
    }
    /// Tells rank 0, and by it everyone, that no call can be made any more.
    fn complain(&mut self, why: String) -> Result<()> {
        if std::mem::replace(&mut self.run.complained, true) {
            return Ok(());
        }
        self.send(0, Letter::GivesUp(why))
    }
    /// Without rank 0's watch, calls that wait for a rank which has returned are found
    /// here.
    pub fn look_for_abandoned(&mut self) -> Result<()> {
        let rank = self.wire.rank;
        if self.desk.debug || self.run.failure.is_some() {
            return Ok(());
        }
        let Some((name, other)) = self.run.abandoned() else { return Ok(()) };
        let waits = several(&[rank], "waits", "wait");
        self.complain(format!(
            "{waits} for what will never be called:\n  rank {rank}: {name}; waits for \
             rank {other}\n  rank {other}: has returned{HINT}"
        ))
    }
    /// Goes on with all calls; returns whether something has come of it.
    fn progress(&mut self) -> Result<bool> {
        let (mut moved, mut wrong) = (false, None);
        let mut awaited = Awaited::default();
        let Driver { wire, desk, run, .. } = self;
        let ends = run.failure.is_some() && !desk.debug;
        let mut work = |job: &mut Job| {
            let before = job.progress();
            // Nothing new is begun when all come to an end.
            let over = if ends {
                job.poll(&mut awaited).map(|_| false)
            } else {
                job.work(wire, &mut awaited)
            };
            moved |= job.progress() != before;
            match over {
                Ok(true) => desk.close(&job.ticket, Ok(())),
                Ok(false) => return false,
                Err(error) => {
                    wrong.get_or_insert(format!(
                        "rank {}: {}: {error} (FERROTRON_COMM_DEBUG=1 tells who \
                         disagrees)",
                        desk.rank,
                        job.ticket.name()
                    ));
                    return false;
                }
            }
            true
        };
        run.messages.retain_mut(|job| !work(job));
        for queue in run.queues.values_mut() {
            while queue.front_mut().is_some_and(&mut work) {
                queue.pop_front();
            }
        }
        if let Some(why) = wrong {
            self.complain(why)?;
        }
        Ok(moved)
    }
    /// What comes after the last call, of a failure or a launch.
    fn close(&mut self) -> Result<()> {
        if let Some(since) = self.run.failure.as_ref().map(|(_, since)| *since) {
            let receives = self
                .run
                .jobs()
                .flat_map(|job| &job.transfers)
                .any(Transfer::is_received);
            if !self.desk.debug && !receives && !self.run.quiet[0] {
                self.run.quiet[0] = true;
                self.send(0, Letter::Quiet)?;
            }
            if self.wire.rank == 0 && since.elapsed() > GRACE {
                self.end_the_late();
            }
        }
        let run = &mut self.run;
        let settled = run.failure.is_none() || self.desk.debug || run.quiet[1];
        if run.returned.len() == self.wire.size && settled {
            match run.done.take() {
                Some(done) => drop(done.send(())),
                // It ends in the middle.
                None if self.ends.is_some() => self.desk.set(Doing::Nothing),
                None => {}
            }
        }
        Ok(())
    }
    /// Ranks that have had their time end with all others.
    fn end_the_late(&self) {
        let all = 0..self.wire.size;
        let late: Vec<usize> =
            all.filter(|rank| !self.run.returned.contains_key(rank)).collect();
        if !late.is_empty() {
            let late = several(&late, "has", "have");
            say(&format!("rank 0: {late} not come to an end: all are ended"));
            self.wire.abort(1);
        }
    }
}
