//! What a GPU computes with: the kernels' sources, and how each is started.
//!
//! The sources, in `cuda/`, are compiled when a program runs, by NVRTC. They are
//! written in the part of CUDA that is C. So any C compiler takes them too, with a few
//! words for what CUDA adds (`host/`), and the tests of this crate run them on a CPU:
//! every index, every barrier, and products on tensor cores, number by number. What a
//! CPU cannot show is how fast they are.
//!
//! A function here makes a [`Launch`] of sizes and addresses. It knows nothing of
//! drivers; whoever has one carries the launch out: an [`Engine`]. There is that of a
//! GPU, and a CPU in its role, each a feature (`cuda`, `host`).
#![warn(missing_docs)]

pub mod adamw;
pub mod attention;
pub mod bias;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod elementwise;
pub mod embedding;
pub mod engine;
mod error;
#[cfg(feature = "cuda")]
pub mod gpu;
#[cfg(feature = "host")]
pub mod host;
mod launch;
pub mod loss;
#[cfg(feature = "cuda")]
pub mod matmul;
pub mod norm;
mod product;
pub mod reduce;
pub mod rope;
mod source;
mod spans;
pub mod sums;

pub use engine::Engine;
pub use error::{Error, Result};
pub use launch::{Launch, Number, Ptr, WARP};
pub use product::{Math, Matrix, Store};
pub use source::{HEADERS, Source};
