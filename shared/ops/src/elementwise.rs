//! Sums, and the gated activation.
use crate::device::on;
use crate::kernel::{GRAIN, fill_rows, read, simd, tensor, uninit, with_width};
use crate::tape::{note, save};
use candle_core::{Result, Tensor, bail};
use params::{Element, Real, with_float};

/// `x + y`, of the same shape: the residual connection.
///
/// # Errors
/// Shapes or types differ.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let out = sum(x, y)?;
    note("add", &out, &[x, y], |dy| Ok(vec![dy.clone(), dy]));
    Ok(out)
}

/// `x + y`, not recorded.
pub(crate) fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if x.shape() != y.shape() || x.dtype() != y.dtype() {
        bail!(
            "add: {:?} {:?} and {:?} {:?}",
            x.dtype(),
            x.shape(),
            y.dtype(),
            y.shape()
        )
    }
    if let Some(on) = on(x.dtype())? {
        return on.sum(x, y);
    }
    with_float!(x.dtype(), T => {
        read!(a: [T] = x);
        read!(b: [T] = y);
        let mut out = uninit::<T>(a.len());
        fill_rows(&mut out, 1, GRAIN, |i, out| {
            add_kernel(&a[i.clone()], &b[i], out)
        });
        tensor(out, x.shape())
    })
}

simd! {
    pub fn add_kernel<T: Element>(a: &[T], b: &[T], out: &mut [T]) {
        for ((a, b), out) in a.iter().zip(b).zip(out) {
            *out = T::narrow(a.widen() + b.widen());
        }
    }
}

/// `silu(gate) · up` (Shazeer 2020, *GLU Variants Improve Transformer*), where `x`
/// holds both side by side: `[.., 2 f]` to `[.., f]`.
///
/// # Errors
/// The last dimension is odd.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    if width % 2 != 0 {
        bail!("swiglu: {:?}: the last dimension holds gate and up: even", x.shape())
    }
    let out = match on(x.dtype())? {
        Some(on) => on.swiglu(x)?,
        None => swiglu_forward(x, width)?,
    };
    let saved = save(x);
    note("swiglu", &out, &[x], move |dy| {
        Ok(vec![swiglu_backward(&saved.get()?, &dy)?])
    });
    Ok(out)
}

fn swiglu_forward(x: &Tensor, width: usize) -> Result<Tensor> {
    with_float!(x.dtype(), T => {
        read!(xs: [T] = x);
        let mut out = uninit::<T>(xs.len() / 2);
        fill_rows(&mut out, width / 2, GRAIN / 4, |rows, out| {
            swiglu_kernel(&xs[rows.start * width..rows.end * width], out, width / 2)
        });
        tensor(out, with_width(x, width / 2)?)
    })
}

fn swiglu_backward(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if let Some(on) = on(x.dtype())? {
        return on.swiglu_backward(x, dy);
    }
    let width = x.dim(candle_core::D::Minus1)?;
    with_float!(x.dtype(), T => {
        read!(xs: [T] = x);
        read!(dys: [T] = dy);
        let mut dx = uninit::<T>(xs.len());
        fill_rows(&mut dx, width, GRAIN / 4, |rows, dx| {
            let dys = &dys[rows.start * width / 2..rows.end * width / 2];
            let xs = &xs[rows.start * width..rows.end * width];
            swiglu_backward_kernel(xs, dys, dx, width / 2)
        });
        tensor(dx, x.shape())
    })
}

simd! {
    pub fn swiglu_kernel<T: Element>(x: &[T], out: &mut [T], f: usize) {
        let one = T::Acc::of(1.0);
        for (x, out) in x.chunks_exact(2 * f).zip(out.chunks_exact_mut(f)) {
            let (gate, up) = x.split_at(f);
            for ((g, u), out) in gate.iter().zip(up).zip(out) {
                let g = g.widen();
                *out = T::narrow(g / (one + (-g).exp()) * u.widen());
            }
        }
    }
}
simd! {
    /// With `s` the sigmoid of the gate: `d gate = dy · up · (s + gate · s · (1 - s))`,
    /// `d up = dy · gate · s`.
    pub fn swiglu_backward_kernel<T: Element>(
        x: &[T], dy: &[T], dx: &mut [T], f: usize,
    ) {
        let one = T::Acc::of(1.0);
        let rows = x.chunks_exact(2 * f).zip(dy.chunks_exact(f));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(2 * f)) {
            let (gate, up) = x.split_at(f);
            let (dgate, dup) = dx.split_at_mut(f);
            let (up, dy, dup) = (&up[..f], &dy[..f], &mut dup[..f]);
            for i in 0..f {
                let (g, u, d) = (gate[i].widen(), up[i].widen(), dy[i].widen());
                let s = one / (one + (-g).exp());
                let silu = g * s;
                dup[i] = T::narrow(d * silu);
                dgate[i] = T::narrow(d * u * (s + silu * (one - s)));
            }
        }
    }
}
