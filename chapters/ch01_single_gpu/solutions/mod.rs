//! An answer to each exercise of chapter 1, and why it is one.
pub mod ex1_rms_norm_backward;
pub mod ex2_cross_entropy;
pub mod ex3_accumulation;
pub mod ex4_adamw;
pub mod ex5_flops;
pub mod ex6_clipping;
pub mod ex7_tied_embedding;
pub mod ex8_packed_documents;
