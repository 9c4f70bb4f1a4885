//! What the tests of several chapters share: reference models, and [`ranks`](fn@ranks),
//! which runs a check on several threads. And programs: `account` and `recompute` count
//! bytes and operations of training steps beside their closed forms, and `step_worker`
//! is timed beside PyTorch (`scripts/compare_torch`).
#![warn(missing_docs)]

pub mod account;
mod ranks;
pub mod recompute;
mod reference;

pub use ranks::ranks;
pub use reference::{Comparison, Reference, Subject, worst};

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use ch01_single_gpu::{model::Transformer, weights};
use corpus::Batch;
use hub::{Folder, ModelConfig};
use params::{ParamBuilder, Params};

/// The model of chapter 1 with the weights of a folder in Hugging Face's form.
pub struct Model {
    /// Its architecture.
    pub config: ModelConfig,
    /// The decoder.
    pub transformer: Transformer,
    /// Its parameters.
    pub params: Params,
}

impl Model {
    /// For rows of up to `seq_len` tokens.
    ///
    /// # Errors
    /// The folder holds no such model.
    pub fn open(spec: &str, seq_len: usize, dtype: DType) -> Result<Model> {
        let folder = Folder::open(spec)?;
        let config = folder.config()?;
        let mut builder = ParamBuilder::new(0, dtype);
        let transformer = Transformer::new(&config, seq_len, dtype, &mut builder)?;
        let params = builder.build_zeros()?;
        weights::load(&params, &folder.weights()?)?;
        Ok(Model { config, transformer, params })
    }
}

/// `tokens [rows, seq_len + 1]` as inputs and their targets.
///
/// # Errors
/// The shape is another, or the tokens are no integers.
pub fn batch(tokens: &Tensor) -> Result<Batch> {
    let (rows, width) = tokens.dims2()?;
    ensure!(
        rows > 0 && width >= 2,
        "tokens is [{rows}, {width}]: expected two columns or more, inputs and targets"
    );
    let part = |start| -> Result<Vec<u32>> {
        let part = tokens.narrow(1, start, width - 1)?.to_dtype(DType::U32)?;
        Ok(part.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
    };
    let (tokens, targets) = (part(0)?, part(1)?);
    Ok(Batch { rows, seq_len: width - 1, tokens, targets, document_starts: None })
}
