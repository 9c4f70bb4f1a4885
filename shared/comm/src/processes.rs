//! What started this process.
use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
pub(crate) use job::Job;

#[cfg(any(feature = "cuda", test))]
mod job;

/// Where MPI's launchers say how many processes they started: Open MPI's, and those
/// that speak PMI (MPICH, Slurm).
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// Where others do, and what rank it is; and what these are called.
const OTHERS: [(&str, &str, &str); 2] = [
    ("WORLD_SIZE", "RANK", "torchrun"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"),
];

/// Where they say how many of these are on this host. `torchrun` comes first: mpirun
/// may have started one on each host.
const LOCAL_SIZES: [&str; 3] =
    ["LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

/// Where they say which of these a process is.
const LOCAL_RANKS: [&str; 4] =
    ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// Who started this process, and others.
pub(crate) enum Started {
    /// Nobody that is known here.
    Alone,
    /// mpirun, so many.
    #[cfg(feature = "mpi")]
    Mpi(usize),
    #[cfg(feature = "cuda")]
    Job(Job),
}

type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How many of `ranks` share this host, and so its cores: all of them, if they are
/// threads; if they are processes, as many as the launcher says.
pub fn ranks_here(ranks: usize) -> usize {
    // Threads of one process have one environment.
    if is_one_of_several() { here(&environment, ranks) } else { ranks }
}

fn is_one_of_several() -> bool {
    processes().is_ok_and(|n| n.is_some_and(|n| n > 1))
}

fn here(get: Get, ranks: usize) -> usize {
    let found = LOCAL_SIZES.iter().find_map(|name| get(name));
    let here = found.or_else(|| tasks_here(get)).and_then(|n| n.parse().ok());
    here.filter(|n| (1..=ranks).contains(n)).unwrap_or(ranks)
}

/// Which of the ranks of this host rank `rank` is, from 0: the number of its GPU, where
/// each has one. If the launcher does not say, hosts are filled one after the other.
pub fn place_here(rank: usize, ranks: usize) -> usize {
    if is_one_of_several() { place(&environment, rank, ranks) } else { rank }
}

fn place(get: Get, rank: usize, ranks: usize) -> usize {
    let here = here(get, ranks);
    let found = LOCAL_RANKS.iter().find_map(|name| get(name));
    let place = found.and_then(|n| n.parse().ok()).filter(|place| *place < here);
    place.unwrap_or(rank % here)
}

/// How many tasks Slurm's step has on this host: of `2(x3),1`, for the hosts in order.
fn tasks_here(get: Get) -> Option<String> {
    get("SLURM_STEP_ID")?;
    let (all, host) = (get("SLURM_STEP_TASKS_PER_NODE")?, get("SLURM_NODEID")?);
    let mut host: usize = host.parse().ok()?;
    for part in all.split(',') {
        let (tasks, hosts) = part.split_once("(x").unwrap_or((part, "1"));
        let hosts: usize = hosts.trim_end_matches(')').parse().ok()?;
        if host < hosts {
            return Some(tasks.to_string());
        }
        host -= hosts;
    }
    None
}

/// How many processes `mpirun` started, of which this is one, or in a build with the
/// feature `cuda` `torchrun` or `srun`; `None` if this one was started by itself. Each
/// of them is one rank of a [`launch`](crate::launch) then, so that this is the number
/// of ranks to ask for.
///
/// # Errors
/// Several were started, and this program cannot talk to the others: it was built
/// without the feature `mpi`, or `cuda`. (Each would be the whole run by itself.) Or
/// what the launcher says of them is not enough, or contradicts itself.
pub fn processes() -> Result<Option<usize>> {
    Ok(match started()? {
        Started::Alone => None,
        #[cfg(feature = "mpi")]
        Started::Mpi(processes) => Some(processes),
        #[cfg(feature = "cuda")]
        Started::Job(job) => Some(job.size).filter(|size| *size > 1),
    })
}

/// The job of `torchrun` or `srun`, whatever else started this process: Slurm speaks
/// PMI as well.
///
/// # Errors
/// As for [`processes`].
#[cfg(feature = "cuda")]
pub(crate) fn job() -> Result<Option<Job>> {
    job::read(&environment)
}

/// # Errors
/// As for [`processes`].
pub(crate) fn started() -> Result<Started> {
    let get = environment;
    let mpi = SIZES.into_iter().find_map(|name| Some((name, "mpirun", get(name)?)));
    if let (Some((name, _, text)), true) = (&mpi, cfg!(feature = "mpi")) {
        let _size = number(name, text)?;
        #[cfg(feature = "mpi")]
        return Ok(Started::Mpi(_size));
    }
    #[cfg(feature = "cuda")]
    if let Some(job) = job::read(&get)? {
        return Ok(Started::Job(job));
    }
    let other = OTHERS.into_iter().find_map(|(name, rank, by)| {
        get(rank)?;
        Some((name, by, get(name)?))
    });
    let Some((name, by, text)) = mpi.or(other) else { return Ok(Started::Alone) };
    let size = number(name, &text)?;
    if size == 1 {
        return Ok(Started::Alone);
    }
    let feature = if by == "mpirun" { "mpi" } else { "cuda" };
    Err(Error::new(format!(
        "{size} processes were started ({name}), but this program was built for one: \
         build it with `--features {feature}`, or start it without {by}"
    )))
}

fn number(name: &str, text: &str) -> Result<usize> {
    text.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| Error::new(format!("{name} is `{text}`, expected a number")))
}

#[cfg(test)]
mod tests {
    use super::{place, tasks_here};

    #[test]
    fn which_of_its_hosts_ranks_one_is() {
        let set = |set: &[(&str, &str)], rank| {
            let get = |name: &str| {
                let found = set.iter().find(|(other, _)| *other == name);
                found.map(|(_, text)| text.to_string())
            };
            place(&get, rank, 8)
        };
        // Ranks are dealt out to hosts in turns.
        assert_eq!(set(&[("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "4")], 2), 1);
        let hosts = ("SLURM_STEP_TASKS_PER_NODE", "2(x4)");
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_NODEID", "1"), hosts];
        assert_eq!(set(&[&step[..], &[("SLURM_LOCALID", "1")]].concat(), 5), 1);
        assert_eq!(set(&step, 4), 0);
        assert_eq!(set(&[], 5), 5);
    }

    #[test]
    fn how_many_tasks_slurm_has_here() {
        let of = |node: &str| {
            tasks_here(&|name| match name {
                "SLURM_STEP_ID" => Some("0".into()),
                "SLURM_STEP_TASKS_PER_NODE" => Some("4(x2),3,1(x2)".into()),
                "SLURM_NODEID" => Some(node.into()),
                _ => None,
            })
        };
        let found = ["0", "1", "2", "3", "4", "5"].map(of);
        let want = ["4", "4", "3", "1", "1"].map(|n| Some(n.to_string()));
        assert_eq!((&found[..5], &found[5]), (&want[..], &None));
    }
}
