//! Matrices.
use crate::deferred::now_or_later;
use crate::device::on;
use crate::gemm::{Mat, MatMut, On, Store, gemm};
use crate::kernel::{read, simd, tensor, uninit, with_width};
use crate::tape::{note, save};
use crate::threads::{self, Disjoint};
use candle_core::{D, Result, Tensor, bail};
use params::{Element, Param, Real, accumulate, values, with_float};

/// `x Wᵀ + b` for one or several matrices that share their input, as one matrix
/// product.
///
/// `x [.., in]`; `weights` are `[out, in]` and lie side by side in their flat buffer,
/// as do the `biases` `[out]`, one for each weight or none at all. The result `[.., Σ
/// out]` has the outputs of the first matrix first. Backward adds the weights' and the
/// biases' gradients to their main gradients and returns the input's alone.
///
/// # Errors
/// Shapes or types do not fit, or the parameters do not lie side by side.
pub fn linear(x: &Tensor, weights: &[Param], biases: &[Param]) -> Result<Tensor> {
    let out = product(x, weights, biases)?;
    let (saved, weights, biases) = (save(x), weights.to_vec(), biases.to_vec());
    note("linear", &out, &[x], move |dy| {
        let dx = input_gradient(&dy, &weights)?;
        weight_gradient(&saved.get()?, &dy, &weights, &biases)?;
        Ok(vec![dx])
    });
    Ok(out)
}

fn product(x: &Tensor, weights: &[Param], biases: &[Param]) -> Result<Tensor> {
    let (inputs, outputs) = dimensions(x, weights)?;
    let biased: usize = biases.iter().map(|bias| bias.shard().elements()).sum();
    if biased != outputs && !biases.is_empty() {
        bail!("{}: {outputs} outputs, {biased} biases", weights[0].name())
    }
    if let Some(on) = on(x.dtype())? {
        return on.product(x, weights, biases, [inputs, outputs]);
    }
    with_float!(x.dtype(), T => {
        read!(xs: [T] = x);
        let w = values::<T>(weights)?;
        let rows = xs.len() / inputs;
        let mut out = uninit::<T>(rows * outputs);
        let mut store = Store::Set;
        if !biases.is_empty() {
            let bias = values::<T>(biases)?;
            out.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(&bias));
            store = Store::Add;
        }
        let (a, b) = (Mat::new(xs, rows, inputs), Mat::new(&w, outputs, inputs));
        gemm(MatMut::new(&mut out, rows, outputs), store, a, b.t(), On::AllThreads);
        tensor(out, with_width(x, outputs)?)
    })
}

/// `(in, Σ out)`, checked against `x`.
fn dimensions(x: &Tensor, weights: &[Param]) -> Result<(usize, usize)> {
    let Some(first) = weights.first() else { bail!("linear: no weights") };
    let inputs = x.dim(D::Minus1)?;
    if inputs == 0 {
        bail!("{}: input {:?} has no elements in a row", first.name(), x.shape())
    }
    let mut outputs = 0;
    for weight in weights {
        match weight.shard().shape[..] {
            [out, width] if width == inputs => outputs += out,
            ref shape => {
                bail!("{}: weight {shape:?}, input {:?}", weight.name(), x.shape())
            }
        }
    }
    if x.dtype() != first.dtype()? {
        bail!("{}: weight {:?}, input {:?}", first.name(), first.dtype()?, x.dtype())
    }
    Ok((inputs, outputs))
}

/// The width of the weights' input, whose output's gradient is `dy`.
fn widths(dy: &Tensor, weights: &[Param]) -> Result<usize> {
    let Some(first) = weights.first() else { bail!("linear: no weights") };
    let outputs: usize = weights.iter().map(|weight| weight.shard().shape[0]).sum();
    if outputs != dy.dim(D::Minus1)? {
        bail!("{}: {outputs} outputs, gradient {:?}", first.name(), dy.shape())
    }
    Ok(first.shard().shape[1])
}

