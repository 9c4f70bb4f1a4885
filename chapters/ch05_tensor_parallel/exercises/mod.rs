//! The exercises of chapter 5: to fill in, or to find the bug in.
pub mod ex1_which_heads;
pub mod ex2_f_and_g;
pub mod ex3_fused_qkv;
pub mod ex4_vocabulary_parallel_loss;
pub mod ex5_gradient_norm;
