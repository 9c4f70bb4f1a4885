//! Root-mean-square normalization (Zhang and Sennrich 2019).
use crate::device::on;
use crate::kernel::{GRAIN, read, simd, sum_over, tensor, uninit};
use crate::tape::{note, save};
use crate::threads::{self, Disjoint};
use candle_core::{D, Result, Tensor, bail};
use params::{Element, Param, Real, accumulate, with_float};

/// `x / sqrt(mean(x²) + eps) · weight` over the last dimension: `[.., h]`, weight
/// `[h]`.
///
/// # Errors
/// Shapes or types do not fit.
pub fn rms_norm(x: &Tensor, weight: &Param, eps: f64) -> Result<Tensor> {
    let groups = [Group { count: 1, weight: Some(weight.clone()) }];
    norm("rms_norm", x, groups.into(), eps)
}

/// Normalizes queries and keys head by head (Qwen3's QK-norm) before they are rotated.
///
/// `x [.., (heads + 2 kv_heads) · dim]` holds queries, keys and values side by side;
/// `q_weight` and `k_weight` are `[dim]`, each used for all of its heads. The values
/// pass unchanged.
///
/// # Errors
/// Shapes or types do not fit.
pub fn qk_norm(
    x: &Tensor,
    heads: usize,
    kv_heads: usize,
    q_weight: &Param,
    k_weight: &Param,
    eps: f64,
) -> Result<Tensor> {
    let groups = [
        Group { count: heads, weight: Some(q_weight.clone()) },
        Group { count: kv_heads, weight: Some(k_weight.clone()) },
        Group { count: kv_heads, weight: None },
    ];
    norm("qk_norm", x, groups.into(), eps)
}

/// Neighbouring stretches of a row that are normalized with the same weight, or copied.
#[derive(Clone)]
pub(crate) struct Group {
    pub count: usize,
    pub weight: Option<Param>,
}

fn norm(op: &'static str, x: &Tensor, groups: Vec<Group>, eps: f64) -> Result<Tensor> {
    let weights = || groups.iter().filter_map(|group| group.weight.as_ref());
    let dim = weights().map(|w| w.shard().elements()).max().unwrap_or(0);
    let stretches: usize = groups.iter().map(|group| group.count).sum();
    let width = x.dim(D::Minus1)?;
    for weight in weights() {
        if dim == 0 || weight.shard().elements() != dim || width != stretches * dim {
            bail!(
                "{}: {op} over {stretches} stretches of {dim}, input {:?}",
                weight.name(),
                x.shape()
            )
        }
    }
    let out = match on(x.dtype())? {
        Some(on) => on.norm(x, &groups, dim, eps)?,
        None => forward(x, &groups, dim, eps)?,
    };
    let saved = save(x);
    note(op, &out, &[x], move |dy| {
        Ok(vec![backward(&saved.get()?, &dy, &groups, dim, eps)?])
    });
    Ok(out)
}

fn forward(x: &Tensor, groups: &[Group], dim: usize, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    with_float!(x.dtype(), T => {
        read!(xs: [T] = x);
        let mut out = uninit::<T>(xs.len());
        let shared = Disjoint::new(&mut out);
        let mut start = 0;
        for group in groups {
            let columns = start..start + group.count * dim;
            start = columns.end;
            let weight = group.weight.as_ref().map(Param::values::<T>).transpose()?;
            let rows = xs.len() / width;
            threads::split(rows, GRAIN / 2 / columns.len().max(1) + 1, |rows| {
                for row in rows {
                    let at = row * width + columns.start..row * width + columns.end;
                    // SAFETY: each row is handed out once, and groups are disjoint.
                    let out = unsafe { shared.part(at.clone()) };
                    match &weight {
                        Some(weight) => norm_kernel(&xs[at], weight, out, eps),
                        None => out.copy_from_slice(&xs[at]),
                    }
                }
            });
        }
        tensor(out, x.shape())
    })
}

/// Rows summed into one partial gradient of the weight. Fixed, so that the result does
/// not depend on the number of threads.
const ROWS: usize = 64;

