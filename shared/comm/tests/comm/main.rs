//! Ranks as threads: what collectives compute, what is booked, and that nothing hangs.
//! (tests/nccl has the same cases made by NCCL.)
mod collectives;
mod disagreement;
mod mesh;
mod started;
mod tensors;
mod threads;

use comm::launch;
