//! # Find the bug: a step with a loss scale
//!
//! The optimizer's step in fp16. The gradients it is given are those of the loss times
//! the loss scale, summed in fp32. If one of them has overflowed, the step is skipped:
//! nothing changes but the scale. Otherwise the gradients are clipped, to the length
//! `max_grad_norm` if they are longer, and AdamW moves the weights.
//!
//! The loss scale is a matter of fp16 alone. It is a power of two, which changes no
//! digit of a gradient, and so in the end it should change no digit of a weight. With a
//! scale of 1, this step is right. With another scale it trains too, overflows are
//! skipped as they should be, and nothing is reported; but the weights are others. Yet
//! without clipping (`max_grad_norm` very large) they are the same again.
//!
//! It is wrong in one place.
//!
//! ## Hint
//!
//! Take a gradient of length 0.5, a limit of 1 and a loss scale of 1024. Should it be
//! clipped? Write down what `norm` and `clip` are, and how long the gradient is that
//! AdamW is given. To whom does each of the numbers in this function belong, to the
//! loss or to the scaled loss?

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
    let norm = ops::sum_of_squares(grads).sqrt();
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
