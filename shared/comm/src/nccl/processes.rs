//! Ranks as processes that `torchrun` or `srun` started, on one host or several.
use super::remote::Remote;
use super::{Nccl, Shared};
use crate::error::{Error, Result};
use crate::gpu::Gpus;
use crate::group::Group;
use crate::launch::{outcome, spawn, verdict};
use crate::processes::Job;
use crate::rendezvous::Seat;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::scope;

/// Runs `f` on this process's rank, among those of a job.
///
/// # Errors
/// As for [`launch_on`](crate::launch_on).
pub(crate) fn launch<T: Send, E: Display + Send>(
    job: &Job,
    gpus: &dyn Gpus,
    ranks: usize,
    f: impl Fn(Group) -> std::result::Result<T, E> + Sync,
) -> Result<Vec<T>> {
    let Job { by, rank, size, local_rank, .. } = *job;
    if ranks != size {
        return Err(Error::new(format!(
            "{ranks} ranks, but {by} started {size} processes, each of which is one: \
             start {ranks}, or ask for {size}"
        )));
    }
    // One after the other, in the same order in every process.
    static LAUNCHES: Mutex<u64> = Mutex::new(0);
    let mut launches = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let launch = *launches;
    *launches += 1;
    let limit = super::limit()?;
    let Job { host, port, token, .. } = job.clone();
    let seat = Seat { rank, size, host, port, token, launch, limit };
    let set = std::env::var("FERROTRON_COMM_DEBUG");
    let watch = set.is_ok_and(|set| set != "0");
    let (remote, meeting) = Remote::meet(&seat, watch)?;
    let remote = Arc::new(remote);
    let mut own = None;
    let run = || {
        outcome(rank, || {
            // Only now: what is missing here all ranks shall hear.
            let shared = Shared::new(gpus);
            let engine = shared.and_then(|shared| {
                let count = gpus.count();
                // The only one that it sees may be its own; if not, NCCL says so.
                let ordinal = if count == 1 { 0 } else { local_rank };
                if ordinal >= count {
                    return Err(Error::new(format!(
                        "it is process {local_rank} of its host, from 0, which has \
                         {count} GPUs: let {by} start no more processes on a host than \
                         it has GPUs"
                    )));
                }
                let here = crate::ranks_here(ranks);
                let own = if count < here { 0 } else { crate::place_here(rank, ranks) };
                if own != ordinal {
                    return Err(Error::new(format!(
                        "its kernels would run on GPU {own}, and its calls on GPU \
                         {ordinal}, if this host has {here} ranks and {count} GPUs: is \
                         LOCAL_WORLD_SIZE right?"
                    )));
                }
                Nccl::new(&shared, remote.clone(), gpus, ordinal, rank)
            });
            let engine = engine.map_err(|error| format!("rank {rank}: {error}"))?;
            let engine: Arc<Nccl> = Arc::new(engine);
            own = Some(engine.clone());
            let group = Group::world(engine, "world".into(), ranks, rank);
            f(group.map_err(|error| error.to_string())?)
                .map_err(|error| format!("rank {rank}: {error:#}"))
        })
    };
    let result = scope(|scope| match spawn(scope, rank, run) {
        // A panic was caught.
        Ok(thread) => thread.join().unwrap_or_else(|_| Err("a panic".into())),
        Err(error) => Err(format!("no thread for rank {rank}: {error}")),
    });
    remote.returns(result.as_ref().err().cloned());
    remote.all_returned_or_failed();
    // A peer's abort may wait until this rank's communicators are gone, too.
    if let Some(engine) = own {
        crate::engine::Engine::finish(&*engine);
    }
    let failure = remote.all_returned();
    meeting.leave();
    verdict(rank, result, failure).map(|result| vec![result])
}
