//! # Fill in: a loss without all logits
//!
//! Each rank has the logits $z$ of its own words. The loss of a token with target $t$
//! is $-\ln \text{softmax}(z)_t$, which is
//!
//! $$\ln \sum_w e^{z_w} - z_t$$
//!
//! over the words of all ranks. The logits are the largest tensor there is, and stay
//! where they are: what the ranks tell each other is a few numbers for each token.
//!
//! Return the sum of the losses of all tokens with a target that counts, the same bits
//! on every rank.
//!
//! - `corpus::IGNORE` stands for a target that does not count. Without any other, the
//!   loss is zero.
//! - All ranks have as many columns, and the same tokens and targets. Where the
//!   vocabulary does not divide, the last columns of a rank, or all, are padding, of
//!   which the numbers mean nothing.
//! - Logits may be as large as $10^4$, or $-10^4$, and differ as much from token to
//!   token.
//! - In all, a rank sends at most six numbers of eight bytes for each token and other
//!   rank, and that is generous.
//!
//! ## Hint
//!
//! A rank can come to the sum of the exponentials of its own logits, less its own
//! largest one, so that nothing overflows: $s_r = \sum_w e^{z_w - m_r}$. What must
//! $s_r$ be multiplied by before the ranks' sums can be added? Which three numbers for
//! each token does another rank need from this one? What are they, if this rank has not
//! one word, and what is $e^{-\infty}$? And of the ranks that do not have the target,
//! what should the third number be?
#![allow(dead_code, unused_variables)]
use comm::{Group, Result};
use std::ops::Range;

/// What a rank has of the logits.
#[derive(Clone, Debug)]
pub struct Logits<'a> {
    /// `[tokens, width]`, row-major.
    pub values: &'a [f64],
    /// Columns, padding included.
    pub width: usize,
    /// The words that the first columns are of; none, where it is empty.
    pub words: Range<usize>,
}

/// The sum over the `targets` that count, one for each token, of the negative
/// log-likelihood in nats.
///
/// # Errors
/// Another rank failed.
pub fn loss(logits: &Logits, targets: &[u32], group: &Group) -> Result<f64> {
    todo!("three numbers for each token, and what they come to")
}
