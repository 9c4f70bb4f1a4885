//! Starts ranks.
use crate::engine::Engine;
use crate::error::Error;
use crate::group::Group;
use crate::processes::{Started, started};
use crate::threads::Threads;
use crate::world::World;
use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};

/// Deep graphs are walked by recursion in places; 64 MiB, of which only what is touched
/// takes memory.
const STACK: usize = 64 << 20;

/// Runs `f` on so many ranks, each with its group of all, and returns what they return,
/// in the order of the ranks: of those ranks that are in this process.
///
/// That is all of them, each a thread, as in [`launch_threads`]. But if `mpirun`
/// started this process and others (see [`processes`](crate::processes)), each process
/// is one rank.
///
/// When one rank fails or panics, the others' next calls fail, so that all come to an
/// end. Of several processes, the one whose rank failed returns its error; the others,
/// which were only told, end here with status 1, so that it is told once.
///
/// # Errors
/// A rank failed: of several, the one that failed first, with its number. Or there are
/// no ranks, or another number of them than of processes.
pub fn launch<T: Send, E: Display + Send>(
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    match started()? {
        Started::Alone => launch_threads(ranks, f),
        #[cfg(feature = "mpi")]
        Started::Mpi(processes) => crate::mpi::launch(ranks, processes, f),
        #[cfg(feature = "cuda")]
        Started::Job(job) if job.size > 1 => Err(Error::new(format!(
            "{} started {} processes, between which only NCCL carries calls, and this \
             launch has no GPUs: ask for them (`comm::launch_on_gpus`), or use mpirun",
            job.by, job.size
        ))),
        #[cfg(feature = "cuda")]
        Started::Job(_) => launch_threads(ranks, f),
    }
}

/// As [`launch`], of ranks that compute on GPUs, in a build with the feature `cuda`;
/// see `launch_on`. In any other build it is [`launch`].
///
/// # Errors
/// As for [`launch`]; or NCCL is missing, or a rank's GPU cannot be used.
pub fn launch_on_gpus<T: Send, E: Display + Send>(
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    #[cfg(feature = "cuda")]
    return launch_on(&crate::gpu::Cuda, ranks, f);
    #[cfg(not(feature = "cuda"))]
    launch(ranks, f)
}

/// As [`launch`], of ranks that have GPUs, if there are enough of them: NCCL carries
/// their calls then, between threads of one process, of which rank `r` has GPU `r`, or
/// between the processes that `torchrun` or `srun` started, each of which has the GPU
/// of its place on its host (or the only one that it sees). Nothing else is opened
/// here: a rank's kernels must run on the stream that `gpus` gives for it, and its
/// thread sees to that by itself.
///
/// With fewer GPUs than ranks in one process it is [`launch_threads`].
///
/// # Errors
/// As for [`launch`]; or NCCL is missing, or a rank's GPU cannot be used, or `mpirun`
/// started the processes.
#[cfg(feature = "cuda")]
pub fn launch_on<T: Send, E: Display + Send>(
    gpus: &dyn crate::gpu::Gpus,
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    use crate::nccl::{Nccl, Shared, launch};
    // See `nccl` on many communicators. CUDA reads it when it starts.
    const QUEUES: &str = "CUDA_DEVICE_MAX_CONNECTIONS";
    if std::env::var_os(QUEUES).is_none() {
        // SAFETY: no rank has started, so nobody else reads the environment.
        unsafe { std::env::set_var(QUEUES, "32") };
    }
    if let Some(job) = crate::processes::job()?.filter(|job| job.size > 1) {
        return launch(&job, gpus, ranks, f);
    }
    match started()? {
        #[cfg(feature = "mpi")]
        Started::Mpi(processes @ 2..) => {
            return Err(Error::new(format!(
                "mpirun started {processes} processes, and MPI carries here what is in \
                 the processor's memory: start ranks that have GPUs by torchrun or srun"
            )));
        }
        _ => {}
    }
    // Nobody to talk to: NCCL is not needed.
    if ranks < 2 || gpus.count() < ranks {
        return launch_threads(ranks, f);
    }
    let shared = Shared::new(gpus)?;
    let engine = |world: &Arc<World>, rank: usize| -> Result<Arc<dyn Engine>, Error> {
        Ok(Arc::new(Nccl::of_thread(&shared, gpus, world.clone(), rank)?))
    };
    threads(ranks, engine, f)
}

