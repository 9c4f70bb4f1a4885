//! Calls that NCCL carries, with a NCCL and GPUs that are made of threads and of memory
//! that they share: no GPU is needed. (What NCCL does on a GPU is seen on a machine
//! that has some.)
#![expect(clippy::duplicate_mod, reason = "the same cases, in either memory")]
mod device;
mod gpu;
mod host;
mod lanes;
mod processes;
mod start;
