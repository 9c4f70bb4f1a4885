//! An answer to each exercise of chapter 2, and why it is one.
pub mod ex1_round_to_bf16;
pub mod ex2_master_weights;
pub mod ex3_loss_scale;
pub mod ex4_scaled_step;
