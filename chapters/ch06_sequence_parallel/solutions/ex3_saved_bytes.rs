//! # Fill in: what a rank keeps of a layer
//!
//! With $h$ the hidden size, $q$ and $k$ the widths of all heads and of all key/value
//! heads, $f$ the intermediate size and $n$ heads, a layer keeps per token
//!
//! $$\underbrace{4h}_\text{norms} + \frac1t \Bigl( \underbrace{2q +
//! 2k}_\text{attention} + \underbrace{3f}_\text{gate} \Bigr)$$
//!
//! elements and $n/t$ log-sum-exps, and $q + 2k$ elements more if it normalizes queries
//! and keys, divided as well. What lies within a pair of matrices is cut with them.
//! What lies outside is the input and the output of each norm, $4h$: the paper's 10
//! bytes are these four, of 2 bytes each, and two masks for dropout. With sequence
//! parallelism a rank has its tokens of them, and all is divided.
//!
//! That takes more than cutting the norms. What g gathers is the input of the matrices
//! behind it, whose gradients need it whole; to keep that would undo half of what was
//! won, $2h$ of $4h$. So the rank keeps its part, which is the norm's output, and
//! gathers once more in backward.
//!
//! Where ranks share a key/value head, each has one, and the $2k$ (or $4k$) are divided
//! by the number of key/value heads, and by no more.
use hub::ModelConfig;

/// What a layer saves for backward, in bytes per token: each of `t` ranks keeps
/// `whole + divided / t`, as long as they share no key/value head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Of what every rank keeps all.
    pub whole: usize,
    /// Of what each rank keeps its part.
    pub divided: usize,
}

/// The paper's formula for our layer; `sequence`: with sequence parallelism.
pub fn split(
    model: &ModelConfig,
    sequence: bool,
    element: usize,
    accumulator: usize,
) -> Split {
    let norms = 4 * model.hidden_size * element;
    let within = within(model, 1, element, accumulator);
    match sequence {
        true => Split { whole: 0, divided: norms + within },
        false => Split { whole: norms, divided: within },
    }
}

/// Bytes that each of so many ranks keeps of a layer from forward to backward, if the
/// sequences have so many `tokens` in all; also where ranks share key/value heads.
pub fn saved_bytes(
    model: &ModelConfig,
    tokens: usize,
    ranks: usize,
    sequence: bool,
    element: usize,
    accumulator: usize,
) -> usize {
    // Outside of the pairs of matrices, all or a part of the tokens; within, all.
    let outside = if sequence { tokens / ranks } else { tokens };
    let norms = 4 * model.hidden_size * element;
    outside * norms + tokens * within(model, ranks, element, accumulator)
}

/// Bytes per token of what a rank keeps within the two pairs of matrices.
fn within(
    model: &ModelConfig,
    ranks: usize,
    element: usize,
    accumulator: usize,
) -> usize {
    let heads = model.num_attention_heads / ranks;
    let kv_heads = (model.num_key_value_heads / ranks).max(1);
    let mixed = heads * model.head_dim;
    let qkv = mixed + 2 * kv_heads * model.head_dim;
    let projected = if model.qk_norm { qkv } else { 0 };
    let gate = 3 * model.intermediate_size / ranks;
    (projected + qkv + mixed + gate) * element + heads * accumulator
}
