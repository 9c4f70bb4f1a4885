//! AdamW, clipping and the learning rate, once more.
use crate::{Tensors, to_kind, wide};
use ch02_mixed_precision::Config;
use std::f64::consts::FRAC_PI_2;
use tch::{Kind, Tensor};

/// The learning rate of `step`, the first being 1: up to `peak` in a line, then down to
/// a tenth of it along a cosine.
pub fn learning_rate(step: u64, steps: u64, warmup: u64, peak: f64) -> f64 {
    if step < warmup {
        return peak / warmup as f64 * step as f64;
    }
    let done = (step - warmup) as f64 / (steps - warmup) as f64;
    let lowest = 0.1 * peak;
    lowest + (peak - lowest) * (FRAC_PI_2 * done).cos().powi(2)
}

/// AdamW (Loshchilov and Hutter 2019), operation for operation as `torch.optim.AdamW`
/// applies it to one tensor after the other.
pub struct AdamW {
    kind: Kind,
    /// The weights themselves, in [`wide`].
    masters: Tensors,
    /// The running means of the gradient and of its square.
    first: Tensors,
    second: Tensors,
    steps: i32,
}

impl AdamW {
    /// Of a model that computes in `kind`.
    pub fn new(kind: Kind, weights: &Tensors) -> AdamW {
        let masters = to_kind(weights, wide(kind));
        let zeros =
            |(name, master): (&String, &Tensor)| (name.clone(), master.zeros_like());
        let zeros = || masters.iter().map(zeros).collect();
        let (first, second) = (zeros(), zeros());
        AdamW { kind, masters, first, second, steps: 0 }
    }
    /// What the model computes with: the masters in its own type.
    pub fn weights(&self) -> Tensors {
        to_kind(&self.masters, self.kind)
    }
    /// Moves the weights; returns the norm of the whole gradient.
    pub fn step(&mut self, gradients: &Tensors, lr: f64, config: &Config) -> f64 {
        let norm = norm(gradients);
        // As torch.nn.utils.clip_grad_norm_ does.
        let scale = (config.max_grad_norm / (norm + 1e-6)).min(1.0);
        self.steps += 1;
        let (beta1, beta2) = (0.9, 0.95_f64);
        let correct1 = 1.0 - f64::powi(beta1, self.steps);
        let correct2 = 1.0 - f64::powi(beta2, self.steps);
        for (name, master) in &mut self.masters {
            let gradient = &gradients[name] * scale;
            // Matrices only: neither norms nor biases.
            if master.dim() == 2 {
                *master *= 1.0 - lr * config.weight_decay;
            }
            let (Some(first), Some(second)) =
                (self.first.get_mut(name), self.second.get_mut(name))
            else {
                continue;
            };
            *first = &*first * beta1 + &gradient * (1.0 - beta1);
            *second = &*second * beta2 + gradient.square() * (1.0 - beta2);
            let root = second.sqrt() / correct2.sqrt() + 1e-8;
            *master -= &*first / root * (lr / correct1);
        }
        norm
    }
}

/// The length of all tensors as one vector, summed in fp64: torch's own sum in fp32
/// loses more than either side's whole backward pass.
pub fn norm(tensors: &Tensors) -> f64 {
    let square = |t: &Tensor| t.to_kind(Kind::Double).square().sum(None);
    tensors.values().map(|t| square(t).double_value(&[])).sum::<f64>().sqrt()
}
