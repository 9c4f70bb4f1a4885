//! # Find the bug: a fused matrix
//!
//! Queries, keys and values come from one matrix: the rows of all query heads, then
//! those of all key heads, then those of all value heads. That makes one large product
//! of three small ones. A model is stored with this matrix in one piece. To train it on
//! several ranks, `cut` gives each its part; `mix` is what a rank computes with its
//! part between the projections; and `join` makes one piece of all parts again, to be
//! stored. Each rank has as many heads as any other: the number of ranks divides both.
//!
//! With one rank all is right. With several ranks a model that starts from random
//! weights trains like any other: random rows are as good as random rows, and no shape
//! is wrong anywhere. What it stores it can load again, to the last bit, and train on.
//! But a model from elsewhere talks nonsense on two ranks, and so does, on one rank, a
//! model that was trained on two.
//!
//! What the ranks' heads mix should be, side by side, what one rank's heads mix; and
//! what was stored should be the same matrix, whatever the number of ranks. Two places
//! are wrong.
//!
//! ## Hint
//!
//! Take 2 query heads, 2 key/value heads and 2 ranks, and name the rows of the matrix:
//! q0 q1 k0 k1 v0 v1. Which three does rank 0 get? As what does `mix` use them? Which
//! three should it get? Then put the right ones of both ranks one behind the other: is
//! that the matrix?
use candle_core::{Result, Tensor, bail};
use comm::Group;

/// Of attention, on all ranks together.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key/value heads.
    pub kv: usize,
    /// Rows of each in the fused matrix.
    pub dim: usize,
}

impl Heads {
    /// Rows of the fused matrix.
    pub fn rows(&self) -> usize {
        (self.queries + 2 * self.kv) * self.dim
    }
}

/// This rank's part of the fused matrix `[(queries + 2 kv) · dim, hidden]`, which all
/// ranks have read.
///
/// # Errors
/// Those of candle.
pub fn cut(fused: &Tensor, heads: &Heads, group: &Group) -> Result<Tensor> {
    let rows = heads.rows() / group.size();
    fused.narrow(0, group.rank() * rows, rows)?.contiguous()
}

/// The fused matrix, from every rank's `part` of it.
///
/// # Errors
/// Another rank failed.
pub fn join(part: &Tensor, heads: &Heads, group: &Group) -> Result<Tensor> {
    let fused = group.all_gather_tensor("save", part, 0)?;
    if fused.dim(0)? != heads.rows() {
        bail!("{:?} from all ranks, expected {} rows", fused.shape(), heads.rows())
    }
    Ok(fused)
}

/// `x [batch, seq, hidden]` to what this rank's heads make of it, `[batch, seq, queries
/// / ranks · dim]`.
///
/// # Errors
/// Sizes do not fit.
pub fn mix(x: &Tensor, part: &Tensor, heads: &Heads, group: &Group) -> Result<Tensor> {
    let qkv = x.broadcast_matmul(&part.t()?)?;
    ops::attention(&qkv, heads.queries / group.size(), heads.kv / group.size(), None)
}
