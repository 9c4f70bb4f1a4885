//! Each kernel beside the operation of `ops` that it is the twin of, which computes in
//! f64 on the same numbers.
//!
//! They run on the CPU, by `host/`. Outputs are poisoned before, and what lies around
//! every array is looked at after; and all is done twice, with the threads of a block
//! in either order, and must come to the same bits. With FERROTRON_KERNELS=cuda, and
//! the feature `cuda`, they run on a GPU.
#![cfg(target_os = "linux")]

mod adamw;
mod attention;
mod bias;
mod elementwise;
mod embedding;
mod gpu;
mod host;
mod loss;
#[cfg(feature = "cuda")]
mod matmul;
mod norm;
#[cfg(feature = "cuda")]
mod nvrtc;
mod rope;
mod twin;
