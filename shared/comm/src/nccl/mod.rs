//! Ranks with a GPU each, between which NCCL carries calls.
//!
//! **Lanes.** Each group has a [`lane`] for its collectives, and one for the messages
//! of each two of its members in each direction: a thread, a stream and a communicator
//! of NCCL's. So the order that [`Group`] promises is the only one there is: calls of a
//! group follow each other, and so do messages from one place to another; nothing else
//! waits for anything else. Two ranks that send to each other first and receive then do
//! not wait in a circle, as they would on one communicator, where one message follows
//! another whatever its direction; and a message is never held up by a collective of
//! its group that was started before it. The price is memory (some MB for each
//! communicator) and, at the first message, the time to make one.
//!
//! A communicator is made at its lane's first call, which all members make; they need
//! not make groups in the same order, and a group without calls costs nothing. Place 0
//! (of a message, the sender) draws its name, and tells it on the [`board`]. It stays
//! until its rank has returned, even if the group is dropped before.
//!
//! **Streams.** A rank's kernels run on one stream. A call's lane waits there for an
//! event that is recorded when the call is posted, so that it sees what kernels have
//! written; and when the rank waits for the call, it is the kernels' stream that waits
//! for the call's end. The processor does not wait: it goes on to start kernels. That
//! is so for blocking calls as well. Started ones run beside the kernels that were
//! started since. Memory that is leased to a call may be given back, or used again, by
//! what runs on the kernels' stream, as soon as the rank has waited.
//!
//! What is in the processor's memory (a norm, an agreement) goes through a small buffer
//! of the GPU's; for such a call, and for a barrier, the processor waits.
//!
//! **What the ledger sees** are the processor's times. *Waited* is how long the rank
//! stood still: for a call on the GPU's memory, until NCCL has it, and not what its
//! kernels wait later. *Hidden* is from there until the rank asks for the result, or
//! until its lane sees that the call is over (to half a millisecond), if that is
//! sooner: no more than that can have been hidden. What the GPU itself waited for is in
//! a profile of it (Nsight Systems), not here.
//!
//! **Sums** are made by NCCL: in an order of its own, 16-bit ones rounded at each step,
//! and with an algorithm that depends on lengths and machines. They are the same on
//! every rank, but not the bits that threads make. A maximum may lose a NaN.
//!
//! **Failures.** Between threads all calls are compared before they are made, and
//! circles are found, by the same [`World`] as without GPUs; between processes rank 0
//! does that for all if `FERROTRON_COMM_DEBUG=1` is in its environment. In any case
//! lanes look at NCCL's own errors, at whether another rank has failed, returned or
//! died, and at the clock: a call that takes longer than FERROTRON_COMM_TIMEOUT (in
//! seconds; 600 if it is not set) fails. On the first failure of any rank all lanes
//! abort their communicators, and every rank's calls fail with the same words. Kernels
//! that were started behind such a call run, with what memory there is: the rank hears
//! of the failure at its next call.
//!
//! **Many communicators on one GPU** need room: a kernel that waits for another rank
//! keeps its multiprocessors, and streams share hardware queues, 8 if
//! CUDA_DEVICE_MAX_CONNECTIONS says nothing else. A lane has three streams, two of them
//! NCCL's, and lanes start calls in any order: so that none stands in line behind
//! another's wait, a launch sets it to 32 if it is not set. (A value of 1, known from
//! Megatron-LM, would be wrong here.) For the same reason CUDA_MODULE_LOADING=EAGER is
//! safer: to load a kernel at its first start may take an idle GPU.
mod board;
mod communicator;
mod lane;
mod library;
mod processes;
mod remote;
mod seat;
mod way;

use crate::call::Call;
use crate::engine::{Engine, Flight, Part};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Gpus};
use crate::world::World;
use board::{Board, Local, Notes};
use lane::Lane;
use library::Library;
use seat::Seat;
use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use processes::launch;

