//! Chapter 5: every matrix cut over several ranks.
//!
//! A rank holds some of the columns of the first matrix of a pair, and those rows of
//! the second that these columns meet ([`linear`]): some heads of attention, some
//! channels of the feed-forward layer, some words of the vocabulary ([`vocabulary`]).
//! What the ranks tell each other is two sums per pair, one forward and one backward
//! ([`tensor_parallel`]). With data parallelism, the ranks that hold the same part of
//! the model sum its gradients as before.
pub mod attention;
pub mod block;
pub mod config;
#[path = "../../ch04_data_parallel/src/evaluate.rs"]
pub mod evaluate;
pub mod gradients;
#[path = "../../ch01_single_gpu/src/inputs.rs"]
pub mod inputs;
pub mod linear;
#[path = "../../ch02_mixed_precision/src/loss_scale.rs"]
pub mod loss_scale;
pub mod mlp;
pub mod model;
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
pub mod vocabulary;
pub mod weights;

pub use config::Config;
pub use run::run;
