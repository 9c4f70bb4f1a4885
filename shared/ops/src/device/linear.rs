use super::{On, at, uninit};
use crate::kernel::with_width;
use candle_core::{D, Result, Tensor};
use kernels::{Number, Store, bias, sums};
use params::{Param, values, with_float};

impl On {
    /// `x Wᵀ + b`.
    pub fn product(
        &self,
        x: &Tensor,
        weights: &[Param],
        biases: &[Param],
        [inputs, outputs]: [usize; 2],
    ) -> Result<Tensor> {
        let (x, out) = (self.array(x)?, self.empty(with_width(x, outputs)?)?);
        let rows = x.tensor.elem_count() / inputs;
        with_float!(x.tensor.dtype(), T => {
            let w = values::<T>(weights)?;
            let bias = match biases {
                [] => None,
                all => Some(values::<T>(all)?),
            };
            let store = bias.as_ref().map_or(Store::Set, |bias| Store::Bias(at(bias)));
            let c = self.matrix(out.at, rows, outputs);
            let a = self.matrix(x.at, rows, inputs);
            self.multiply(c, store, a, self.matrix(at(&w), outputs, inputs).t())?
        });
        Ok(out.tensor)
    }
    /// `dy W`.
    pub fn input_gradient(
        &self,
        dy: &Tensor,
        weights: &[Param],
        [inputs, outputs]: [usize; 2],
    ) -> Result<Tensor> {
        let (dy, dx) = (self.array(dy)?, self.empty(with_width(dy, inputs)?)?);
        let rows = dy.tensor.elem_count() / outputs;
        with_float!(dy.tensor.dtype(), T => {
            let w = values::<T>(weights)?;
            let c = self.matrix(dx.at, rows, inputs);
            let a = self.matrix(dy.at, rows, outputs);
            self.multiply(c, Store::Set, a, self.matrix(at(&w), outputs, inputs))?
        });
        Ok(dx.tensor)
    }
    /// `dW (+)= dyᵀ x`, in fp32; and `db (+)= Σ dy`.
    pub fn weight_gradient(
        &self,
        x: &Tensor,
        dy: &Tensor,
        weights: &[Param],
        biases: &[Param],
    ) -> Result<()> {
        let [x, dy] = self.arrays([x, dy])?;
        let (inputs, outputs) = (x.tensor.dim(D::Minus1)?, dy.tensor.dim(D::Minus1)?);
        let rows = x.tensor.elem_count() / inputs;
        if !biases.is_empty() {
            let (rows, width) = (rows as u32, outputs as u32);
            let count = bias::parts(rows);
            let parts = uninit::<f32>(count as usize * outputs)?;
            self.launch(bias::backward(self.number, rows, width, dy.at, at(&parts)))?;
            self.accumulate(biases, |grad, first| {
                self.launch(sums::rows(at(&parts), grad, count, width, !first))
            })?;
        }
        self.accumulate(weights, |grad, first| {
            let c = kernels::Matrix::new(Number::F32, grad, outputs, inputs);
            let a = self.matrix(dy.at, rows, outputs).t();
            let b = self.matrix(x.at, rows, inputs);
            self.multiply(c, if first { Store::Set } else { Store::Add }, a, b)
        })
    }
}
