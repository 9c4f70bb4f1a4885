//! # Fill in: one step of AdamW
//!
//! For each element $w$ of a parameter with the gradient $g$, AdamW keeps a running
//! mean $m$ of the gradient and $v$ of its square, both zero at first. Step $t$ (1, 2,
//! …) makes
//!
//! $$m \leftarrow \beta_1 m + (1 - \beta_1) g$$
//!
//! $$v \leftarrow \beta_2 v + (1 - \beta_2) g^2$$
//!
//! Because they start from zero, the means are too small at first. Divided by
//! $1 - \beta_1^t$ and $1 - \beta_2^t$ they become $\hat m$ and $\hat v$, and with the
//! learning rate $\eta$ and the decay $\lambda$
//!
//! $$w \leftarrow w - \eta \frac{\hat m}{\sqrt{\hat v} + \epsilon} - \eta \lambda w$$
//!
//! with the $w$ from before the step on the right. Before anything else the gradient is
//! multiplied by the clipping coefficient, `grad_scale`.
//!
//! Write it for a run of elements. `ops::AdamW` holds the hyperparameters, `ops::adamw`
//! is what you are compared with.
//!
//! ## Hint
//!
//! Decay is *decoupled* (the W of AdamW): it never enters $m$ or $v$. Where the
//! gradient is always zero, a step does nothing but multiply $w$ by $1 - \eta \lambda$.
//! And the first step, wherever there is a gradient, is about $\eta$ long, however
//! small the gradient.
#![allow(unused_variables)]

/// One step of AdamW: `values` with their gradients and both moments, all of the same
/// length, element for element. `hyper.step` is $t$, 1 for the first.
pub fn adamw(
    hyper: &ops::AdamW,
    values: &mut [f64],
    grads: &[f64],
    first: &mut [f64],
    second: &mut [f64],
) {
    todo!("moments, their correction, the step, the decay")
}
