//! # Fill in: cross-entropy, loss and gradient in one pass
//!
//! The model's last step turns the logits $z$ of a token, one for each token of the
//! vocabulary, into a loss: the negative log-likelihood of the target $t$,
//!
//! $$\ell = -\ln \frac{e^{z_t}}{\sum_j e^{z_j}}$$
//!
//! The logits are the largest tensor there is, so `ops::head_loss` never keeps them:
//! while it computes the loss it overwrites them with their own gradient.
//!
//! Do the same. Return `scale` times the sum of the losses, and leave the gradient of
//! that number in the place of the logits. (`scale` is one over the tokens of the whole
//! step; who calls you knows it, so divide by nothing yourself.) A target of
//! `ops::IGNORE` does not count: no loss, no gradient. Logits may be large: 1000 must
//! not overflow, nor may a very unlikely target have an infinite loss.
//!
//! ## Hint
//!
//! To subtract the same number from all logits of a token changes nothing in the
//! softmax; choose it so that the largest exponent is 0. Then write the loss as a
//! logarithm of the sum minus a logit, not as the logarithm of a probability, which may
//! have rounded to zero. The gradient has no logarithm in it: differentiate
//! $\ln \sum_j e^{z_j} - z_t$ with respect to $z_i$.
#![allow(unused_variables)]

/// `scale` times the sum over the tokens of `-ln softmax(logits)[target]`, in nats.
///
/// `logits [tokens, vocab]`, row-major, become the gradient of the result with respect
/// to them. `targets` has one for each token, of which `ops::IGNORE` does not count.
pub fn cross_entropy(logits: &mut [f64], targets: &[u32], scale: f64) -> f64 {
    todo!("the loss; the logits become their gradient")
}
