//! The exercises of chapter 4: to fill in, or to find the bug in.
pub mod ex1_ring_all_reduce;
pub mod ex2_average_by_tokens;
pub mod ex3_step_with_buckets;
pub mod ex4_dealing_rows;
pub mod ex5_bytes_of_gradients;
