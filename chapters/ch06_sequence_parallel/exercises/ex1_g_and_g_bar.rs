//! # Fill in: g and ḡ
//!
//! Outside of its pairs of matrices a rank has the tokens of its part of each sequence:
//! of `[batch, seq, hidden]` on $n$ ranks, rank 0 has the first `seq / n` tokens of
//! every sequence, rank 1 the next ones, and so on. Two operators stand where the pairs
//! begin and end (Korthikanti et al. 2022, §4.2.2):
//!
//! - **g** gathers the parts, so that every rank computes with all tokens;
//! - **ḡ** takes each rank's term of the result for all tokens, and leaves each rank
//!   with its part of their sum.
//!
//! (They take the place of f and g of chapter 5, and in the chapter's code keep these
//! names.)
//!
//! Write both, forward and backward, so that every rank has its part of the results and
//! gradients that one rank would have. Each pass makes one call, and g sends, forward
//! and backward together, what one all-reduce of all tokens would; so does ḡ.
//!
//! The chapter has `all_gather_tensor` and `reduce_scatter_tensor` do it. You do
//! without them here, and use what lies below them, which knows nothing of dimensions:
//! `Group::all_gather` lays the members' slices one behind the other, in the order of
//! their ranks, and `Group::reduce_scatter` cuts the sum of the members' slices into as
//! many equal pieces, of which each member gets one. `ops::note` notes the backward of
//! what you make; all is in fp64 (`x.flatten_all()?.to_vec1::<f64>()?`,
//! `Tensor::from_vec`).
//!
//! ## Hint
//!
//! Write down the memory of `[2, 4, 1]` on two ranks: the elements a b c d are the
//! first sequence, and A B C D the second. What does each rank hold? What does
//! `all_gather` make of it, and what should be there? Seen as `[n, batch, seq / n,
//! hidden]`, two dimensions have to change places; what does that take for
//! `reduce_scatter`, before or after the call? With that in two functions, each
//! operator is one of them forward and the other backward.
#![allow(unused_variables)]
use candle_core::{Result, Tensor};
use comm::Group;

/// g: from this rank's part `x [batch, seq / n, hidden]` to `[batch, seq, hidden]`.
///
/// # Errors
/// Another rank failed.
pub fn enter(x: &Tensor, group: &Group) -> Result<Tensor> {
    todo!("g, and a note of its backward")
}

/// ḡ: from this rank's term `x [batch, seq, hidden]` to its part `[batch, seq / n,
/// hidden]` of the sum of all terms.
///
/// # Errors
/// Another rank failed.
pub fn leave(x: &Tensor, group: &Group) -> Result<Tensor> {
    todo!("ḡ, and a note of its backward")
}
