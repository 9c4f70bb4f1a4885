//! Chapter 8: data-parallel ranks divide what they all had.
//!
//! Each rank updates its part of every flat buffer and has the optimizer's states of
//! that part alone; with stage 2 also the gradients, and with stage 3 the parameters,
//! which are gathered for each stretch of the model when it works ([`zero`]).
#[path = "../../ch05_tensor_parallel/src/attention.rs"]
pub mod attention;
#[path = "../../ch05_tensor_parallel/src/block.rs"]
pub mod block;
pub mod config;
pub mod evaluate;
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
pub mod optimizer;
pub mod pipeline;
#[path = "../../ch07_pipeline_parallel/src/plan.rs"]
pub mod plan;
#[path = "../../ch01_single_gpu/src/presets.rs"]
pub mod presets;
#[path = "../../ch03_recompute/src/recompute.rs"]
pub mod recompute;
#[path = "../../ch04_data_parallel/src/replicas.rs"]
pub mod replicas;
pub mod run;
#[path = "../../ch07_pipeline_parallel/src/schedule.rs"]
pub mod schedule;
#[path = "../../ch03_recompute/src/segment.rs"]
pub mod segment;
#[path = "../../ch07_pipeline_parallel/src/stages.rs"]
pub mod stages;
#[path = "../../ch06_sequence_parallel/src/tensor_parallel.rs"]
pub mod tensor_parallel;
pub mod train;
#[path = "../../ch05_tensor_parallel/src/vocabulary.rs"]
pub mod vocabulary;
#[path = "../../ch05_tensor_parallel/src/weights.rs"]
pub mod weights;
pub mod zero;

pub use config::Config;
pub use run::run;