/// One rank's lanes.
pub(crate) struct Nccl {
    rank: usize,
    board: Arc<dyn Board>,
    gpu: Arc<dyn Gpu>,
    library: Arc<Library>,
    limit: Duration,
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    /// By the group, and of messages their ends.
    open: HashMap<(u64, Option<[usize; 2]>), Sender<Arc<Seat>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the ranks of a process share.
pub(crate) struct Shared {
    library: Arc<Library>,
    limit: Duration,
    notes: Arc<Notes>,
}

impl Shared {
    /// # Errors
    /// There is no NCCL, or the time limit is none.
    pub fn new(gpus: &dyn Gpus) -> Result<Shared> {
        let library = Arc::new(Library::open(gpus.nccl().as_deref())?);
        Ok(Shared { library, limit: limit()?, notes: Arc::default() })
    }
}

/// How long a call may take.
fn limit() -> Result<Duration> {
    let name = "FERROTRON_COMM_TIMEOUT";
    let Ok(text) = std::env::var(name) else { return Ok(Duration::from_secs(600)) };
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(
        || Error::new(format!("{name} is `{text}`, expected seconds, more than 0")),
    )
}

impl Nccl {
    /// Of a rank that is a thread of this process.
    ///
    /// # Errors
    /// Its GPU cannot be used.
    pub fn of_thread(
        shared: &Shared,
        gpus: &dyn Gpus,
        world: Arc<World>,
        rank: usize,
    ) -> Result<Nccl> {
        let notes = shared.notes.clone();
        let board = Arc::new(Local { world, rank, notes });
        Nccl::new(shared, board, gpus, rank, rank)
    }
    fn new(
        shared: &Shared,
        board: Arc<dyn Board>,
        gpus: &dyn Gpus,
        ordinal: usize,
        rank: usize,
    ) -> Result<Nccl> {
        let failed =
            |why: String| Error::new(format!("rank {rank}: GPU {ordinal}: {why}"));
        let gpu = gpus.open(ordinal).map_err(failed)?;
        gpu.enter().map_err(failed)?;
        let (library, limit) = (shared.library.clone(), shared.limit);
        Ok(Nccl { rank, board, gpu, library, limit, lanes: Mutex::default() })
    }
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Hands a call to its lane.
    fn hand(&self, seat: Arc<Seat>) -> Result<()> {
        let mut lanes = self.lanes();
        let key = (seat.part.key.group, seat.part.key.ends);
        if !lanes.open.contains_key(&key) {
            let (sender, seats) = channel();
            let (rank, limit, library) = (self.rank, self.limit, self.library.clone());
            let (board, gpu) = (self.board.clone(), self.gpu.clone());
            let run = move || {
                let guard = Unfinished;
                Lane::new(rank, board, gpu, library, limit).run(seats);
                std::mem::forget(guard);
            };
            let name = format!("rank {rank}, {}", seat.part.title);
            let thread = Builder::new().name(name).spawn(run);
            lanes.threads.push(thread.map_err(|error| {
                Error::new(format!("rank {rank}: no thread for a lane: {error}"))
            })?);
            lanes.open.insert(key, sender);
        }
        if lanes.open[&key].send(seat.clone()).is_err() {
            let why = format!("rank {}: {}: its lane is gone", self.rank, seat.name());
            return Err(self.board.fail(Error::new(why)));
        }
        Ok(())
    }
}

impl Engine for Nccl {
    fn group(&self, words: String) -> Result<u64> {
        self.board.group(words)
    }
    /// Its lanes stay until the rank has returned: to end a communicator is to give
    /// memory back, for which CUDA waits until the whole GPU is idle, and so for ranks
    /// that wait for this one.
    fn left(&self, _: u64) {}
    fn post(&self, part: Part, call: Call, _: bool) -> Result<Box<dyn Flight>> {
        let slot = self.board.post(&part, &call)?;
        let seat = Seat::new(part, call, slot, &*self.gpu).map_err(|why| {
            self.board.fail(Error::new(format!("rank {}: {why}", self.rank)))
        })?;
        let seat = Arc::new(seat);
        self.hand(seat.clone())?;
        let (board, gpu) = (self.board.clone(), self.gpu.clone());
        Ok(Box::new(Flying { board, gpu, seat }))
    }
    fn give_up(&self, error: Error) {
        self.board.fail(error);
    }
    fn finish(&self) {
        let lanes = std::mem::take(&mut *self.lanes());
        drop(lanes.open);
        for thread in lanes.threads {
            // What it has to say was said.
            let _ = thread.join();
        }
    }
}

struct Flying {
    board: Arc<dyn Board>,
    gpu: Arc<dyn Gpu>,
    seat: Arc<Seat>,
}

impl Flight for Flying {
    fn wait(&self) -> Result<()> {
        let seat = &self.seat;
        // Says that this rank waits. If it is in vain, the lane hears that, too, and
        // is the one to say when the memory is free.
        self.board.waits(seat);
        let Some(end) = seat.wait()? else { return Ok(()) };
        self.gpu.kernels().follow(&*end).map_err(|why| {
            self.board.fail(Error::new(format!("{}: {why}", seat.name())))
        })
    }
    fn is_over(&self) -> bool {
        let seat = &self.seat;
        seat.has_ended().unwrap_or(true) || self.board.is_hopeless(seat)
    }
    fn over_at(&self) -> Option<Instant> {
        self.seat.over_at()
    }
}

/// Nobody would ever end the calls of a lane that has panicked, or say when their
/// memory is free.
struct Unfinished;

impl Drop for Unfinished {
    fn drop(&mut self) {
        eprintln!("comm: a panic in a lane");
        std::process::abort()
    }
}
