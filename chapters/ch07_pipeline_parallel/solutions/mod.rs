//! An answer to each exercise of chapter 7, and why it is one.
pub mod ex1_one_f_one_b;
pub mod ex2_stages_that_wait;
pub mod ex3_uneven_layers;
pub mod ex4_bubble;
pub mod ex5_zero_bubble;
pub mod ex6_inbox;
