//! # Find the bug: a step with a loss scale
//!
//! `max_grad_norm` is a length for the gradient of the loss, but `norm` was that of the
//! scaled loss, `loss_scale` times as long. With a scale of 65536 nearly every gradient
//! is longer than the limit, and so each was brought to the length `max_grad_norm` and
//! *then* divided by the scale: the short ones, which should have been left alone, as
//! much as the long ones. AdamW hides most of it, since it divides by the gradient's
//! own size; what is lost is that a long gradient weighs more than a short one, and
//! gradients so small come near to epsilon.
//!
//! Unscale first, then clip, as PyTorch's users must (`scaler.unscale_(optimizer)`
//! before `clip_grad_norm_`). Dividing the norm is enough; the gradients are divided in
//! the product that AdamW makes anyway. An infinity or NaN shows in the norm before or
//! after.

/// Weights and all that the optimizer keeps from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The master weights.
    pub weights: Vec<f32>,
    /// AdamW's running mean of the gradient.
    pub first: Vec<f32>,
    /// AdamW's running mean of its square.
    pub second: Vec<f32>,
    /// Steps made, without those skipped.
    pub steps: u64,
    /// What the loss is multiplied by: a power of two.
    pub loss_scale: f64,
}

/// One step with `grads`, the gradient of the loss times `state.loss_scale`, and the
/// learning rate `lr`; returns whether it was made.
pub fn step(state: &mut State, grads: &[f32], lr: f64, max_grad_norm: f64) -> bool {
    // Of the loss itself: what is compared with a length must be without the scale.
    let norm = ops::sum_of_squares(grads).sqrt() / state.loss_scale;
    if !norm.is_finite() {
        // Nothing but the scale may change.
        state.loss_scale = (state.loss_scale / 2.0).max(1.0);
        return false;
    }
    let clip = if norm > max_grad_norm { max_grad_norm / norm } else { 1.0 };
    state.steps += 1;
    let hyper = ops::AdamW {
        lr,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        step: state.steps,
        // Unscaled and clipped in one product.
        grad_scale: clip / state.loss_scale,
    };
    let State { weights, first, second, .. } = state;
    ops::adamw(&hyper, weights, grads, first, second);
    true
}
