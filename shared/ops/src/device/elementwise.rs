use super::On;
use crate::kernel::with_width;
use crate::rope::Rope;
use candle_core::{D, Result, Tensor};
use kernels::elementwise::{add, swiglu, swiglu_backward};
use kernels::rope::{Angles, Heads, backward, forward};

impl On {
    pub fn sum(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let ([x, y], out) = (self.arrays([x, y])?, self.empty(x.shape())?);
        let n = x.tensor.elem_count() as u64;
        self.launch(add(self.number, n, x.at, y.at, out.at))?;
        Ok(out.tensor)
    }
    /// `[.., 2 f]` to `[.., f]`.
    pub fn swiglu(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)? / 2;
        let (x, out) = (self.array(x)?, self.empty(with_width(x, width)?)?);
        let rows = (x.tensor.elem_count() / (2 * width).max(1)) as u32;
        self.launch(swiglu(self.number, rows, width as u32, x.at, out.at))?;
        Ok(out.tensor)
    }
    pub fn swiglu_backward(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)? / 2;
        let ([x, dy], dx) = (self.arrays([x, dy])?, self.empty(x.shape())?);
        let rows = (x.tensor.elem_count() / (2 * width).max(1)) as u32;
        let all = [x.at, dy.at, dx.at];
        self.launch(swiglu_backward(self.number, rows, width as u32, all))?;
        Ok(dx.tensor)
    }
    pub fn rotate(
        &self,
        x: &Tensor,
        heads: usize,
        rope: &Rope,
        back: bool,
    ) -> Result<Tensor> {
        let (_, seq, width) = x.dims3()?;
        let half = rope.cos.dim(1)?;
        let (x, out) = (self.array(x)?, self.empty(x.shape())?);
        let [cos, sin] = self.arrays([&rope.cos, &rope.sin])?;
        let sizes = Heads {
            rows: (x.tensor.elem_count() / width) as u32,
            seq: seq as u32,
            width: width as u32,
            heads: heads as u32,
            dim: 2 * half as u32,
        };
        let rotate = if back { backward } else { forward };
        let angles = Angles { cos: cos.at, sin: sin.at };
        self.launch(rotate(self.number, sizes, angles, x.at, out.at))?;
        Ok(out.tensor)
    }
}
