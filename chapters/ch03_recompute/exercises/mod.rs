//! The exercises of chapter 3: to fill in, or to find the bug in.
pub mod ex1_segment;
pub mod ex2_forgotten_output;
pub mod ex3_bytes_of_a_layer;
pub mod ex4_dropout;
pub mod ex5_layers_of_a_segment;
