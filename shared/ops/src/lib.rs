//! (being written)
pub mod gemm;
pub mod threads;