/// Runs `f` on so many ranks, each a thread of this process, whatever started it. They
/// reach no rank of another process.
///
/// # Errors
/// As for [`launch`].
pub fn launch_threads<T: Send, E: Display + Send>(
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    let engine = |world: &Arc<World>, rank: usize| -> Result<Arc<dyn Engine>, Error> {
        Ok(Arc::new(Threads::new(world.clone(), rank)))
    };
    threads(ranks, engine, f)
}

/// Runs `f` on ranks that are threads, each with its engine.
fn threads<T: Send, E: Display + Send>(
    ranks: usize,
    engine: impl Fn(&Arc<World>, usize) -> Result<Arc<dyn Engine>, Error> + Sync,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    if ranks == 0 {
        return Err(Error::new("0 ranks: expected at least 1"));
    }
    let world = World::new(ranks);
    let run = |rank: usize| {
        let mut own = None;
        let outcome = outcome(rank, || {
            let engine = engine(&world, rank).map_err(|error| error.to_string())?;
            own = Some(engine.clone());
            let group = Group::world(engine, "world".into(), ranks, rank);
            f(group.map_err(|error| error.to_string())?)
                .map_err(|error| format!("rank {rank}: {error:#}"))
        });
        let (result, why) = match outcome {
            Ok(result) => (Some(result), None),
            Err(why) => (None, Some(Error::new(why))),
        };
        world.returned(rank, why);
        if let Some(engine) = own {
            engine.finish();
        }
        result
    };
    let run = &run;
    let results: Vec<Option<T>> = scope(|scope| {
        let mut threads = vec![];
        for rank in 0..ranks {
            match spawn(scope, rank, move || run(rank)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let why = format!("no thread for rank {rank} of {ranks}: {error}");
                    world.returned(rank, Some(Error::new(why)));
                    break;
                }
            }
        }
        // A panic was caught, and is a failure of the world.
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    match world.failure() {
        Some(error) => Err(error),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

/// A thread for a rank.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    rank: usize,
    run: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, T>> {
    let name = format!("rank {rank}");
    Builder::new().name(name).stack_size(STACK).spawn_scoped(scope, run)
}

/// What a rank's thread comes to: a panic is an error.
pub(crate) fn outcome<T>(
    rank: usize,
    run: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    memory::set_rank(rank);
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let why = format!("rank {rank} panicked: {}", said(&*panic));
        // Dropping it could panic again.
        std::mem::forget(panic);
        Err(why)
    })
}

/// What the launch of one process comes to, when all ranks have returned: `failure` is
/// why calls of all failed, and which rank said so. Ends the process if that is told
/// elsewhere.
#[cfg(any(feature = "mpi", feature = "cuda"))]
pub(crate) fn verdict<T>(
    rank: usize,
    result: Result<T, String>,
    failure: Option<(usize, Error)>,
) -> Result<T, Error> {
    let Some((origin, first)) = failure else { return result.map_err(Error::new) };
    let text = first.to_string();
    // All ranks may have failed alike: that is told once.
    let alike = |own: &str| {
        let said = own.split_once(": ").map_or(own, |(_rank, said)| said);
        own.contains(&text) || text.contains(said)
    };
    match result {
        Err(own) if !alike(&own) => Err(Error::new(format!("{text}\nand then {own}"))),
        _ if origin == rank => Err(first),
        _ => std::process::exit(1),
    }
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let formatted = || panic.downcast_ref::<String>().map(String::as_str);
    literal.or_else(formatted).unwrap_or("(a value that is no text)")
}
