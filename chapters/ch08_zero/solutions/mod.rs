//! An answer to each exercise of chapter 8, and why it is one.
pub mod ex1_parts_of_a_buffer;
pub mod ex2_gradient_norm;
pub mod ex3_prefetch;
