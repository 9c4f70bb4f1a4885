//! Chapter 2: mixed precision, 16-bit numbers where they do and fp32 where they do not.
//!
//! The model computes in bf16 or fp16. What would be lost in 16 bits stays in fp32: the
//! weights themselves, as the optimizer sees them ([`optimizer`]), the gradients, added
//! up over micro-batches, and every sum inside an operation (the crate `ops`). In fp16,
//! small gradients would be lost on their way back as well; [`loss_scale`] keeps them.
#[path = "../../ch01_single_gpu/src/attention.rs"]
pub mod attention;
#[path = "../../ch01_single_gpu/src/block.rs"]
pub mod block;
pub mod config;
#[path = "../../ch01_single_gpu/src/evaluate.rs"]
pub mod evaluate;
#[path = "../../ch01_single_gpu/src/inputs.rs"]
pub mod inputs;
#[path = "../../ch01_single_gpu/src/linear.rs"]
pub mod linear;
pub mod loss_scale;
#[path = "../../ch01_single_gpu/src/mlp.rs"]
pub mod mlp;
#[path = "../../ch01_single_gpu/src/model.rs"]
pub mod model;
pub mod optimizer;
#[path = "../../ch01_single_gpu/src/presets.rs"]
pub mod presets;
pub mod run;
pub mod train;
#[path = "../../ch01_single_gpu/src/weights.rs"]
pub mod weights;

pub use config::Config;
pub use run::run;
