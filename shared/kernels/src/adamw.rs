//! The optimizer's pass over memory, and the norm that gradients are clipped by.
//!
//! The norm need not come to the host before the step: [`squares`] of each parameter,
//! [`sum`] of all of these, a sum over ranks, [`clip`], and then [`adamw`] of each,
//! which reads the coefficient from the device's memory.
use crate::launch::{Launch, Number, Ptr};
use crate::source::ADAMW;

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
    /// Multiplies the gradient first: one over the loss's scale. So does what [`clip`]
    /// left, if it is given.
    pub grad_scale: f64,
}

/// What it does it to: `n` elements each.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Elements.
    pub n: u64,
    /// Weights, in fp32.
    pub weights: Ptr,
    /// Their gradients, in fp32.
    pub grads: Ptr,
    /// First moments, in fp32.
    pub first: Ptr,
    /// Second moments, in fp32.
    pub second: Ptr,
    /// Where the weights are written once more, rounded, if what the model computes
    /// with is not the weights themselves.
    pub values: Option<Ptr>,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Step {
    weights: Ptr,
    grads: Ptr,
    first: Ptr,
    second: Ptr,
    values: Ptr,
    clip: Ptr,
    n: u64,
    rate: f32,
    root: f32,
    eps: f32,
    keep: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    scale: f32,
}

/// One step of AdamW (Loshchilov and Hutter 2019). Values are in `number`. At `clip` is
/// one number in fp32 that multiplies the gradient, too; if it is NaN, all is left as
/// it is.
pub fn adamw(number: Number, hyper: &AdamW, s: State, clip: Option<Ptr>) -> Launch {
    let power = |beta: f64| 1.0 - beta.powf(hyper.step as f64);
    let args = Step {
        weights: s.weights,
        grads: s.grads,
        first: s.first,
        second: s.second,
        values: s.values.unwrap_or_default(),
        clip: clip.unwrap_or_default(),
        n: s.n,
        rate: (hyper.lr / power(hyper.beta1)) as f32,
        root: (1.0 / power(hyper.beta2).sqrt()) as f32,
        eps: hyper.eps as f32,
        keep: (1.0 - hyper.lr * hyper.weight_decay) as f32,
        beta1: hyper.beta1 as f32,
        rest1: (1.0 - hyper.beta1) as f32,
        beta2: hyper.beta2 as f32,
        rest2: (1.0 - hyper.beta2) as f32,
        scale: hyper.grad_scale as f32,
    };
    let threads = 256;
    // Four elements a thread; the first may have fewer.
    let blocks = (s.n + 3).div_ceil(4 * threads).max(1);
    Launch::new(ADAMW, "adamw", number, blocks, threads as u32, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Squares {
    x: Ptr,
    parts: Ptr,
    n: u64,
}

/// Threads of a block that sums squares: a power of two.
const THREADS: u32 = 256;

/// Blocks of [`squares`], each of which leaves a part of the sum. They depend on `n`
/// alone.
pub fn parts(n: u64) -> u64 {
    // As many as run side by side on 132 multiprocessors, those of an H100.
    n.div_ceil(16 * u64::from(THREADS)).clamp(1, 8 * 132)
}

/// From `to` on, as many numbers in fp64 as [`parts`] says, which add up to `Σ x²` of
/// `n` elements in fp32. Those of several arrays may lie side by side, for one [`sum`].
pub fn squares(x: Ptr, n: u64, to: Ptr) -> Launch {
    let args = Squares { x, parts: to, n };
    Launch::new(ADAMW, "squares", Number::F32, parts(n), THREADS, args)
        .shared(THREADS as usize * size_of::<f64>())
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SumParts {
    parts: Ptr,
    sum: Ptr,
    n: u64,
}

/// The sum of `n` numbers in fp64, in an order that depends on `n` alone.
pub fn sum(parts: Ptr, n: u64, sum: Ptr) -> Launch {
    let args = SumParts { parts, sum, n };
    Launch::new(ADAMW, "sum_parts", Number::F32, 1, THREADS, args)
        .shared(THREADS as usize * size_of::<f64>())
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Clip {
    squares: Ptr,
    clip: Ptr,
    max_norm: f64,
    scale: f64,
}

/// From the sum of the gradient's squares, in fp64, what it is to be multiplied by so
/// that it is not longer than `max_norm` (zero: however long it is): `coefficient`, one
/// number in fp32, NaN if the norm is not finite. `grad_scale` multiplies the gradient
/// first.
pub fn clip(squares: Ptr, max_norm: f64, grad_scale: f64, coefficient: Ptr) -> Launch {
    let args = Clip { squares, clip: coefficient, max_norm, scale: grad_scale };
    Launch::new(ADAMW, "clip", Number::F32, 1, 32, args)
}