/// One half of [`linear`]'s backward: `dx = dy W`, `[.., Σ out]` to `[.., in]`. For an
/// operation that has something to do between the halves.
///
/// # Errors
/// As for [`linear`].
pub fn input_gradient(dy: &Tensor, weights: &[Param]) -> Result<Tensor> {
    let (outputs, inputs) = (dy.dim(D::Minus1)?, widths(dy, weights)?);
    if let Some(on) = on(dy.dtype())? {
        return on.input_gradient(dy, weights, [inputs, outputs]);
    }
    with_float!(dy.dtype(), T => {
        read!(dys: [T] = dy);
        let w = values::<T>(weights)?;
        let rows = dys.len() / outputs;
        let mut dx = uninit::<T>(rows * inputs);
        let (a, b) = (Mat::new(dys, rows, outputs), Mat::new(&w, outputs, inputs));
        gemm(MatMut::new(&mut dx, rows, inputs), Store::Set, a, b, On::AllThreads);
        tensor(dx, with_width(dy, inputs)?)
    })
}

/// The other half: adds `dyᵀ x` to the main gradients of the `weights`, and the sum of
/// `dy` over all tokens to those of the `biases`; or within [`crate::put_off`], has it
/// done later.
///
/// # Errors
/// As for [`linear`].
pub fn weight_gradient(
    x: &Tensor,
    dy: &Tensor,
    weights: &[Param],
    biases: &[Param],
) -> Result<()> {
    if widths(dy, weights)? != x.dim(D::Minus1)? {
        bail!("{}: input {:?}", weights[0].name(), x.shape())
    }
    let tokens = |x: &Tensor| x.elem_count() / x.dim(D::Minus1).unwrap_or(1).max(1);
    if tokens(x) != tokens(dy) {
        bail!("{}: input {:?}, gradient {:?}", weights[0].name(), x.shape(), dy.shape())
    }
    let (x, dy) = (x.clone(), dy.clone());
    let (weights, biases) = (weights.to_vec(), biases.to_vec());
    now_or_later(move || add_weight_gradient(&x, &dy, &weights, &biases))
}

fn add_weight_gradient(
    x: &Tensor,
    dy: &Tensor,
    weights: &[Param],
    biases: &[Param],
) -> Result<()> {
    if let Some(on) = on(dy.dtype())? {
        return on.weight_gradient(x, dy, weights, biases);
    }
    if !biases.is_empty() {
        bias_gradient(dy, biases)?;
    }
    let (outputs, inputs) = (dy.dim(D::Minus1)?, x.dim(D::Minus1)?);
    with_float!(dy.dtype(), T => {
        read!(dys: [T] = dy);
        read!(xs: [T] = x);
        let rows = xs.len() / inputs;
        let (a, b) = (Mat::new(dys, rows, outputs), Mat::new(xs, rows, inputs));
        accumulate::<<T as Element>::Acc>(weights, |grad, first| {
            let store = if first { Store::Set } else { Store::Add };
            gemm(MatMut::new(grad, outputs, inputs), store, a.t(), b, On::AllThreads)
        })
    })
}

/// `db += Σ dy` over all tokens.
fn bias_gradient(dy: &Tensor, biases: &[Param]) -> Result<()> {
    let outputs = dy.dim(D::Minus1)?;
    with_float!(dy.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(dys: [T] = dy);
        accumulate::<A>(biases, |grad, first| {
            if first {
                grad.fill(A::of(0.0));
            }
            add_rows(dys, outputs, grad)
        })
    })
}

/// Adds the rows of `x`, `width` elements each, to `sum`; each thread sums some
/// columns, so the order of additions does not depend on their number.
pub(crate) fn add_rows<T: Element>(x: &[T], width: usize, sum: &mut [T::Acc]) {
    let grain = (1 << 14) / (x.len() / width).max(1) + 16;
    let sum = Disjoint::new(sum);
    threads::split(width, grain, |columns| {
        // SAFETY: `split` hands out each column once.
        let sum = unsafe { sum.part(columns.clone()) };
        for row in x.chunks_exact(width) {
            add_to(sum, &row[columns.clone()]);
        }
    })
}

simd! {
    pub fn add_to<T: Element>(sum: &mut [T::Acc], x: &[T]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x.widen();
        }
    }
}
