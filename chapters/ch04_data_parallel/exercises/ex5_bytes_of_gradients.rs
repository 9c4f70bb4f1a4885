//! # Fill in: the bytes of the gradients
//!
//! How many bytes does one rank send in a run for the sake of the gradients? That
//! follows from a few numbers, before anything has run. The ledger books for each
//! all-reduce what a rank sends in a ring, where $n$ ranks have cut the data in $n$
//! chunks of equal size (exercise 1): the chunk goes out $2(n - 1)$ times. If $n$ does
//! not divide the number of elements, chunks are rounded up, and the last ones padded.
//!
//! Write it for a run of this chapter's program of `steps` steps: `buckets` are the
//! sizes of the model's flat buffers, in elements, and `dtype` is the type of the
//! parameters. On each of `ranks` ranks a step has `micro_batches` micro-batches.
//!
//! The checks compare it with the ledger of the chapter's own code, of the family
//! `gradients`, with sizes that do not divide.
//!
//! ## Hint
//!
//! Which of the arguments matter at all? See in `gradients.rs` what is given to
//! `start_all_reduce`, once for what, and in `train.rs` in which micro-batch. What type
//! do gradients have where parameters have 16 bits (`Flat::grads`)? Are there more
//! bytes in two buckets of 5 elements or in one of 10, with four ranks? And what does a
//! single rank send?
#![allow(unused_variables)]
use candle_core::DType;

/// Bytes that one of `ranks` ranks sends in `steps` steps to sum the gradients.
pub fn gradient_bytes(
    buckets: &[usize],
    dtype: DType,
    ranks: usize,
    micro_batches: usize,
    steps: usize,
) -> u64 {
    todo!("what a ring sends for each bucket")
}
