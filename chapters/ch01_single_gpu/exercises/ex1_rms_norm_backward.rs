//! # Fill in: the backward of RMSNorm
//!
//! A block normalizes the residual stream before attention and before the MLP. For one
//! token $x$ of $h$ channels, with a learned weight $w$,
//!
//! $$y_i = w_i \, x_i \, r$$
//!
//! $$r = \frac{1}{\sqrt{\frac{1}{h} \sum_j x_j^2 + \epsilon}}$$
//!
//! Backward receives $dy$, the gradient of the loss with respect to $y$, and owes two
//! gradients. That of the input, $dx$, is returned and goes on down the tape. That of
//! the weight, $dw$, goes nowhere: it is *added* to what the earlier micro-batches of
//! the step left in the weight's main gradient. All tokens share the weight.
//!
//! Write both. The check compares with finite differences and with `ops::rms_norm`; the
//! formulas stand in `shared/ops/src/norm.rs`, but derive them yourself first.
//!
//! ## Hint
//!
//! $x_i$ reaches the loss in two ways: directly, and through $r$, in which every
//! channel of the token takes part. So $dx_i$ is a sum of two terms, and the second
//! needs $\partial r / \partial x_i = -r^3 x_i / h$ and a sum over all channels. A test
//! of the result: $y$ hardly changes when you double $x$, so what should
//! $\sum_i x_i \, dx_i$ be?
#![allow(unused_variables)]

/// The gradient of the input of RMSNorm; that of the weight is added to `dweight`.
///
/// `x`, `dy` and the result are `[tokens, hidden]`, row-major; `weight` and `dweight`
/// are `[hidden]`.
pub fn rms_norm_backward(
    x: &[f64],
    weight: &[f64],
    dy: &[f64],
    eps: f64,
    dweight: &mut [f64],
) -> Vec<f64> {
    todo!("dx, and dweight += dw")
}
