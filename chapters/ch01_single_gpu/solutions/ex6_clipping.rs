//! # Find the bug: gradient clipping
//!
//! The norm was used while it was still being summed: each parameter was scaled by the
//! norm of the parameters *so far*, the first by its own, only the last by that of all.
//! Clipping may change how long the gradient is, never where it points, so all
//! parameters must be multiplied by the same number, and nothing may be scaled before
//! every gradient has been seen.
//!
//! The second pass over memory need not be paid for: the chapter hands the factor to
//! AdamW, which reads every gradient anyway (`grad_scale`). The same order, first the
//! norm of everything and then the first step, costs more in later chapters, where the
//! sum runs over all ranks.

/// Scales gradients that are longer than `max_grad_norm`, all together, down to it, as
/// PyTorch's `clip_grad_norm_`; returns how long they were.
///
/// `grads` holds the gradient of each parameter.
pub fn clip_grad_norm(grads: &mut [Vec<f64>], max_grad_norm: f64) -> f64 {
    let squares: f64 = grads.iter().map(|grad| ops::sum_of_squares(grad)).sum();
    let norm = squares.sqrt();
    let scale = (max_grad_norm / (norm + 1e-6)).min(1.0);
    for grad in grads.iter_mut() {
        grad.iter_mut().for_each(|g| *g *= scale);
    }
    norm
}
