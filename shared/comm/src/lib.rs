//! Ranks, groups of them, and what they tell each other.
//!
//! [`launch`] starts the ranks, each with a [`Group`] of all of them. A group
//! has collectives, which every member calls in the same order ([`Group::all_reduce`],
//! [`Group::all_gather`], [`Group::reduce_scatter`], [`Group::all_to_all`],
//! [`Group::broadcast`], [`Group::barrier`]), and messages between two of them
//! ([`Group::send`], [`Group::recv`], [`Group::exchange`]). A collective can be started
//! and waited for later ([`Group::start_all_reduce`] and others). Three of them also
//! make tensors of tensors ([`Group::all_reduce_tensor`], [`Group::all_gather_tensor`],
//! [`Group::reduce_scatter_tensor`]). Groups are made of
//! groups: by hand ([`Group::subgroup`]), by color ([`Group::split`]), or as the axes
//! of a [`Mesh`].
//!
//! ```
//! use comm::{Reduce, launch};
//!
//! let sums = launch(3, |world| {
//!     let mut data = [world.rank() as f32, 1.0];
//!     world.all_reduce("gradients", &mut data, Reduce::Sum)?;
//!     comm::Result::Ok(data)
//! });
//! assert_eq!(sums.unwrap(), [[3.0, 3.0]; 3]);
//! ```
//!
//! **Sums are made in the order of the ranks**, 16-bit numbers in fp32 and rounded
//! once: the same bits in every run, and on every rank. (Over NCCL they are the same on
//! every rank, and no more than that.)
//!
//! **Nothing hangs here.** Ranks that disagree about a call, that wait for each other
//! in a circle, or for one that has returned or panicked, are found at once, by what
//! each of them waits for and not by a clock; every rank then gets an [`Error`] that
//! says what each was calling, and where. (What ranks wait for elsewhere, in a channel
//! or a lock of their own, is not seen.)
//!
//! **Ranks are threads, or processes.** With the feature `mpi`, a program that `mpirun`
//! starts is one rank of as many as there are processes, on one host or several; the
//! results have the same bits. There, too, a rank that fails, panics, exits or returns
//! early ends the run, and when a process dies, each of the others says what it waited
//! for. Calls are compared, and circles found, if `FERROTRON_COMM_DEBUG=1` is in rank
//! 0's environment.
//!
//! **Ranks may have a GPU each** ([`launch_on_gpus`], with the feature `cuda`): NCCL
//! carries their calls then, between threads or between processes that `torchrun` or
//! `srun` started, and calls are in order with kernels while the processor goes on.
//! When a process dies, each of the others says what it had under way; and there is a
//! time limit for calls, FERROTRON_COMM_TIMEOUT (in seconds, 600 if it is not set).
//!
//! **Everything is counted**: what a ring would send for each call, by family, group
//! and operation, and how long the rank waited for it ([`Ledger`]).
#![warn(missing_docs)]

mod call;
mod collectives;
mod device;
mod engine;
mod error;
#[cfg(feature = "cuda")]
pub mod gpu;
mod group;
mod kernels;
mod launch;
mod ledger;
#[cfg(any(feature = "mpi", feature = "cuda"))]
mod letters;
mod memory;
mod mesh;
mod messages;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "cuda")]
mod nccl;
mod number;
mod pending;
mod processes;
#[cfg(any(feature = "mpi", feature = "cuda"))]
mod registrar;
#[cfg(any(feature = "cuda", test))]
mod rendezvous;
mod tensors;
mod threads;
mod world;

pub use call::Reduce;
pub use error::{Error, Result};
pub use group::Group;
#[cfg(feature = "cuda")]
pub use launch::launch_on;
pub use launch::{launch, launch_on_gpus, launch_threads};
pub use ledger::{Entry, Ledger, Line, Span};
pub use mesh::{Layout, Mesh};
pub use number::Number;
pub use pending::Pending;
pub use processes::{place_here, processes, ranks_here};
pub use tensors::{PendingTensor, SentTensor};
