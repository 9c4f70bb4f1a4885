//! Chapter 6: what tensor parallelism left whole is cut along the sequence.
//!
//! Norms and residual connections look at one token at a time: each rank has the tokens
//! of its part of the sequence there. Where matrices begin that are cut over the ranks,
//! the sequence is gathered, and where they end, the sum is scattered over it
//! ([`tensor_parallel`]). A gather and a scatter cost as many bytes as the sum of
//! chapter 5, and what a layer saves for backward is divided by the number of ranks,
//! all of it: also what was gathered. Backward gathers that again, for a quarter more
//! bytes ([`linear`]).
#[path = "../../ch05_tensor_parallel/src/attention.rs"]
pub mod attention;
#[path = "../../ch05_tensor_parallel/src/block.rs"]
pub mod block;
pub mod config;
#[path = "../../ch04_data_parallel/src/evaluate.rs"]
pub mod evaluate;
#[path = "../../ch05_tensor_parallel/src/gradients.rs"]
pub mod gradients;
#[path = "../../ch01_single_gpu/src/inputs.rs"]
pub mod inputs;
pub mod linear;
#[path = "../../ch02_mixed_precision/src/loss_scale.rs"]
pub mod loss_scale;
#[path = "../../ch05_tensor_parallel/src/mlp.rs"]
pub mod mlp;
pub mod model;
#[path = "../../ch05_tensor_parallel/src/optimizer.rs"]
pub mod optimizer;
#[path = "../../ch01_single_gpu/src/presets.rs"]
pub mod presets;
#[path = "../../ch03_recompute/src/recompute.rs"]
pub mod recompute;
#[path = "../../ch04_data_parallel/src/replicas.rs"]
pub mod replicas;
pub mod run;
#[path = "../../ch03_recompute/src/segment.rs"]
pub mod segment;
pub mod tensor_parallel;
#[path = "../../ch04_data_parallel/src/train.rs"]
pub mod train;
#[path = "../../ch05_tensor_parallel/src/vocabulary.rs"]
pub mod vocabulary;
#[path = "../../ch05_tensor_parallel/src/weights.rs"]
pub mod weights;

pub use config::Config;
pub use run::run;
