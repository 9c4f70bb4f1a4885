//! Weights from and to files in Hugging Face's form, which know nothing of ranks.
use anyhow::{Result, ensure};
use comm::Group;
use hub::{Dtype, ModelConfig, Scalar, TensorSpec, Weights};
use params::{Params, Shard, with_float};
use std::path::Path;

/// Fills every parameter with its slice of what `files` hold; only that is read.
///
/// # Errors
/// A parameter is missing or of another shape.
pub fn load(params: &Params, files: &Weights) -> Result<()> {
    for param in params.iter() {
        let shard = param.shard();
        with_float!(param.dtype()?, T => {
            param.set::<T, _>(|values| {
                let (held, padding) = values.split_at_mut(shard.held_elements());
                padding.fill(T::default());
                let (shape, offset) = (&shard.global_shape, &shard.offset);
                files.read(&shard.name, shape, offset, &shard.held(), held)
            })
        })?;
    }
    Ok(())
}

/// Writes the model to `folder` in fp32, with the tokenizer's files if there are any.
/// All ranks of `group`, which hold it together, make this call; the first one writes,
/// and needs memory for one whole tensor and a slice of it.
///
/// # Errors
/// The folder cannot be written, the ranks do not hold the whole model, or another one
/// failed.
pub fn save(
    folder: &Path,
    model: &ModelConfig,
    params: &Params,
    tokenizer: &corpus::Tokenizer,
    group: &Group,
) -> Result<()> {
    let tensors = model.tensors();
    let known = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    for param in params.iter() {
        ensure!(known(param.name()), "the model has no {}", param.name());
    }
    if group.rank() > 0 {
        for tensor in &tensors {
            let (place, values) = slice(params, tensor)?;
            group.send("save", &place, 0)?;
            group.send("save", &values, 0)?;
        }
        return Ok(());
    }
    hub::save(folder, model, Dtype::F32, &tensors, |tensor, file| {
        let mut whole = vec![0.0; tensor.shape.iter().product()];
        let (place, values) = slice(params, tensor)?;
        put(&mut whole, tensor, &place, &values);
        let mut count = values.len();
        for rank in 1..group.size() {
            let mut place = vec![0; 2 * tensor.shape.len()];
            group.recv("save", &mut place, rank)?;
            let mut values = vec![0.0; elements(&place)];
            group.recv("save", &mut values, rank)?;
            put(&mut whole, tensor, &place, &values);
            count += values.len();
        }
        let all = whole.len();
        ensure!(count == all, "the ranks hold {count} of its {all} elements");
        file.write::<f32>(&whole)
    })?;
    tokenizer.save(folder)
}

/// What this rank has to give of a tensor: the offset and the shape of a slice, one
/// behind the other, and its values. An empty slice, if another rank has a copy that
/// counts.
fn slice(params: &Params, tensor: &TensorSpec) -> Result<(Vec<i64>, Vec<f32>)> {
    let param = params.get(&tensor.name).filter(|param| param.shard().counts());
    let Some(param) = param else {
        return Ok((vec![0; 2 * tensor.shape.len()], vec![]));
    };
    let shard = param.shard();
    let place = [&shard.offset[..], &shard.held()].concat();
    let values = with_float!(param.dtype()?, T => {
        let values = param.values::<T>()?;
        values.here()?[..shard.held_elements()].iter().map(|x| x.to::<f32>()).collect()
    });
    Ok((place.into_iter().map(|n| n as i64).collect(), values))
}

/// The number of elements of a slice.
fn elements(place: &[i64]) -> usize {
    place[place.len() / 2..].iter().map(|n| *n as usize).product()
}

/// Writes a slice where it belongs.
fn put(whole: &mut [f32], tensor: &TensorSpec, place: &[i64], values: &[f32]) {
    let mut shard = Shard::whole(&tensor.name, &tensor.shape);
    let (offset, shape) = place.split_at(tensor.shape.len());
    for (dim, (start, n)) in offset.iter().zip(shape).enumerate() {
        shard = shard.narrow(dim, *start as usize..(start + n) as usize);
    }
    // Row by row: what is side by side in the slice is so in the tensor.
    let width = shard.shape.last().copied().unwrap_or(1).max(1);
    for (row, values) in values.chunks(width).enumerate() {
        let start = shard.global_index(row * width);
        whole[start..start + width].copy_from_slice(values);
    }
}
