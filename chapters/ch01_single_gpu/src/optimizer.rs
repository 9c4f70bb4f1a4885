//! AdamW, and the norm by which gradients are clipped.
use candle_core::Result;
use memory::Family;
use params::{Buffer, Element, Params, with_float};
use std::sync::Arc;

/// AdamW's running means of the gradient and of its square, for each parameter, laid
/// out as the parameters are.
pub struct AdamW {
    /// For each flat buffer of the parameters, both means.
    moments: Vec<[Arc<Buffer>; 2]>,
    /// Steps taken.
    step: u64,
}

/// What a step is made with.
#[derive(Clone, Copy, Debug)]
pub struct Hyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decoupled weight decay λ: a step subtracts `lr · λ · w` from each matrix `w`.
    pub weight_decay: f64,
    /// The gradient is scaled down to this norm if it is longer; 0: it is not.
    pub max_grad_norm: f64,
}

impl AdamW {
    /// Moments of zero.
    pub fn new(params: &Params) -> Result<AdamW> {
        let mut moments = vec![];
        for flat in &params.flats {
            let (dtype, len) = (flat.grads.dtype(), flat.grads.len());
            let zeros = || Buffer::zeros(dtype, len, Family::Optimizer);
            moments.push([zeros()?, zeros()?]);
        }
        Ok(AdamW { moments, step: 0 })
    }
    /// The length of the whole gradient as one vector.
    ///
    /// # Errors
    /// A parameter received no gradient.
    pub fn grad_norm(&self, params: &Params) -> Result<f64> {
        let mut squares = ops::Squares::default();
        for param in params.iter().filter(|param| param.shard().counts()) {
            with_float!(param.dtype()?, T => {
                squares.add(&param.grad::<<T as Element>::Acc>()?)
            })?;
        }
        Ok(squares.sum()?.sqrt())
    }
    /// Moves every parameter; `grad_norm` is the norm of the gradient.
    pub fn step(
        &mut self,
        params: &Params,
        grad_norm: f64,
        hyper: &Hyper,
    ) -> Result<()> {
        self.step += 1;
        let mut adamw = ops::AdamW {
            lr: hyper.lr,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            step: self.step,
            grad_scale: match hyper.max_grad_norm {
                0.0 => 1.0,
                // As PyTorch's clip_grad_norm_ has it.
                max => (max / (grad_norm + 1e-6)).min(1.0),
            },
        };
        for (flat, [exp_avg, exp_avg_sq]) in params.flats.iter().zip(&self.moments) {
            for param in &flat.params {
                // Norms and biases are not pulled to zero.
                let decays = param.shard().is_matrix();
                adamw.weight_decay = if decays { hyper.weight_decay } else { 0.0 };
                let range = param.range()?;
                with_float!(param.dtype()?, T => {
                    type A = <T as Element>::Acc;
                    let mut values = param.values_mut::<A>()?;
                    let mut exp_avg = exp_avg.write::<A>(range.clone())?;
                    let mut exp_avg_sq = exp_avg_sq.write::<A>(range)?;
                    let grad = param.grad::<A>()?;
                    let (first, second) = (&mut exp_avg, &mut exp_avg_sq);
                    ops::adamw(&adamw, &mut values, &grad, first, second);
                    Result::Ok(())
                })?;
            }
        }
        Ok(())
    }
}
