//! Threads that wait for one owner.
//!
//! A *region* is one call of [`Pool::run`]. The owner publishes it, takes tasks itself
//! until none is left, then closes the region and waits only for the workers that are
//! inside. A worker that was asleep and comes too late finds the door closed: the owner
//! never waits for somebody to wake up, which on a busy or virtual machine takes longer
//! than many a region.
//!
//! One word says it all, [`Shared::door`]: the number of the region, whether it is
//! open, and how many workers are inside.
//!
//! A worker without work looks at the door for [`SPIN`], then offers its core to others
//! between looks until [`LINGER`], then sleeps. With more pool threads than cores in
//! the process it sleeps at once.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for the next region without letting go of its core.
const SPIN: Duration = Duration::from_micros(30);
/// How long it looks before it sleeps.
const LINGER: Duration = Duration::from_micros(200);

/// The region is open: workers may enter.
const OPEN: u64 = 1 << 31;
/// Workers inside, the bits below [`OPEN`].
const INSIDE: u64 = OPEN - 1;
/// One region, the bits above.
const REGION: u64 = 1 << 32;

/// Threads that belong to pools of this process, owners included.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// What a worker needs to know of a region. Lives on the owner's stack.
struct Region<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Where the owner books what it allocates.
    rank: usize,
}

impl Region<'_> {
    /// Does tasks until none is left.
    fn work(&self) {
        loop {
            let i = self.next.fetch_add(1, Relaxed);
            if i >= self.tasks {
                return;
            }
            if let Err(e) = catch_unwind(AssertUnwindSafe(|| (self.task)(i))) {
                // The rest is not begun. (Not usize::MAX, which could wrap.)
                self.next.store(self.tasks, Relaxed);
                self.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(e);
                return;
            }
        }
    }
}

struct Shared {
    door: AtomicU64,
    /// The open region. Written by the owner while nobody is inside and the door is
    /// closed; read by workers that are inside.
    region: UnsafeCell<*const Region<'static>>,
    /// For each worker, whether it sleeps or is about to.
    asleep: Box<[AtomicBool]>,
    over: AtomicBool,
    /// Whom the last worker to leave wakes, if it sleeps.
    owner: Thread,
    owner_asleep: AtomicBool,
}

// SAFETY: `region` is the only field that is not `Sync` by itself. Owner and workers
// take turns with it by way of `door`, as described there; what it points to is `Sync`:
// a `Sync` closure, atomics and a mutex.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it is bound to a thread.
unsafe impl Send for Shared {}

/// A pool, owned by the thread that made it.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads - 1` workers, or as many as the system lets it.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            door: AtomicU64::new(0),
            region: UnsafeCell::new(std::ptr::null()),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            over: AtomicBool::new(false),
            owner: thread::current(),
            owner_asleep: AtomicBool::new(false),
        });
        let name = thread::current().name().unwrap_or("rank").to_owned();
        let start = |me: usize| {
            let shared = shared.clone();
            let body = move || work(&shared, me);
            thread::Builder::new().name(format!("{name}.{}", me + 1)).spawn(body).ok()
        };
        let workers: Vec<_> = (0..threads - 1).map_while(start).collect();
        THREADS.fetch_add(workers.len() + 1, Relaxed);
        Pool { shared, workers }
    }

    /// One region: `task` with every number below `tasks`. An error is the first panic.
    pub fn run(
        &mut self,
        tasks: usize,
        task: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Box<dyn Any + Send>> {
        let shared = &*self.shared;
        let region = Region {
            task,
            tasks,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            rank: memory::rank(),
        };
        // SAFETY: `&mut self` and the end of this function leave the door closed with
        // nobody inside, so no worker reads `region` now. The pointer's lifetime is a
        // lie that ends before `region` does: workers follow it only while inside, and
        // this function does not return (nor unwind: nothing below panics) before it
        // has closed the door and seen the last of them leave.
        unsafe {
            *shared.region.get() = (&raw const region).cast::<Region<'static>>();
        }
        // The door is closed with nobody inside, so only the number is left in it.
        let number = shared.door.load(Relaxed).wrapping_add(REGION);
        // Sequentially consistent, as is the worker's pair (says that it sleeps, then
        // looks at the door): one of the two sees the other.
        shared.door.store(number | OPEN, SeqCst);
        let wake = tasks.min(self.workers.len() + 1) - 1;
        for (asleep, worker) in shared.asleep.iter().zip(&self.workers).take(wake) {
            if asleep.load(SeqCst) {
                worker.thread().unpark();
            }
        }
        region.work();
        shared.door.fetch_and(!OPEN, AcqRel);
        let mut looks = 0;
        while shared.door.load(Acquire) & INSIDE != 0 {
            looks += 1;
            if looks < 2000 {
                spin_loop();
            } else {
                // A worker has long to go or lost its core.
                shared.owner_asleep.store(true, SeqCst);
                if shared.door.load(SeqCst) & INSIDE != 0 {
                    thread::park();
                }
                shared.owner_asleep.store(false, Relaxed);
            }
        }
        let panic = region.panic.into_inner().unwrap_or_else(|e| e.into_inner());
        panic.map_or(Ok(()), Err)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        THREADS.fetch_sub(self.workers.len() + 1, Relaxed);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Tasks' panics are caught, so there is nothing to learn from this.
            let _ = worker.join();
        }
    }
}

/// The life of worker `me`.
fn work(shared: &Shared, me: usize) {
    super::COUNT.set(1);
    let mut last = 0;
    while let Some(door) = next_door(shared, me, last) {
        last = door / REGION;
        let enter = |d: u64| (d & OPEN != 0 && d / REGION == last).then_some(d + 1);
        if shared.door.fetch_update(Acquire, Relaxed, enter).is_err() {
            continue; // Closed meanwhile.
        }
        // SAFETY: this worker is inside. The owner wrote the pointer before it opened
        // the door (release, acquire) and keeps the region alive until everybody has
        // left.
        let region = unsafe { &**shared.region.get() };
        memory::set_rank(region.rank);
        region.work();
        let left = shared.door.fetch_sub(1, SeqCst) - 1;
        // From here on the region may be gone.
        if left & (OPEN | INSIDE) == 0 && shared.owner_asleep.load(SeqCst) {
            shared.owner.unpark();
        }
    }
}

/// Waits for an open door with another number than `last`. `None` when the pool ends.
fn next_door(shared: &Shared, me: usize, last: u64) -> Option<u64> {
    let found = || {
        let door = shared.door.load(SeqCst);
        (door & OPEN != 0 && door / REGION != last).then_some(door)
    };
    loop {
        let patient = THREADS.load(Relaxed) <= super::available_once();
        let since = Instant::now();
        let mut waited = Duration::ZERO;
        while patient && waited < LINGER {
            for _ in 0..16 {
                if let Some(door) = found() {
                    return Some(door);
                }
                spin_loop();
            }
            if shared.over.load(Relaxed) {
                return None;
            }
            if waited >= SPIN {
                thread::yield_now();
            }
            waited = since.elapsed();
        }
        shared.asleep[me].store(true, SeqCst);
        let door = found();
        if door.is_none() && !shared.over.load(SeqCst) {
            thread::park();
        }
        shared.asleep[me].store(false, Relaxed);
        if shared.over.load(SeqCst) {
            return None;
        }
        if door.is_some() {
            return door;
        }
    }
}
