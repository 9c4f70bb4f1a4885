//! # Fill in: one step of AdamW
//!
//! At step 1 the moments are $(1 - \beta_1) g$ and $(1 - \beta_2) g^2$, so the
//! corrections give back $g$ and $g^2$, and the step is $\eta$ long whatever $g$ is.
//! Decay stands apart from the moments: in Adam with L2 regularization, where
//! $\lambda w$ is added to the gradient, it would be divided by $\sqrt{\hat v}$ like
//! the rest, and weights with large gradients would hardly decay (Loshchilov and Hutter
//! 2019, §2). $\epsilon$ is added to the corrected root; the difference shows where
//! gradients are tiny.

/// One step of AdamW: `values` with their gradients and both moments, all of the same
/// length, element for element. `hyper.step` is $t$, 1 for the first.
pub fn adamw(
    hyper: &ops::AdamW,
    values: &mut [f64],
    grads: &[f64],
    first: &mut [f64],
    second: &mut [f64],
) {
    let (beta1, beta2) = (hyper.beta1, hyper.beta2);
    let correction1 = 1.0 - beta1.powf(hyper.step as f64);
    let correction2 = 1.0 - beta2.powf(hyper.step as f64);
    for i in 0..values.len() {
        let grad = grads[i] * hyper.grad_scale;
        first[i] = beta1 * first[i] + (1.0 - beta1) * grad;
        second[i] = beta2 * second[i] + (1.0 - beta2) * grad * grad;
        let mean = first[i] / correction1;
        let root = (second[i] / correction2).sqrt();
        let decay = hyper.weight_decay * values[i];
        values[i] -= hyper.lr * (mean / (root + hyper.eps) + decay);
    }
}
