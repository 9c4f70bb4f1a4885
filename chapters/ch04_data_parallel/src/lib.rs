//! Chapter 4: several ranks train one model, each on its share of the data.
//!
//! Every rank holds all parameters, which start and stay equal ([`replicas`]). It makes
//! forward and backward on its own sequences; then the gradients of all ranks are
//! summed, bucket by bucket and while backward goes on ([`gradients`]), and every rank
//! takes the same optimizer step. What the sums are made of: [`train`].
#[path = "../../ch03_recompute/src/attention.rs"]
pub mod attention;
#[path = "../../ch03_recompute/src/block.rs"]
pub mod block;
pub mod config;
pub mod evaluate;
pub mod gradients;
#[path = "../../ch01_single_gpu/src/inputs.rs"]
pub mod inputs;
#[path = "../../ch01_single_gpu/src/linear.rs"]
pub mod linear;
#[path = "../../ch02_mixed_precision/src/loss_scale.rs"]
pub mod loss_scale;
#[path = "../../ch03_recompute/src/mlp.rs"]
pub mod mlp;
pub mod model;
#[path = "../../ch02_mixed_precision/src/optimizer.rs"]
pub mod optimizer;
#[path = "../../ch01_single_gpu/src/presets.rs"]
pub mod presets;
#[path = "../../ch03_recompute/src/recompute.rs"]
pub mod recompute;
pub mod replicas;
pub mod run;
#[path = "../../ch03_recompute/src/segment.rs"]
pub mod segment;
pub mod train;
#[path = "../../ch01_single_gpu/src/weights.rs"]
pub mod weights;

pub use config::Config;
pub use run::run;
