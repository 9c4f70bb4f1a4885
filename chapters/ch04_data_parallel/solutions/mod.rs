//! An answer to each exercise of chapter 4, and why it is one.
pub mod ex1_ring_all_reduce;
pub mod ex2_average_by_tokens;
pub mod ex3_step_with_buckets;
pub mod ex4_dealing_rows;
pub mod ex5_bytes_of_gradients;
