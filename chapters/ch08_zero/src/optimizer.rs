//! AdamW on fp32 master weights, each rank on its part of them, and the norm by which
//! gradients are clipped.
use crate::zero::Zero;
use candle_core::{DType, Result};
use comm::{Group, Mesh, Reduce};
use memory::Family;
use params::{Buffer, Element, Params, with_float};
use std::fs::File;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// AdamW's running means of the gradient and of its square, for each element that this
/// rank updates, laid out as the parameters are.
pub struct AdamW {
    /// For each flat buffer of the parameters, both means.
    moments: Vec<[Arc<Buffer>; 2]>,
    /// For each flat buffer of 16-bit parameters, the weights themselves, in fp32. What
    /// the model computes with is these, rounded: most updates are smaller than the
    /// distance from a 16-bit weight to the next, and would be lost there.
    masters: Vec<Option<Arc<Buffer>>>,
    /// Steps taken.
    step: u64,
    /// The ranks that hold the gradient together, each element once.
    group: Group,
    zero: Rc<Zero>,
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
    /// Moments of zero, and masters of what the parameters are now. They are in memory,
    /// or in `file`, of which the system keeps in memory what there is room for.
    ///
    /// # Errors
    /// The file cannot be mapped into memory.
    pub fn new(
        params: &Params,
        mesh: &Mesh,
        zero: Rc<Zero>,
        file: Option<&File>,
    ) -> Result<AdamW> {
        let (mut moments, mut masters, mut at) = (vec![], vec![], 0);
        let mut state = |dtype, len, family| match file {
            None => Buffer::zeros(dtype, len, family),
            Some(file) => {
                let start = at;
                at += Buffer::mapped_bytes(dtype, len);
                Buffer::mapped(dtype, len, file, start)
            }
        };
        for (i, flat) in params.flats.iter().enumerate() {
            let (dtype, own) = (flat.grads.dtype(), zero.updated_here(i));
            let mut zeros = || state(dtype, own.len(), Family::Optimizer);
            moments.push([zeros()?, zeros()?]);
            // Gradients are in the type that sums are in, and so are masters.
            masters.push(if dtype == flat.values.dtype() {
                None
            } else {
                let master = state(DType::F32, own.len(), Family::Parameters)?;
                let (values, range) = zero.values(i, own);
                copy_wide(values, range, &master)?;
                Some(master)
            });
        }
        let group = if zero.stage == 0 { mesh.model() } else { mesh.world() };
        Ok(AdamW { moments, masters, step: 0, group: group.clone(), zero })
    }
    /// The length of the whole gradient as one vector, as it was accumulated: of the
    /// scaled loss, if the loss was scaled. Each element counts once, on however many
    /// ranks it is; the result is the same on all of them.
    ///
    /// # Errors
    /// A parameter received no gradient, or another rank failed.
    pub fn grad_norm(&self, params: &Params) -> Result<f64> {
        let mut squares = ops::Squares::default();
        for (i, flat) in params.flats.iter().enumerate() {
            let own = self.zero.updated_here(i);
            for param in flat.params.iter().filter(|param| param.shard().counts()) {
                let (grads, range) = self.zero.grads(i, overlap(&param.range()?, &own));
                with_float!(param.dtype()?, T => {
                    let grads = grads.read::<<T as Element>::Acc>(range)?;
                    squares.add(&grads)
                })?;
            }
        }
        let mut squares = [squares.sum()?];
        self.group.all_reduce("gradient norm", &mut squares, Reduce::Sum)?;
        Ok(squares[0].sqrt())
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
        let states = self.moments.iter().zip(&self.masters).enumerate();
        for (flat, (i, ([exp_avg, exp_avg_sq], master))) in
            params.flats.iter().zip(states)
        {
            let own = self.zero.updated_here(i);
            for param in &flat.params {
                // Norms and biases are not pulled to zero.
                let decays = param.shard().is_matrix();
                adamw.weight_decay = if decays { hyper.weight_decay } else { 0.0 };
                let range = overlap(&param.range()?, &own);
                let (grads, grads_range) = self.zero.grads(i, range.clone());
                let (values, values_range) = self.zero.values(i, range.clone());
                let range = self.zero.shift(i, range);
                with_float!(param.dtype()?, T => {
                    type A = <T as Element>::Acc;
                    let mut weights = match master {
                        Some(master) => master.write::<A>(range.clone())?,
                        None => values.write::<A>(values_range.clone())?,
                    };
                    let mut exp_avg = exp_avg.write::<A>(range.clone())?;
                    let mut exp_avg_sq = exp_avg_sq.write::<A>(range)?;
                    let grad = grads.read::<A>(grads_range)?;
                    let (first, second) = (&mut exp_avg, &mut exp_avg_sq);
                    ops::adamw(&adamw, &mut weights, &grad, first, second);
                    if master.is_some() {
                        let mut values = values.write::<T>(values_range)?;
                        ops::narrow(&weights, &mut values)?;
                    }
                    Result::Ok(())
                })?;
            }
            self.zero.updated(i)?;
        }
        Ok(())
    }
}

/// What two ranges have in common; an empty range within `own` if that is nothing.
fn overlap(a: &Range<usize>, own: &Range<usize>) -> Range<usize> {
    let start = a.start.clamp(own.start, own.end);
    start..a.end.clamp(start, own.end)
}

/// Copies 16-bit weights into fp32 ones.
fn copy_wide(
    values: &Arc<Buffer>,
    range: Range<usize>,
    master: &Arc<Buffer>,
) -> Result<()> {
    with_float!(values.dtype(), T => {
        let values = values.read::<T>(range)?;
        let mut weights = master.write::<<T as Element>::Acc>(0..master.len())?;
        ops::widen(&values, &mut weights)
    })
}
