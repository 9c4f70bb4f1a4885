//! An answer to each exercise of chapter 3, and why it is one.
pub mod ex1_segment;
pub mod ex2_forgotten_output;
pub mod ex3_bytes_of_a_layer;
pub mod ex4_dropout;
pub mod ex5_layers_of_a_segment;
