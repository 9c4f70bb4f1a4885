//! What an answer must hold to, the same for the reader's and for ours.
pub mod ex1_round_to_bf16;
pub mod ex2_master_weights;
pub mod ex3_loss_scale;
pub mod ex4_scaled_step;
