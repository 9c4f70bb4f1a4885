//! Chapter 3: activations are computed again in backward instead of being kept.
//!
//! A [`segment`] is a stretch of the model whose backward may find what it needs in
//! memory, or have it computed again. [`recompute`] says which stretches there are and
//! what is kept of each: whole layers may go ([`model`]), or the outputs of single
//! operations that are large and cheap ([`block`], [`attention`], [`mlp`]). Losses,
//! gradients and weights stay the same, to the last bit.
pub mod attention;
pub mod block;
pub mod config;
#[path = "../../ch01_single_gpu/src/evaluate.rs"]
pub mod evaluate;
#[path = "../../ch01_single_gpu/src/inputs.rs"]
pub mod inputs;
#[path = "../../ch01_single_gpu/src/linear.rs"]
pub mod linear;
#[path = "../../ch02_mixed_precision/src/loss_scale.rs"]
pub mod loss_scale;
pub mod mlp;
pub mod model;
#[path = "../../ch02_mixed_precision/src/optimizer.rs"]
pub mod optimizer;
#[path = "../../ch01_single_gpu/src/presets.rs"]
pub mod presets;
pub mod recompute;
pub mod run;
pub mod segment;
#[path = "../../ch02_mixed_precision/src/train.rs"]
pub mod train;
#[path = "../../ch01_single_gpu/src/weights.rs"]
pub mod weights;

pub use config::Config;
pub use run::run;
