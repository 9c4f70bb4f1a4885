//! # Find the bug: gradient clipping
//!
//! Now and then a batch has a gradient far longer than usual. Clipping makes it
//! shorter: the gradients of all parameters, taken as *one* vector, are scaled down to
//! the norm `max_grad_norm` if they are longer, and left as they are if not. The
//! function returns the norm from before.
//!
//! This one was rewritten so that each gradient is read from memory once while it is
//! still in the cache. A model with a single parameter trains exactly as before. Larger
//! models train too, and the norm in the log is right, but their losses are no longer
//! the same as before the change.
//!
//! It is wrong in one place. What does clipping promise not to change?
//!
//! ## Hint
//!
//! Take two parameters whose gradients are 3 and 4 and a limit of 1. Scaled by the same
//! factor they become 0.6 and 0.8. Follow the loop with a pencil: what is the first
//! multiplied by, and what the second?

/// Scales gradients that are longer than `max_grad_norm`, all together, down to it, as
/// PyTorch's `clip_grad_norm_`; returns how long they were.
///
/// `grads` holds the gradient of each parameter.
pub fn clip_grad_norm(grads: &mut [Vec<f64>], max_grad_norm: f64) -> f64 {
    let mut squares = 0.0;
    for grad in grads.iter_mut() {
        squares += ops::sum_of_squares(grad);
        let norm = squares.sqrt();
        let scale = (max_grad_norm / (norm + 1e-6)).min(1.0);
        grad.iter_mut().for_each(|g| *g *= scale);
    }
    squares.sqrt()
}
