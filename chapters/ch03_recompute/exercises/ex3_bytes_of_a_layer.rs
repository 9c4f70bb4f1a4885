//! # Fill in: the bytes that layers keep for backward
//!
//! What is in memory between forward and backward follows from what each operation
//! saves, and from nothing else:
//!
//! - `linear`, `rms_norm`, `qk_norm` and `swiglu` save their input;
//! - `attention` saves its input (queries, keys and values), its output, and the
//!   log-sum-exp of each token and head;
//! - `rope` and `add` save nothing;
//! - a segment keeps, with `Keep::All`, what its operations save; with `Keep::Ends`,
//!   its input; with `Keep::Input`, its input as well, and whatever would save its
//!   output does without.
//!
//! A tensor that several operations save lies in memory once. An element takes
//! `element` bytes; a log-sum-exp takes `accumulator` bytes, 4 also where an element
//! takes 2.
//!
//! Walk through `block.rs`, `attention.rs` and `mlp.rs` and count what all layers
//! together keep per token, for any model and any setting that the flags can ask for:
//! `recompute.norm`, `attention` and `swiglu` are `Keep::All` or `Keep::Input`, and
//! the segments of `recompute.segments`, each with its number of layers, have
//! `Keep::All` or `Keep::Ends`. What lies outside of the layers does not count: the
//! input of the last norm, which is the output of the last layer, and what the loss
//! keeps.
//!
//! The checks measure: they record a step of the chapter's model, in several types.
//!
//! ## Hint
//!
//! Start without recomputation and write down the tensors of a layer in the order in
//! which they are made, each with its width: `hidden_size`; the heads' and the
//! key/value heads' widths, neither of which need be `hidden_size`;
//! `intermediate_size`. Cross out those that nothing saves (the residual connection's
//! sums are saved, but by whom?). Which tensor does attention save that the output
//! projection saves too? What does `qk_norm` change? Then look, for each module, at
//! what its segment's input already is.
#![allow(unused_variables)]
use ch03_recompute::recompute::Recompute;
use hub::ModelConfig;

/// Bytes per token that all layers together keep from forward to backward; an element
/// takes `element` bytes and a log-sum-exp `accumulator`.
pub fn saved_per_token(
    model: &ModelConfig,
    recompute: &Recompute,
    element: usize,
    accumulator: usize,
) -> usize {
    todo!("what a layer keeps, and what a segment")
}
