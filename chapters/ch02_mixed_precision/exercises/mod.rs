//! The exercises of chapter 2: to fill in, or to find the bug in.
pub mod ex1_round_to_bf16;
pub mod ex2_master_weights;
pub mod ex3_loss_scale;
pub mod ex4_scaled_step;
