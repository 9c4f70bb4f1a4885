//! The cases of tests/comm, with ranks' numbers in the GPU's memory.
#[path = "../comm/collectives.rs"]
mod collectives;
#[path = "../comm/disagreement.rs"]
mod disagreement;
#[path = "../comm/started.rs"]
mod started;

use crate::gpu::{Fakes, Memory};
use comm::{Error, Group};
use std::fmt::Display;

pub fn launch<T: Send, E: Display + Send>(
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    comm::launch_on(&Fakes::new(ranks, Memory::Gpu), ranks, f)
}
