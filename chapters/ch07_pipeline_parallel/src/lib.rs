//! Chapter 7: the layers in stages, the micro-batches in flight.
//!
//! Each stage has consecutive layers, on ranks of its own, and hands hidden states to
//! the next and gradients back ([`pipeline`]). What it does in which order is a list
//! that is made and checked before anything is computed ([`schedule`], [`plan`]).
#[path = "../../ch05_tensor_parallel/src/attention.rs"]
pub mod attention;
#[path = "../../ch05_tensor_parallel/src/block.rs"]
pub mod block;
pub mod config;
pub mod evaluate;
#[path = "../../ch05_tensor_parallel/src/gradients.rs"]
pub mod gradients;
#[path = "../../ch01_single_gpu/src/inputs.rs"]
pub mod inputs;
#[path = "../../ch06_sequence_parallel/src/linear.rs"]
pub mod linear;
#[path = "../../ch02_mixed_precision/src/loss_scale.rs"]
pub mod loss_scale;
#[path = "../../ch05_tensor_parallel/src/mlp.rs"]
pub mod mlp;
pub mod model;
#[path = "../../ch05_tensor_parallel/src/optimizer.rs"]
pub mod optimizer;
pub mod pipeline;
pub mod plan;
#[path = "../../ch01_single_gpu/src/presets.rs"]
pub mod presets;
#[path = "../../ch03_recompute/src/recompute.rs"]
pub mod recompute;
#[path = "../../ch04_data_parallel/src/replicas.rs"]
pub mod replicas;
pub mod run;
pub mod schedule;
#[path = "../../ch03_recompute/src/segment.rs"]
pub mod segment;
pub mod stages;
#[path = "../../ch06_sequence_parallel/src/tensor_parallel.rs"]
pub mod tensor_parallel;
pub mod train;
#[path = "../../ch05_tensor_parallel/src/vocabulary.rs"]
pub mod vocabulary;
#[path = "../../ch05_tensor_parallel/src/weights.rs"]
pub mod weights;

pub use config::Config;
pub use run::run;
