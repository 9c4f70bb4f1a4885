//! An answer to each exercise of chapter 5, and why it is one.
pub mod ex1_which_heads;
pub mod ex2_f_and_g;
pub mod ex3_fused_qkv;
pub mod ex4_vocabulary_parallel_loss;
pub mod ex5_gradient_norm;
