//! # Find the bug: the norm of the gradient
//!
//! Two questions look like one: who has a copy of a parameter, and who has come to what
//! of its gradient.
//!
//! The weight of a norm in front of attention or MLP is on every rank, and so is the
//! whole of its gradient: the norm sees the same tokens everywhere, and f has summed
//! what comes back to it. A sum over the ranks would be wrong. The weights of the
//! queries' and keys' norms are on every rank, too, but normalize a rank's own heads
//! only: what it has is those heads' part. That part went into the step, another one on
//! each rank, and the copies drifted apart. Now what is `partial` is summed, over
//! whatever group it says, and before the norm is taken: the square of a sum is not the
//! sum of the squares.
//!
//! In the norm every element counts once. Its copies are numbered, and number 0 counts.
//! To leave the counting to the first rank would be wrong, since it does not hold
//! everything: of 4 ranks and 2 key/value heads, the second head is on ranks 2 and 3.
//!
//! Megatron-LM does both by hand as well: `finalize_model_grads.py` sums the gradients
//! of `q_layernorm` and `k_layernorm` over the tensor-parallel ranks if
//! `--qk-layernorm` is given, and the norm leaves out what
//! `param_is_not_tensor_parallel_duplicate` says no to.
use candle_core::Result;
use comm::{Mesh, Reduce};
use params::Params;

/// Completes the gradients of this rank, in fp64, and returns the length of the whole
/// model's gradient.
///
/// # Errors
/// A parameter received no gradient, or another rank failed.
pub fn finish(params: &Params, mesh: &Mesh) -> Result<f64> {
    for flat in &params.flats {
        for param in &flat.params {
            // Neighbours that share a key/value head had query heads of their own; and
            // a norm of queries or keys has seen this rank's heads only.
            if let Some(axis) = param.shard().partial {
                let mut grad = flat.grads.write::<f64>(param.range()?)?;
                let group = mesh.axis(axis)?;
                group.all_reduce("partial gradients", &mut grad, Reduce::Sum)?;
            }
        }
    }
    let mut squares = [0.0];
    for param in params.iter().filter(|param| param.shard().counts()) {
        squares[0] += ops::sum_of_squares(&param.grad::<f64>()?);
    }
    // Each of the ranks that hold the model together has some of it.
    mesh.model().all_reduce("gradient norm", &mut squares, Reduce::Sum)?;
    Ok(squares[0].sqrt())
}
