//! # Find the bug: the gradients of norms
//!
//! Backward is over, and the gradients have been summed over the ranks that see other
//! data. Some of them are still in parts: several ranks have a copy of the parameter,
//! and each has come to a part of its gradient. `finish` makes sums of the parts. It
//! goes by the parameters' names, as Megatron-LM's `finalize_model_grads.py` does for
//! some; what the chapter says of each in `Shard::partial`, it does not see.
//!
//! It comes from chapter 5, where all was right. With `--sp on` a model still trains,
//! and its loss falls; but some gradients are not those of one rank, and of some
//! weights that all ranks have a copy of, and that started equal, every rank has
//! another one after a step.
//!
//! Find the sum that is missing, and add it. It must be right for a Llama and for a
//! Qwen3, which normalizes queries and keys, with the sequence cut or not, and for
//! several replicas of the model. What is a sum already stays as it is: summed twice,
//! it would be as many times too long as there are ranks.
//!
//! ## Hint
//!
//! Which comment is no longer true? Write down for two ranks, for a token of the second
//! half of a sequence, and for each kind of parameter (`q_proj`, `o_proj.bias`,
//! `input_layernorm`, `q_norm`, the embedding, `model.norm`): which ranks' backward
//! adds to the gradient on account of that token? Then do the same for `--sp off`. And
//! which names does the condition match that you are about to write?
use candle_core::Result;
use ch06_sequence_parallel::tensor_parallel::TensorParallel;
use comm::{Mesh, Reduce};

/// Completes the gradients of this rank, each with the name of its parameter: all ranks
/// have them in the same order, but the biases of `o_proj` and `down_proj`, which only
/// the first of `tp` has.
///
/// # Errors
/// Another rank failed.
pub fn finish(
    grads: &mut [(String, Vec<f64>)],
    tp: &TensorParallel,
    mesh: &Mesh,
) -> Result<()> {
    let family = "partial gradients";
    for (name, grad) in grads {
        let is = |part: &str| name.contains(part);
        // Neighbours that share a key/value head each had query heads of their own.
        if is("k_proj") || is("v_proj") {
            mesh.axis("tp-kv")?.all_reduce(family, grad, Reduce::Sum)?;
        }
        // Each rank has normalized queries and keys of its own heads only. The other
        // norms see the same on every rank, and f has summed what comes back to them.
        if is("q_norm") || is("k_norm") {
            tp.group.all_reduce(family, grad, Reduce::Sum)?;
        }
    }
    Ok(())
}
