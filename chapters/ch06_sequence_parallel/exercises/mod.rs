//! The exercises of chapter 6: to fill in, or to find the bug in.
pub mod ex1_g_and_g_bar;
pub mod ex2_norm_gradients;
pub mod ex3_saved_bytes;