fn backward(
    x: &Tensor,
    dy: &Tensor,
    groups: &[Group],
    dim: usize,
    eps: f64,
) -> Result<Tensor> {
    if let Some(on) = on(x.dtype())? {
        return on.norm_backward(x, dy, groups, dim, eps);
    }
    let width = x.dim(D::Minus1)?;
    with_float!(x.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(xs: [T] = x);
        read!(dys: [T] = dy);
        let mut dx = uninit::<T>(xs.len());
        let dx_shared = Disjoint::new(&mut dx);
        let rows = xs.len() / width;
        let parts = rows.div_ceil(ROWS);
        let mut start = 0;
        for group in groups {
            let columns = start..start + group.count * dim;
            start = columns.end;
            let weight = group.weight.as_ref().map(Param::values::<T>).transpose()?;
            let mut dw = vec![A::of(0.0); parts * dim];
            let dw_shared = Disjoint::new(&mut dw);
            threads::split(parts, 1, |parts| {
                for part in parts {
                    // SAFETY: each part, and each row in it, is handed out once.
                    let dw = unsafe { dw_shared.part(part * dim..part * dim + dim) };
                    for row in part * ROWS..rows.min(part * ROWS + ROWS) {
                        let at = row * width + columns.start..row * width + columns.end;
                        // SAFETY: as above; groups are disjoint columns.
                        let dx = unsafe { dx_shared.part(at.clone()) };
                        match &weight {
                            Some(weight) => {
                                let (x, dy) = (&xs[at.clone()], &dys[at]);
                                norm_backward_kernel(x, dy, weight, dx, dw, eps)
                            }
                            None => dx.copy_from_slice(&dys[at]),
                        }
                    }
                }
            });
            drop(weight);
            if let Some(weight) = &group.weight {
                accumulate::<A>(std::slice::from_ref(weight), |grad, first| {
                    if first {
                        grad.fill(A::of(0.0));
                    }
                    for part in dw.chunks_exact(dim) {
                        grad.iter_mut().zip(part).for_each(|(g, d)| *g += *d);
                    }
                })?;
            }
        }
        tensor(dx, x.shape())
    })
}

simd! {
    /// Stretches of `weight.len()` elements.
    pub fn norm_kernel<T: Element>(x: &[T], weight: &[T], out: &mut [T], eps: f64) {
        let dim = weight.len();
        for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            let r = inverse_rms(x, eps);
            for i in 0..dim {
                out[i] = T::narrow(x[i].widen() * r * weight[i].widen());
            }
        }
    }
}
simd! {
    /// With `x̂ = x · r` the normalized input: `dw = dy · x̂` summed over the
    /// stretches, and `dx = r · (dy · w - x̂ · mean(dy · w · x̂))`.
    pub fn norm_backward_kernel<T: Element>(
        x: &[T], dy: &[T], weight: &[T], dx: &mut [T], dw: &mut [T::Acc], eps: f64,
    ) {
        let dim = weight.len();
        let dw = &mut dw[..dim];
        let stretches = x.chunks_exact(dim).zip(dy.chunks_exact(dim));
        for ((x, dy), dx) in stretches.zip(dx.chunks_exact_mut(dim)) {
            let r = inverse_rms(x, eps);
            let product =
                sum_over(dim, |i| dy[i].widen() * weight[i].widen() * x[i].widen());
            let mean = product * r * r / T::Acc::of(dim as f64);
            for i in 0..dim {
                let (x, dy) = (x[i].widen(), dy[i].widen());
                dx[i] = T::narrow(r * (dy * weight[i].widen() - x * mean));
                dw[i] += dy * x * r;
            }
        }
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
fn inverse_rms<T: Element>(x: &[T], eps: f64) -> T::Acc {
    let squares = sum_over(x.len(), |i| x[i].widen() * x[i].widen());
    let mean = squares / T::Acc::of(x.len() as f64);
    T::Acc::of(1.0) / (mean + T::Acc::of(eps)).sqrt()
}
