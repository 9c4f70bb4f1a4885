//! # Fill in: f and g
//!
//! f does nothing forward and sums backward; g sums forward and does nothing backward.
//! Each is the other, transposed: as a matrix that acts on the tensors of all ranks, g
//! is a row of identities, and f a column.
//!
//! A sum too many is as wrong as one too few. In g's backward it would multiply what
//! comes back through a layer by the number of ranks, but not what comes back past it,
//! along the residual connection: gradients of the layers below would not only be too
//! long, but point elsewhere. Nothing would be reported.
//!
//! f returns another tensor than it was given. If both were the same, the tape would
//! add the gradient of the residual connection, which every rank has in full, to that
//! of f's output, and f would sum it too: once for each rank.
//!
//! The `all_reduce` of PyTorch's `torch.distributed.nn.functional` sums in backward,
//! too: right where each rank has a loss of its own and the sum of them is meant, and
//! wrong here. Megatron-LM has its own operators, `_CopyToModelParallelRegion` (f) and
//! `_ReduceFromModelParallelRegion` (g).
use candle_core::{Result, Tensor};
use comm::{Group, Reduce};

/// f: from `x`, the same on all ranks of `group`, to what each of them computes with.
///
/// # Errors
/// Another rank failed.
pub fn enter(x: &Tensor, group: &Group) -> Result<Tensor> {
    let (y, group) = (x.reshape(x.shape())?, group.clone());
    ops::note("f", &y, &[x], move |dy| {
        Ok(vec![group.all_reduce_tensor("f", &dy, Reduce::Sum)?])
    });
    Ok(y)
}

/// g: from each rank's term `x` to the sum of all, the same on all ranks of `group`.
///
/// # Errors
/// Another rank failed.
pub fn leave(x: &Tensor, group: &Group) -> Result<Tensor> {
    let y = group.all_reduce_tensor("g", x, Reduce::Sum)?;
    ops::note("g", &y, &[x], |dy| Ok(vec![dy]));
    Ok(y)
}
