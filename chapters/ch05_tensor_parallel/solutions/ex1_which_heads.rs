//! # Fill in: which heads
//!
//! Query heads are dealt out evenly, and a head is `head_dim` rows. What the output
//! projection multiplies is what these heads made: its columns are the rows of
//! `q_proj`, whatever `kv_heads` is.
//!
//! The key/value heads follow from the query heads. A rank's first one attends to
//! key/value head `first / (heads / kv_heads)`, and so many share it. Where ranks
//! divide key/value heads, that is the same as dealing these out, too. Where there are
//! more ranks, each has one, and neighbours have the same: of 4 ranks and 2 key/value
//! heads, ranks 0 and 1 share head 0. To deal them out in turn (`rank % kv_heads`)
//! would give rank 1 the keys of other queries than its own, in a matrix of the right
//! shape, and training from random weights would hardly notice: it is another model.
//!
//! A copy costs memory: with one key/value head for all (multi-query attention), every
//! rank holds all of `k_proj` and `v_proj`. And its gradient is the sum over the
//! copies. vLLM holds copies as here. Megatron-LM, from core 0.16 on, cuts a head in
//! pieces and gathers the pieces' outputs in each forward; before, it refused more
//! tensor-parallel ranks than `--num-query-groups`.
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
    let own = heads / ranks;
    let first = rank * own;
    // So many query heads attend to one key/value head.
    let group = heads / kv_heads;
    let (kv_first, kv_own) = (first / group, own.div_ceil(group));
    let rows = |first: usize, n: usize| first * head_dim..(first + n) * head_dim;
    Held {
        q_rows: rows(first, own),
        kv_rows: rows(kv_first, kv_own),
        o_columns: rows(first, own),
    }
}
