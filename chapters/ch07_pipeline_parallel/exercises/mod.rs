//! The exercises of chapter 7: to fill in, or to find the bug in.
pub mod ex1_one_f_one_b;
pub mod ex2_stages_that_wait;
pub mod ex3_uneven_layers;
pub mod ex4_bubble;
pub mod ex5_zero_bubble;
pub mod ex6_inbox;
