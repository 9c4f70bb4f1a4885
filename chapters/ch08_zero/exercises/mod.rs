//! The exercises of chapter 8: to fill in, or to find the bug in.
pub mod ex1_parts_of_a_buffer;
pub mod ex2_gradient_norm;
pub mod ex3_prefetch;
