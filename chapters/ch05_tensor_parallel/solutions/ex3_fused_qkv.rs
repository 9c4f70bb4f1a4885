//! # Find the bug: a fused matrix
//!
//! Equal runs of the rows of `[q; k; v]` go across the three: of q0 q1 k0 k1 v0 v1,
//! rank 0 got q0 q1 k0 and used them as a query, a key and a value. From random rows
//! that trains: it is some model, but another one for each number of ranks. And as the
//! parts were put together as they had been cut, storing and loading hid it. Two
//! mistakes that undo each other are found by what comes from elsewhere, and by no test
//! that only goes there and back.
//!
//! Now each rank has its heads' part of each of the three, q0 k0 v0 and q1 k1 v1, and
//! joining them takes them apart again. With one gather of the whole part, which comes
//! in the order of the ranks, the rows would have to be sorted afterwards; three
//! gathers do it, too.
//!
//! The other way out is to store the matrix so that equal runs are right: Megatron-LM
//! has q0 k0 v0 q1 k1 v1, group by group, and its converters from and to Hugging Face
//! sort rows. Then the same file serves every number of ranks that divides the groups.
//! The fused gate and up of an MLP, `[gate; up]`, have the same trap: on two ranks one
//! would get all of the gate and the other all of what it should be multiplied by.
//! This chapter keeps the matrices apart and puts only this rank's rows side by side.
use candle_core::{Result, Tensor};
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
    let (mut start, mut parts) = (0, vec![]);
    for count in [heads.queries, heads.kv, heads.kv] {
        let rows = count * heads.dim / group.size();
        parts.push(fused.narrow(0, start + group.rank() * rows, rows)?);
        start += count * heads.dim;
    }
    Tensor::cat(&parts, 0)
}

/// The fused matrix, from every rank's `part` of it.
///
/// # Errors
/// Another rank failed.
pub fn join(part: &Tensor, heads: &Heads, group: &Group) -> Result<Tensor> {
    let (mut start, mut whole) = (0, vec![]);
    for count in [heads.queries, heads.kv, heads.kv] {
        let rows = count * heads.dim / group.size();
        let own = part.narrow(0, start, rows)?;
        whole.push(group.all_gather_tensor("save", &own, 0)?);
        start += rows;
    }
    Tensor::cat(&whole, 0)
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
