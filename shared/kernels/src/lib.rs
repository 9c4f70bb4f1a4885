//! What a GPU computes with: the kernels' sources, and how each is started.
//!
//! The sources, in `cuda/`, are compiled when a program runs, by NVRTC. They are
//! written in the part of CUDA that is C. So any C compiler takes them too, with a few
//! words for what CUDA adds (`host/`), and the tests of this crate run them on a CPU:
//! every index, every barrier, and products on tensor cores, number by number. What a
//! CPU cannot show is how fast they are.
//!
//! A function here makes a [`Launch`] of sizes and addresses. It knows nothing of
//! drivers; whoever has one carries the launch out.
#![warn(missing_docs)]

mod launch;
pub mod norm;
mod source;
pub mod sums;

pub use launch::{Launch, Number, Ptr, WARP};
pub use source::{HEADERS, Source};
