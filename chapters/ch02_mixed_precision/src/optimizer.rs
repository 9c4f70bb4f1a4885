//! AdamW on fp32 master weights, and the norm by which gradients are clipped.
use candle_core::{DType, Result};
use memory::Family;
use params::{Buffer, Element, Params, with_float};
use std::sync::Arc;

/// AdamW's running means of the gradient and of its square, for each parameter, laid
/// out as the parameters are.
pub struct AdamW {
    /// For each flat buffer of the parameters, both means.
    moments: Vec<[Arc<Buffer>; 2]>,
    /// For each flat buffer of 16-bit parameters, the weights themselves, in fp32. What
    /// the model computes with is these, rounded: most updates are smaller than the
    /// distance from a 16-bit weight to the next, and would be lost there.
    masters: Vec<Option<Arc<Buffer>>>,
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
    /// What the loss was multiplied by, and the gradients with it.
    pub loss_scale: f64,
}

impl AdamW {
    /// Moments of zero, and masters of what the parameters are now.
    pub fn new(params: &Params) -> Result<AdamW> {
        let (mut moments, mut masters) = (vec![], vec![]);
        for flat in &params.flats {
            let (dtype, len) = (flat.grads.dtype(), flat.grads.len());
            let zeros = || Buffer::zeros(dtype, len, Family::Optimizer);
            moments.push([zeros()?, zeros()?]);
            // Gradients are in the type that sums are in, and so are masters.
            let wide = dtype == flat.values.dtype();
            masters.push(if wide { None } else { Some(master_of(&flat.values)?) });
        }
        Ok(AdamW { moments, masters, step: 0 })
    }
    /// The length of the whole gradient as one vector, as it was accumulated: of the
    /// scaled loss, if the loss was scaled.
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
    /// Moves every parameter; `grad_norm` is the norm of the gradient of the loss
    /// itself, without its scale.
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
            // The loss's scale is taken off, and the gradient clipped, in one product.
            grad_scale: 1.0 / hyper.loss_scale
                * match hyper.max_grad_norm {
                    0.0 => 1.0,
                    // As PyTorch's clip_grad_norm_ has it.
                    max => (max / (grad_norm + 1e-6)).min(1.0),
                },
        };
        let states = self.moments.iter().zip(&self.masters);
        for (flat, ([exp_avg, exp_avg_sq], master)) in params.flats.iter().zip(states) {
            for param in &flat.params {
                // Norms and biases are not pulled to zero.
                let decays = param.shard().is_matrix();
                adamw.weight_decay = if decays { hyper.weight_decay } else { 0.0 };
                let range = param.range()?;
                with_float!(param.dtype()?, T => {
                    type A = <T as Element>::Acc;
                    let mut weights = match master {
                        Some(master) => master.write::<A>(range.clone())?,
                        None => param.values_mut::<A>()?,
                    };
                    let mut exp_avg = exp_avg.write::<A>(range.clone())?;
                    let mut exp_avg_sq = exp_avg_sq.write::<A>(range)?;
                    let grad = param.grad::<A>()?;
                    let (first, second) = (&mut exp_avg, &mut exp_avg_sq);
                    ops::adamw(&adamw, &mut weights, &grad, first, second);
                    if master.is_some() {
                        let mut values = param.values_mut::<T>()?;
                        ops::narrow(&weights, &mut values)?;
                    }
                    Result::Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// A copy of 16-bit weights in fp32.
fn master_of(values: &Arc<Buffer>) -> Result<Arc<Buffer>> {
    let all = 0..values.len();
    let master = Buffer::zeros(DType::F32, values.len(), Family::Parameters)?;
    with_float!(values.dtype(), T => {
        let values = values.read::<T>(all.clone())?;
        let mut weights = master.write::<<T as Element>::Acc>(all)?;
        ops::widen(&values, &mut weights)
    })?;
    Ok(master)
}
