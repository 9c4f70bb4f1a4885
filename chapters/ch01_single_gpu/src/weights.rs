//! Weights from and to files in Hugging Face's form.
use anyhow::Result;
use hub::{Dtype, ModelConfig, TensorSpec, Weights};
use params::{Params, with_float};
use std::path::Path;

/// Fills every parameter with its slice of what `files` hold.
///
/// # Errors
/// A parameter is missing or of another shape.
pub fn load(params: &Params, files: &Weights) -> Result<()> {
    for param in params.iter() {
        let shard = param.shard();
        with_float!(param.dtype()?, T => {
            param.set::<T, _>(|values| {
                let (shape, offset) = (&shard.global_shape, &shard.offset);
                files.read(&shard.name, shape, offset, &shard.shape, values)
            })
        })?;
    }
    Ok(())
}

/// Writes the model to `folder` in fp32, with the tokenizer's files if there are any.
///
/// # Errors
/// The folder cannot be written.
pub fn save(
    folder: &Path,
    model: &ModelConfig,
    params: &Params,
    tokenizer: &corpus::Tokenizer,
) -> Result<()> {
    let spec = |param: &params::Param| TensorSpec {
        name: param.name().to_string(),
        shape: param.shard().global_shape.clone(),
    };
    let tensors: Vec<TensorSpec> = params.iter().map(spec).collect();
    hub::save(folder, model, Dtype::F32, &tensors, |tensor, file| {
        let Some(param) = params.get(&tensor.name) else { return Ok(()) };
        with_float!(param.dtype()?, T => file.write::<T>(&param.values::<T>()?.here()?))
    })?;
    tokenizer.save(folder)
}
