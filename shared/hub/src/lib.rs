//! Hugging Face folders, in and out.
//!
//! A model on the Hugging Face hub is a folder: `config.json` says what the model *is*,
//! `model.safetensors` (or several shards and an index) holds its weights,
//! `tokenizer.json` turns text into tokens. This crate reads such a folder, from disk
//! or from the hub, and writes one that transformers loads.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let folder = hub::Folder::open("Qwen/Qwen3-0.6B")?; // or a path
//! let config = folder.config()?;
//! println!("{:?}: {} parameters", config.family, config.parameters());
//!
//! let weights = folder.weights()?;
//! let shape = [config.vocab_size, config.hidden_size];
//! let mut embedding = vec![0f32; shape[0] * shape[1]];
//! weights.read("model.embed_tokens.weight", &shape, &[0, 0], &shape, &mut embedding)?;
//! # Ok(()) }
//! ```
//!
//! - [`ModelConfig`] is the architecture in Hugging Face's own names. A field of
//!   `config.json` that would change the maths and is not supported is an error; so is
//!   a key nobody here has heard of. Better to stop than to train another model
//!   quietly.
//! - [`Rope`] turns the RoPE settings into inverse frequencies, as transformers does.
//! - [`Weights`] copies any rectangular slice of a tensor, so that a rank which holds a
//!   quarter of a matrix reads a quarter of its bytes.
//! - [`save`] streams tensors out one at a time, under temporary names until complete.
//! - [`Hub`] is the cache and the network, with its settings explicit for tests.
//!
//! Files are input from strangers: a truncated, inconsistent or hostile one ends in an
//! error that names it, never in a panic or an allocation its size does not justify.

mod config;
mod environment;
mod fetch;
mod fields;
mod folder;
mod header;
mod nearest;
mod read_config;
mod rope;
mod rope_json;
mod save;
mod scalar;
mod temporary;
mod tokenizer;
mod validate;
mod watch;
mod weights;
mod write_config;

pub use config::{ExtraTokens, Family, ModelConfig, TensorSpec};
pub use environment::Hub;
pub use folder::Folder;
pub use rope::{Rope, Scaling};
pub use save::{DEFAULT_SHARD_BYTES, Save, TensorWriter, save};
pub use scalar::{Dtype, Scalar};
pub use temporary::check_writable;
pub use tokenizer::copy_tokenizer;
pub use weights::Weights;
