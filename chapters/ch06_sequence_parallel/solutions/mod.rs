//! An answer to each exercise of chapter 6, and why it is one.
pub mod ex1_g_and_g_bar;
pub mod ex2_norm_gradients;
pub mod ex3_saved_bytes;
