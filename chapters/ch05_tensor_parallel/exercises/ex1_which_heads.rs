//! # Fill in: which heads
//!
//! Attention is cut by heads: each rank has as many whole query heads as any other, in
//! order, and with them the key/value heads that they attend to. Where there are more
//! ranks than key/value heads, neighbours share one, and each of them holds a copy.
//!
//! Say which part of each matrix a rank holds. As Hugging Face stores them,
//!
//! - `q_proj` is `[heads · head_dim, hidden]`: the rows of head 0 first;
//! - `k_proj` and `v_proj` are `[kv_heads · head_dim, hidden]`;
//! - `o_proj` is `[hidden, heads · head_dim]`: what attention makes of head 0 meets its
//!   first columns.
//!
//! Query head `h` attends to key/value head `h / (heads / kv_heads)`, rounded down.
//! `ranks` divides `heads`; and it divides `kv_heads`, or is a multiple of it.
//!
//! The checks compare with what the chapter's model holds, in every layout of up to
//! eight heads, and see whether attention on all ranks' parts adds up to the whole.
//!
//! ## Hint
//!
//! Take 8 query heads, 2 key/value heads and 4 ranks, and write down for each rank its
//! query heads, and for each of those its key/value head. Which ranks share one: 0 and
//! 1, or 0 and 2? How many rows of `k_proj` does a rank hold? `kv_heads / ranks` is 0
//! here. Which columns of `o_proj` can a rank use at all, if it has only its own heads'
//! results?
#![allow(unused_variables)]
use std::ops::Range;

/// What a rank holds of the matrices of one attention layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Rows of `q_proj`.
    pub q_rows: Range<usize>,
    /// Rows of `k_proj`, and the same of `v_proj`.
    pub kv_rows: Range<usize>,
    /// Columns of `o_proj`.
    pub o_columns: Range<usize>,
}

/// What rank `rank` of `ranks` holds.
pub fn held(
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    ranks: usize,
    rank: usize,
) -> Held {
    todo!("whole heads, and the key/value heads that they attend to")
}
