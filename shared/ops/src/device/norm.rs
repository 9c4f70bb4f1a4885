use super::{Array, On, at, uninit};
use crate::norm::Group;
use candle_core::{D, Result, Tensor};
use kernels::norm::{self, Stretches};
use kernels::sums;
use params::{Param, with_float};

/// The stretches of a group that begins at `start`.
fn stretches(x: &Tensor, group: &Group, dim: usize, start: usize) -> Result<Stretches> {
    let width = x.dim(D::Minus1)?;
    Ok(Stretches {
        rows: (x.elem_count() / width) as u64,
        width: width as u32,
        start: start as u32,
        count: group.count as u32,
        dim: dim as u32,
    })
}

impl On {
    pub fn norm(
        &self,
        x: &Tensor,
        groups: &[Group],
        dim: usize,
        eps: f64,
    ) -> Result<Tensor> {
        let (x, out) = (self.array(x)?, self.empty(x.shape())?);
        let mut start = 0;
        for group in groups {
            let s = stretches(&x.tensor, group, dim, start)?;
            start += group.count * dim;
            let run = |weight| {
                let (number, eps) = (self.number, eps as f32);
                self.launch(norm::forward(number, s, x.at, weight, out.at, eps))
            };
            match &group.weight {
                None => run(None)?,
                Some(weight) => with_float!(x.tensor.dtype(), T => {
                    run(Some(at(&weight.values::<T>()?)))?
                }),
            }
        }
        Ok(out.tensor)
    }
    pub fn norm_backward(
        &self,
        x: &Tensor,
        dy: &Tensor,
        groups: &[Group],
        dim: usize,
        eps: f64,
    ) -> Result<Tensor> {
        let ([x, dy], dx) = (self.arrays([x, dy])?, self.empty(x.shape())?);
        let mut start = 0;
        for group in groups {
            let s = stretches(&x.tensor, group, dim, start)?;
            start += group.count * dim;
            self.norm_backward_of(s, [&x, &dy, &dx], group.weight.as_ref(), eps)?;
        }
        Ok(dx.tensor)
    }
    fn norm_backward_of(
        &self,
        s: Stretches,
        arrays: [&Array; 3],
        weight: Option<&Param>,
        eps: f64,
    ) -> Result<()> {
        let (number, eps, all) = (self.number, eps as f32, arrays.map(|x| x.at));
        let Some(weight) = weight else {
            return self.launch(norm::backward(number, s, all, None, eps));
        };
        let count = norm::parts(s);
        let parts = uninit::<f32>(count as usize * s.dim as usize)?;
        with_float!(weight.dtype()?, T => {
            let values = weight.values::<T>()?;
            let weight = Some((at(&values), at(&parts)));
            self.launch(norm::backward(number, s, all, weight, eps))?
        });
        self.accumulate(std::slice::from_ref(weight), |grad, first| {
            self.launch(sums::rows(at(&parts), grad, count, s.dim, !first))
        })
    }
}
