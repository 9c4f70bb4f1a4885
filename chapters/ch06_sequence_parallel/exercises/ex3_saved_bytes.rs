//! # Fill in: what a rank keeps of a layer
//!
//! Korthikanti et al. 2022 count what a layer saves for backward in 16 bits, with $s$
//! tokens in each of $b$ sequences, hidden size $h$ and $t$ ranks (§4, without what
//! attention's scores take):
//!
//! $$sbh\left(10 + \frac{24}{t}\right) \text{ with tensor parallelism}, \qquad
//! sbh\,\frac{34}{t} \text{ with sequence parallelism, too.}$$
//!
//! Ten of the 34 bytes are of what every rank has whole, until the sequence is cut.
//! Their layer is GPT's, with dropout; find the same for ours, for any model that the
//! chapter can run. It has other widths: heads and key/value heads need not be as wide
//! together as the residual stream, more ranks than key/value heads share them, and
//! some models normalize queries and keys.
//!
//! What an operation saves you know from chapter 3: `linear`, `rms_norm`, `qk_norm` and
//! `swiglu` save their input; `attention` its input, its output, and one log-sum-exp
//! for each token and each of the rank's heads; `rope` and `add` nothing. A tensor that
//! several save lies in memory once. What is new stands in the chapter's `linear.rs`
//! and `tensor_parallel.rs`: what does `ColumnParallel::forward` save, and what do
//! `enter` and `leave` keep of what they gather and sum?
//!
//! An element takes `element` bytes and a log-sum-exp `accumulator`, 4 also where an
//! element takes 2. Nothing is computed again, and the number of ranks divides `tokens`
//! if the sequence is cut. With one rank nothing is cut, whatever `sequence` says.
//!
//! The checks measure: they record the chapter's `Block` on 1, 2, 4 and 8 ranks.
//!
//! ## Hint
//!
//! Go through `block.rs`, `attention.rs` and `mlp.rs` and write down the tensors that
//! are saved, each with its width on one rank. Next to each, write where it lies:
//! between a column-parallel and a row-parallel matrix, where the *widths* are cut, or
//! outside of the pairs, where the *tokens* are, if anything is. The input of a
//! column-parallel matrix is the output of a norm: on which side does it lie, if
//! backward gathers it again? How many key/value heads has one of 8 ranks, if the model
//! has 2?
#![allow(unused_variables)]
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
    todo!("what is divided, and what is not")
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
    todo!("the bytes of one rank")
}
