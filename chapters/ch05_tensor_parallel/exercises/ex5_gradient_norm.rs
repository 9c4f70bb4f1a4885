//! # Find the bug: the norm of the gradient
//!
//! Backward is over, and the gradients have been summed over the ranks that see other
//! data. What is left to do before a step is `finish`: where each of several ranks has
//! come to a part of a gradient only, it becomes their sum; and the length of the whole
//! gradient, by which it is clipped, is found and is the same on all ranks.
//!
//! With one rank all is right. It was written for a Llama, and with several ranks a
//! Llama's gradients are right, too, but their norm is not. Of a Qwen3, which
//! normalizes queries and keys, some gradients are wrong as well. Both train: the norm
//! that is shown looks like any other, the gradients are clipped a little more than
//! they should be, and some weights that all ranks have a copy of, and that started
//! equal, are a little less equal after every step.
//!
//! It is wrong in two places. What you need is said by `Param::shard`: see
//! `params::Shard`, and in the chapter's `tensor_parallel.rs` what it has for the
//! parameters of attention and for norms.
//!
//! ## Hint
//!
//! Write down for two ranks and each kind of parameter (`q_proj`, `input_layernorm`,
//! `q_norm`, the embedding): which of its elements does a rank hold, and after
//! backward, is what it has as their gradient the whole of it, or a part? A norm in
//! front of attention sees every token on every rank, and backward of what follows it
//! ended with f. Which heads does `q_norm` see? Then count: in how many terms of
//! `squares`, over all ranks, does the gradient of one element occur? In how many
//! should it?
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
            // Neighbours that share a key/value head had query heads of their own.
            if param.shard().partial == Some("tp-kv") {
                let mut grad = flat.grads.write::<f64>(param.range()?)?;
                let group = mesh.axis("tp-kv")?;
                group.all_reduce("partial gradients", &mut grad, Reduce::Sum)?;
            }
        }
    }
    let mut squares = [0.0];
    for param in params.iter() {
        squares[0] += ops::sum_of_squares(&param.grad::<f64>()?);
    }
    // Each of the ranks that hold the model together has some of it.
    mesh.model().all_reduce("gradient norm", &mut squares, Reduce::Sum)?;
    Ok(squares[0].sqrt())
}
