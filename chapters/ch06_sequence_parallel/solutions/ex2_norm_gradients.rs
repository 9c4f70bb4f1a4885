//! # Find the bug: the gradients of norms
//!
//! "The other norms see the same on every rank" was true as long as every rank had all
//! tokens. Where the sequence is cut, a rank normalizes the tokens of its part, and
//! comes to their part of the gradient: of the two norms of every layer and of the one
//! behind the last. Each rank then stepped by a part of the gradient, each by another,
//! and the copies drifted apart. With `--sp off` there is nothing to sum: f has done
//! it, and one more sum would make the gradient as many times too long as there are
//! ranks.
//!
//! The weights of the queries' and keys' norms stay as they are. Attention is on the
//! other side of the gather: it sees all tokens there, of its own heads, with the
//! sequence cut or not. `q_norm.weight` ends like `model.norm.weight`, and whoever adds
//! a second sum for all that is a norm sums theirs twice.
//!
//! No more than these are in parts. Biases of `o_proj` and `down_proj` are on one rank,
//! which adds them for all tokens before the sum is scattered; a rank's rows of the
//! embedding see all tokens, too.
//!
//! Megatron-LM marks a weight with the attribute `sequence_parallel` where the layer is
//! built, and sums what is marked; a norm of one's own that lacks the mark drifts apart
//! in just this way.
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
        // Each rank has normalized queries and keys of its own heads only.
        let of_heads = is("q_norm") || is("k_norm");
        // Of what the other norms see, each rank has its tokens if the sequence is cut.
        let of_tokens = tp.sequence && (is("layernorm") || is("model.norm"));
        if of_heads || of_tokens {
            tp.group.all_reduce(family, grad, Reduce::Sum)?;
        }
    }
    Ok(())
}
