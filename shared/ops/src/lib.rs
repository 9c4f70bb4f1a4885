//! The differentiable operations a decoder is made of: few, coarse, each with its
//! backward written by hand.
//!
//! An operation works on candle tensors and owns its parameters: a weight is not an
//! argument that a graph would hold, but a [`params::Param`] whose values the operation
//! reads and to whose main gradient its backward adds. So only activations live on the
//! [tape](record), matrices that share an input are one product, and no gradient tensor
//! stands between a product and the buffer it belongs in.
//!
//! | operation | from, to |
//! | --- | --- |
//! | [`embedding`] | tokens to `[batch, seq, hidden]` |
//! | [`linear`] | one or several matrices with one input |
//! | [`input_gradient`], [`weight_gradient`] | the halves of its backward |
//! | [`rms_norm`], [`qk_norm`] | normalization of tokens, of queries and keys |
//! | [`rope`] | rotation by position |
//! | [`attention`] | causal, grouped heads, packed documents; no score matrix |
//! | [`swiglu`], [`add`] | the gate, the residual connection |
//! | [`head_loss`] | output matrix and cross-entropy, never all logits |
//! | [`head_loss_of_part`] | the same, of some words of the vocabulary |
//! | [`adamw`](fn@adamw), [`sum_of_squares`], [`Squares`] | the optimizer's pass, and the norm |
//! | [`narrow`], [`widen`], [`copy`], [`add_to`], [`zero`] | runs of memory |
//!
//! All run in f64, f32, bf16 and f16; the 16-bit types are for storage, sums are in
//! f32. Results do not depend on the number of threads ([`threads`]); each rank has its
//! own. [`flops`] counts the operations that were really made.
//!
//! On a rank that has a GPU ([`device::own`]) all of them run there, in f32 and bf16.
#![warn(missing_docs)]

mod adamw;
mod attention;
mod deferred;
pub mod device;
mod elementwise;
mod flops;
pub mod gemm;
mod head;
mod kernel;
mod linear;
mod norm;
mod observe;
mod rope;
mod tape;
pub mod threads;
pub mod tune;

pub use adamw::{AdamW, adamw, narrow, sum_of_squares, widen};
pub use attention::attention;
pub use deferred::{WeightGradients, put_off};
pub use device::{Squares, add_to, copy, here, scalar, zero};
pub use elementwise::{add, swiglu};
pub use flops::{attention_flops, flops};
pub use head::{IGNORE, RowSum, embedding, head_loss, head_loss_of_part};
pub use linear::{input_gradient, linear, weight_gradient};
pub use norm::{qk_norm, rms_norm};
pub use observe::{Pass, observe};
pub use rope::{Rope, rope};
pub use tape::{
    Gradients, Root, Saved, Tape, forget, mark, note, record, recording, save,
    unrecorded,
};
