//! The optimizer's pass over memory, and the norm it clips by.
use crate::device;
use crate::kernel::{GRAIN, fill_rows, simd, sum_over};
use crate::observe::{Pass, passed};
use crate::threads::{self, Disjoint};
use candle_core::Result;
use params::{Element, Real};

/// What one step of AdamW does to each element.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: per step, `lr` times this share of the value is taken
    /// off.
    pub weight_decay: f64,
    /// Steps taken, this one included: for the bias correction.
    pub step: u64,
    /// Multiplies the gradient first: the clipping coefficient.
    pub grad_scale: f64,
}

/// One step of AdamW (Loshchilov and Hutter 2019) in one pass over four runs of memory:
/// `values`, their gradients and their two moments, element for element.
///
/// # Panics
/// Their lengths differ; or they are a GPU's, which does not start its kernel.
pub fn adamw<A: Real>(
    hyper: &AdamW,
    values: &mut [A],
    grads: &[A],
    first: &mut [A],
    second: &mut [A],
) {
    let n = values.len();
    assert!(grads.len() == n && first.len() == n && second.len() == n);
    if device::step(hyper, values, grads, first, second).unwrap_or_else(failed) {
        return passed("adamw", Pass::Update);
    }
    let [values, first, second] = [values, first, second].map(Disjoint::new);
    threads::split(n, GRAIN, |part| {
        // SAFETY: `split` hands out each element once.
        let (values, first, second) = unsafe {
            (
                values.part(part.clone()),
                first.part(part.clone()),
                second.part(part.clone()),
            )
        };
        adamw_kernel(hyper, values, &grads[part], first, second)
    });
    passed("adamw", Pass::Update);
}

simd! {
    pub fn adamw_kernel<A: Real>(
        hyper: &AdamW, values: &mut [A], grads: &[A], first: &mut [A], second: &mut [A],
    ) {
        let n = values.len();
        let (grads, first, second) = (&grads[..n], &mut first[..n], &mut second[..n]);
        let power = |beta: f64| 1.0 - beta.powf(hyper.step as f64);
        // lr · m̂ / (sqrt(v̂) + eps), with the corrections moved out of the loop.
        let root = power(hyper.beta2).sqrt();
        let rate = A::of(hyper.lr / power(hyper.beta1));
        let (root, eps) = (A::of(1.0 / root), A::of(hyper.eps));
        let keep = A::of(1.0 - hyper.lr * hyper.weight_decay);
        let (beta1, beta2) = (A::of(hyper.beta1), A::of(hyper.beta2));
        let (rest1, rest2) = (A::of(1.0 - hyper.beta1), A::of(1.0 - hyper.beta2));
        let scale = A::of(hyper.grad_scale);
        for i in 0..n {
            let grad = grads[i] * scale;
            first[i] = beta1 * first[i] + rest1 * grad;
            second[i] = beta2 * second[i] + rest2 * grad * grad;
            let step = rate * first[i] / (second[i].sqrt() * root + eps);
            values[i] = keep * values[i] - step;
        }
    }
}

/// Elements whose squares are summed in the accumulation type, before f64 takes over.
/// Fixed, so that the sum does not depend on the number of threads.
const RUN: usize = 4096;

/// `Σ x²`.
///
/// # Panics
/// They are a GPU's, which fails.
pub fn sum_of_squares<A: Real>(x: &[A]) -> f64 {
    if let Some(sum) = device::squares(x).unwrap_or_else(failed) {
        passed("sum_of_squares", Pass::Update);
        return sum;
    }
    let mut sums = vec![0.0; x.len().div_ceil(RUN)];
    let shared = Disjoint::new(&mut sums);
    threads::split(x.len().div_ceil(RUN), GRAIN / RUN, |runs| {
        // SAFETY: `split` hands out each run once.
        let sums = unsafe { shared.part(runs.clone()) };
        let part = &x[runs.start * RUN..x.len().min(runs.end * RUN)];
        squares_kernel(part, sums)
    });
    passed("sum_of_squares", Pass::Update);
    sums.iter().sum()
}

simd! {
    pub fn squares_kernel<A: Real>(x: &[A], sums: &mut [f64]) {
        for (x, sum) in x.chunks(RUN).zip(sums) {
            *sum = sum_over(x.len(), |i| x[i] * x[i]).f64();
        }
    }
}

/// No user's mistake, and nothing that could be done about it.
fn failed<T>(error: candle_core::Error) -> T {
    panic!("{error}")
}

/// `values`, each the nearest to its master weight.
///
/// # Errors
/// They are a GPU's, which fails.
///
/// # Panics
/// Their lengths differ.
pub fn narrow<T: Element>(weights: &[T::Acc], values: &mut [T]) -> Result<()> {
    assert_eq!(weights.len(), values.len());
    if !device::cast(weights, values, true)? {
        fill_rows(values, 1, GRAIN, |i, values| narrow_kernel(&weights[i], values));
    }
    Ok(())
}

/// `weights`, each its value exactly.
///
/// # Errors
/// As for [`narrow`].
///
/// # Panics
/// Their lengths differ.
pub fn widen<T: Element>(values: &[T], weights: &mut [T::Acc]) -> Result<()> {
    assert_eq!(weights.len(), values.len());
    if !device::cast(weights, values, false)? {
        fill_rows(weights, 1, GRAIN, |i, weights| widen_kernel(&values[i], weights));
    }
    Ok(())
}

simd! {
    pub fn narrow_kernel<T: Element>(weights: &[T::Acc], values: &mut [T]) {
        for (value, weight) in values.iter_mut().zip(weights) {
            *value = T::narrow(*weight);
        }
    }
}
simd! {
    pub fn widen_kernel<T: Element>(values: &[T], weights: &mut [T::Acc]) {
        for (weight, value) in weights.iter_mut().zip(values) {
            *weight = value.widen();
        }
    }
}
