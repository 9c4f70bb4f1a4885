//! Rotary position embedding (Su et al. 2021), in the half-split form of Hugging Face's
//! models: element `i` of a head is paired with element `i + dim / 2`.
use crate::device::on;
use crate::kernel::{GRAIN, fill_rows, read, simd, tensor, uninit};
use crate::tape::note;
use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use params::{Element, Real, with_float};

/// The cosine and sine of each position's angles.
#[derive(Clone)]
pub struct Rope {
    /// `[positions, dim / 2]`, in the type that activations accumulate in.
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

impl Rope {
    /// For the tokens at `positions`, in order.
    ///
    /// `frequencies [dim / 2]` are angles per position in radians, bent already by what
    /// scaling the model asks for (llama3, YaRN); `factor` multiplies cosine and sine
    /// (YaRN's attention factor, else 1). `dtype` is the activations'.
    ///
    /// # Errors
    /// `dtype` is no float type.
    pub fn new(
        frequencies: &[f64],
        factor: f64,
        positions: impl IntoIterator<Item = usize>,
        dtype: DType,
    ) -> Result<Rope> {
        let (mut cos, mut sin) = (vec![], vec![]);
        for position in positions {
            for frequency in frequencies {
                let angle = position as f64 * frequency;
                cos.push(angle.cos() * factor);
                sin.push(angle.sin() * factor);
            }
        }
        let table = |values: Vec<f64>| -> Result<Tensor> {
            let shape = (values.len() / frequencies.len().max(1), frequencies.len());
            let table = with_float!(dtype, T => {
                Tensor::from_vec(values, shape, &Device::Cpu)?
                    .to_dtype(<T as Element>::Acc::DTYPE)?
            });
            match on(dtype)? {
                Some(on) => Ok(on.array(&table)?.tensor),
                None => Ok(table),
            }
        };
        Ok(Rope { cos: table(cos)?, sin: table(sin)? })
    }
}

/// Rotates the first `heads` heads of each token; what follows passes unchanged.
///
/// `x [batch, seq, width]` with `width >= heads · dim`: queries, keys and values side
/// by side, of which the first two are rotated. Token `t` takes row `t` of the tables.
/// Backward rotates the other way.
///
/// # Errors
/// The tables are for fewer positions than `seq`, or `width` is too small.
pub fn rope(x: &Tensor, heads: usize, rope: &Rope) -> Result<Tensor> {
    let out = rotate(x, heads, rope, 1.0)?;
    let tables = rope.clone();
    note("rope", &out, &[x], move |dy| Ok(vec![rotate(&dy, heads, &tables, -1.0)?]));
    Ok(out)
}

fn rotate(x: &Tensor, heads: usize, rope: &Rope, sign: f64) -> Result<Tensor> {
    let (_, seq, width) = x.dims3()?;
    let (positions, half) = rope.cos.dims2()?;
    if positions < seq || width < 2 * heads * half {
        bail!(
            "rope: {:?} with {heads} heads of {}, tables for {positions} positions",
            x.shape(),
            2 * half
        )
    }
    if let Some(on) = on(x.dtype())? {
        return on.rotate(x, heads, rope, sign < 0.0);
    }
    with_float!(x.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(xs: [T] = x);
        read!(cos: [A] = rope.cos);
        read!(sin: [A] = rope.sin);
        let mut out = uninit::<T>(xs.len());
        fill_rows(&mut out, width, GRAIN / 2, |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                let x = &xs[row * width..][..width];
                let at = row % seq * half..(row % seq + 1) * half;
                rotate_kernel(x, out, &cos[at.clone()], &sin[at], heads, sign)
            }
        });
        tensor(out, x.shape())
    })
}

simd! {
    pub fn rotate_kernel<T: Element>(
        x: &[T], out: &mut [T], cos: &[T::Acc], sin: &[T::Acc], heads: usize, sign: f64,
    ) {
        let (half, sign) = (cos.len(), T::Acc::of(sign));
        let sin = &sin[..half];
        let (turned, rest) = x.split_at(heads * 2 * half);
        let (out, out_rest) = out.split_at_mut(heads * 2 * half);
        out_rest.copy_from_slice(rest);
        let dim = 2 * half;
        for (x, out) in turned.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            let (a, b) = x.split_at(half);
            let (out_a, out_b) = out.split_at_mut(half);
            let (b, out_b) = (&b[..half], &mut out_b[..half]);
            for i in 0..half {
                let (a, b, sin) = (a[i].widen(), b[i].widen(), sin[i] * sign);
                out_a[i] = T::narrow(a * cos[i] - b * sin);
                out_b[i] = T::narrow(b * cos[i] + a * sin);
            }
        }
    }
}
