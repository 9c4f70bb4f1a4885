//! What started this process.
use crate::error::{Error, Result};

/// Where launchers say how many processes they started: Open MPI's, and those that
/// speak PMI (MPICH, Slurm).
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// Where they say how many of these are on this host.
const LOCAL_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

/// How many of `ranks` share this host, and so its cores: all of them, if they are
/// threads; if they are processes, as many as the launcher says.
pub fn ranks_here(ranks: usize) -> usize {
    let found = LOCAL_SIZES.iter().find_map(|name| std::env::var(name).ok());
    let here = found.and_then(|n| n.parse().ok()).filter(|n| (1..=ranks).contains(n));
    here.unwrap_or(ranks)
}

/// How many processes `mpirun` started, of which this is one; `None` if this one was
/// started by itself. Each of them is one rank of a [`launch`](crate::launch) then, so
/// that this is the number of ranks to ask for.
///
/// # Errors
/// `mpirun` started several, and this program cannot talk to the others: it was built
/// without the feature `mpi`. (Each would be the whole run by itself.)
pub fn processes() -> Result<Option<usize>> {
    let found = SIZES.iter().find_map(|name| Some((*name, std::env::var(name).ok()?)));
    let Some((name, size)) = found else { return Ok(None) };
    let Some(size) = size.parse().ok().filter(|n| *n > 0) else {
        return Err(Error::new(format!("{name} is `{size}`, expected a number")));
    };
    if cfg!(feature = "mpi") {
        return Ok(Some(size));
    }
    if size == 1 {
        return Ok(None);
    }
    Err(Error::new(format!(
        "{size} processes were started ({name}), but this program was built for one: \
         build it with `--features mpi`, or start it without mpirun"
    )))
}
