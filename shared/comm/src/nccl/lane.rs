//! A lane: one communicator, one stream, and the one thread that uses both.
//!
//! The thread takes calls in the order in which they were posted. For each it waits
//! until all members agree (if calls are compared), has the stream wait for the kernels
//! that were started before the call, and gives the call to NCCL. From then on the call
//! is *in the air*, and the thread takes the next one; in between it looks at what is
//! in the air, at the time, and at whether some rank has failed. On any failure it
//! aborts its communicator first, so that no kernel touches the memory of a call of
//! which its rank hears that it failed.
//!
//! The processor's memory goes through a small buffer of the GPU's. Such a call is
//! alone in its lane, and over when the processor has the result.
use super::board::Board;
use super::communicator::Communicator;
use super::library::Library;
use super::seat::Seat;
use super::way::Way;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often a lane looks at what is in the air when nothing has changed for a while.
const PAUSE: Duration = Duration::from_micros(500);

/// How long the end of a communicator, of which all calls are over, waits for others.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first looks follow each other at once; most small calls are over by then.
const LOOKS: u32 = 100;
const EAGER: Duration = Duration::from_millis(2);

pub(super) struct Lane {
    pub rank: usize,
    pub board: Arc<dyn Board>,
    pub gpu: Arc<dyn Gpu>,
    pub library: Arc<Library>,
    /// How long a call may take.
    pub limit: Duration,
    way: Option<Way>,
    /// Calls that were taken up and are not over.
    air: VecDeque<Arc<Seat>>,
    /// Since when the first of them has had its turn.
    turn: Instant,
    /// Why there are no more calls.
    failure: Option<Error>,
}

impl Lane {
    pub fn new(
        rank: usize,
        board: Arc<dyn Board>,
        gpu: Arc<dyn Gpu>,
        library: Arc<Library>,
        limit: Duration,
    ) -> Lane {
        let (way, air, turn, failure) = (None, VecDeque::new(), Instant::now(), None);
        Lane { rank, board, gpu, library, limit, way, air, turn, failure }
    }
    /// Takes calls until there are no more to come, and all are over.
    pub fn run(mut self, seats: Receiver<Arc<Seat>>) {
        memory::set_rank(self.rank);
        let mut looks = 0;
        loop {
            let next = if self.air.is_empty() {
                seats.recv().map_err(RecvTimeoutError::from)
            } else {
                looks += 1;
                seats.recv_timeout(pause(looks))
            };
            let outcome = match next {
                Ok(seat) => {
                    looks = 0;
                    self.take_up(seat)
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            outcome.unwrap_or_else(|error| self.fail(error));
        }
        let outcome = self.close();
        outcome.unwrap_or_else(|error| self.fail(error));
    }
    fn take_up(&mut self, seat: Arc<Seat>) -> Result<()> {
        if let Some(failure) = &self.failure {
            seat.end(Err(failure.clone()));
            return Ok(());
        }
        if self.air.is_empty() {
            self.turn = Instant::now();
        }
        self.air.push_back(seat.clone());
        self.until(|lane| Ok(lane.board.has_agreed(&seat)))?;
        if seat.is_of_host() || seat.is_empty() {
            // A copy from the processor's memory may wait for the stream inside the
            // driver, where nobody could end it.
            self.until(|lane| Ok(lane.air.len() == 1))?;
        }
        self.gpu.enter().map_err(|why| self.said(why))?;
        if self.way.is_none() {
            self.open(&seat)?;
        }
        // Only now: of an all-to-all, others may have something.
        if seat.is_empty() {
            self.land();
            return Ok(());
        }
        let way = self.way.as_mut().expect("it is open");
        let outcome = way.start(&seat);
        outcome.map_err(|why| self.said(why))?;
        self.settle()?;
        let way = self.way.as_ref().expect("it is open");
        let end = way.stream.mark().map_err(|why| self.said(why))?;
        if !seat.is_of_host() {
            seat.start(end);
            return Ok(());
        }
        self.until(|lane| end.is_over().map_err(|why| lane.said(why)))?;
        let way = self.way.as_ref().expect("it is open");
        way.finish(&seat).map_err(|why| self.said(why))?;
        self.land();
        Ok(())
    }
    /// Joins the other members. The first of them names the communicator.
    fn open(&mut self, seat: &Seat) -> Result<()> {
        let (key, place) = (seat.part.key, seat.part.place);
        let name = format!("nccl {} {:?}", key.group, key.ends);
        let id = if place == 0 {
            let made = Communicator::id(&self.library).map_err(|why| self.said(why))?;
            self.board.tell(name, made.clone())?;
            made
        } else {
            self.find(|lane| Ok(lane.board.told(&name)))?
        };
        let (library, n) = (self.library.clone(), seat.part.members.len());
        let communicator =
            Communicator::join(library, &id, n, place).map_err(|why| self.said(why))?;
        let stream = self.gpu.stream().map_err(|why| self.said(why))?;
        self.way = Some(Way::new(communicator, stream));
        self.settle()
    }
    /// Waits until NCCL has done what it was told to.
    fn settle(&mut self) -> Result<()> {
        self.until(|lane| lane.has_settled())
    }
    fn has_settled(&self) -> Result<bool> {
        let Some(way) = &self.way else { return Ok(true) };
        way.communicator.settled().map_err(|why| self.said(why))
    }
    /// Looks until something is so.
    fn until(&mut self, mut so: impl FnMut(&mut Lane) -> Result<bool>) -> Result<()> {
        self.find(|lane| Ok(so(lane)?.then_some(())))
    }
    /// Looks until something is there.
    fn find<T>(
        &mut self,
        mut there: impl FnMut(&mut Lane) -> Result<Option<T>>,
    ) -> Result<T> {
        let since = Instant::now();
        loop {
            if let Some(it) = there(self)? {
                return Ok(it);
            }
            self.look()?;
            if since.elapsed() < EAGER {
                std::thread::yield_now();
            } else {
                std::thread::sleep(PAUSE);
            }
        }
    }
    /// What is over leaves the air.
    ///
    /// # Errors
    /// Some rank has failed, or a call has, or takes too long.
    fn look(&mut self) -> Result<()> {
        while let Some(seat) = self.air.front() {
            match seat.has_ended() {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => return Err(self.said_of(seat, why)),
            }
            self.land();
        }
        let first = self.air.front();
        if let Some(failure) = self.board.failure(self.air.back().map(|seat| &**seat)) {
            return Err(failure);
        }
        self.has_settled()?;
        if let Some(seat) = first.filter(|_| self.turn.elapsed() > self.limit) {
            let why = format!(
                "not over after {:?} (FERROTRON_COMM_TIMEOUT is the limit, in seconds; \
                 FERROTRON_COMM_DEBUG=1 tells what each rank calls)",
                self.limit
            );
            return Err(self.said_of(seat, why));
        }
        Ok(())
    }
    /// The first call in the air is over.
    fn land(&mut self) {
        let Some(seat) = self.air.pop_front() else { return };
        self.board.over(&seat);
        seat.end(Ok(()));
        self.turn = Instant::now();
    }
    /// No call is made any more, by any rank.
    fn fail(&mut self, error: Error) {
        let failure = self.board.fail(error);
        // What still works on the memory of calls ends here.
        self.way.take().into_iter().for_each(Way::abort);
        for seat in self.air.drain(..) {
            seat.end(Err(failure.clone()));
        }
        self.failure = Some(failure);
    }
    /// Ends the communicator when its calls are over.
    fn close(&mut self) -> Result<()> {
        self.until(|lane| Ok(lane.air.is_empty()))?;
        let Some(way) = &self.way else { return Ok(()) };
        if self.board.failure(None).is_some() {
            self.way.take().into_iter().for_each(Way::abort);
            return Ok(());
        }
        self.gpu.enter().map_err(|why| self.said(why))?;
        way.communicator.finalize().map_err(|why| self.said(why))?;
        // Others may be busy, or dead since they returned.
        let until = Instant::now() + PATIENCE.min(self.limit);
        let mut settled = false;
        self.until(|lane| {
            settled = lane.has_settled()?;
            Ok(settled || Instant::now() > until)
        })?;
        let end = if settled { Way::destroy } else { Way::abort };
        self.way.take().into_iter().for_each(end);
        Ok(())
    }
    /// With the rank, and the call that was taken up last.
    fn said(&self, why: String) -> Error {
        match self.air.back() {
            Some(seat) => self.said_of(seat, why),
            None => Error::new(format!("rank {}: {why}", self.rank)),
        }
    }
    fn said_of(&self, seat: &Seat, why: String) -> Error {
        Error::new(format!("rank {}: {}: {why}", self.rank, seat.name()))
    }
}

fn pause(looks: u32) -> Duration {
    if looks < LOOKS { Duration::from_micros(1) } else { PAUSE }
}
