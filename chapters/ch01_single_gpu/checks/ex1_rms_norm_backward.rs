//! Finite differences, the op itself, and what a norm cannot change.
use crate::answer::ex1_rms_norm_backward::*;
use candle_core::{DType, Device, Tensor};
use params::{Init, ParamBuilder, Shard};

const TOKENS: usize = 3;
const HIDDEN: usize = 5;

/// `len` normally distributed numbers, others for each name.
fn draw(name: &str, len: usize) -> Vec<f64> {
    Init::Normal(1.0).draw(1, &Shard::whole(name, &[len]), 0..len).collect()
}

/// Input, weight and the output's gradient.
fn inputs() -> [Vec<f64>; 3] {
    let len = TOKENS * HIDDEN;
    [draw("x", len), draw("weight", HIDDEN), draw("dy", len)]
}

/// The gradients of input and weight, the latter starting from zero.
fn gradients(x: &[f64], weight: &[f64], dy: &[f64], eps: f64) -> [Vec<f64>; 2] {
    let mut dweight = vec![0.0; weight.len()];
    let dx = rms_norm_backward(x, weight, dy, eps, &mut dweight);
    assert_eq!(dx.len(), x.len(), "dx must have an element for each of x");
    [dx, dweight]
}

/// `Σ dy · rms_norm(x)`: a loss whose gradient with respect to `y` is `dy`.
fn loss(x: &[f64], weight: &[f64], dy: &[f64], eps: f64) -> f64 {
    let mut loss = 0.0;
    for (x, dy) in x.chunks(weight.len()).zip(dy.chunks(weight.len())) {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let r = 1.0 / (mean + eps).sqrt();
        loss += (0..x.len()).map(|i| dy[i] * weight[i] * x[i] * r).sum::<f64>();
    }
    loss
}

/// The derivative of `loss` with respect to element `i` of `at`, by its difference.
fn difference(at: &[f64], i: usize, loss: impl Fn(&[f64]) -> f64) -> f64 {
    const H: f64 = 1e-5;
    let moved = |by: f64| {
        let mut at = at.to_vec();
        at[i] += by;
        loss(&at)
    };
    (moved(H) - moved(-H)) / (2.0 * H)
}

#[test]
fn finite_differences_agree() {
    let [x, weight, dy] = inputs();
    let eps = 1e-5;
    let [dx, dweight] = gradients(&x, &weight, &dy, eps);
    for i in 0..x.len() {
        let want = difference(&x, i, |x| loss(x, &weight, &dy, eps));
        assert!(
            (dx[i] - want).abs() <= 1e-7,
            "token {}, channel {}: dx is {:.9}, but moving x there changes the loss at \
             a rate of {want:.9}. x counts directly and through the mean square: are \
             both terms there?",
            i / HIDDEN,
            i % HIDDEN,
            dx[i]
        );
    }
    for i in 0..HIDDEN {
        let want = difference(&weight, i, |weight| loss(&x, weight, &dy, eps));
        assert!(
            (dweight[i] - want).abs() <= 1e-7,
            "channel {i}: dw is {:.6}, but moving w there changes the loss at a rate \
             of {want:.6}. All {TOKENS} tokens share the weight, and w multiplies the \
             normalized x",
            dweight[i]
        );
    }
}

/// With an epsilon so large that it cannot be forgotten.
#[test]
fn the_op_agrees() {
    let [x, weight, dy] = inputs();
    let eps = 0.5;
    let mut builder = ParamBuilder::new(0, DType::F64);
    let param = builder.add("norm.weight", &[HIDDEN], Init::Ones);
    let params = builder.build(1).unwrap();
    param.values_mut::<f64>().unwrap().copy_from_slice(&weight);
    params.begin_step().unwrap();
    let tensor = |values: &[f64]| {
        Tensor::from_slice(values, (1, TOKENS, HIDDEN), &Device::Cpu).unwrap()
    };
    let input = tensor(&x);
    let (y, tape) = ops::record(|| ops::rms_norm(&input, &param, eps)).unwrap();
    let mut found = tape.backward_from(&y, tensor(&dy)).unwrap();
    let want = found.take(&input).unwrap().flatten_all().unwrap();

    let [dx, dweight] = gradients(&x, &weight, &dy, eps);
    let both = [
        ("dx", dx, want.to_vec1::<f64>().unwrap()),
        ("dw", dweight, param.grad::<f64>().unwrap().to_vec()),
    ];
    for (name, got, want) in both {
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(
                (got - want).abs() <= 1e-12,
                "{name}[{i}] is {got:.9}, ops::rms_norm's backward says {want:.9}. eps \
                 is {eps} here: if the other checks pass, look for it in your `r`, \
                 under the root and beside the mean square"
            );
        }
    }
}

#[test]
fn no_gradient_asks_for_a_longer_token() {
    let [x, weight, dy] = inputs();
    let [dx, _] = gradients(&x, &weight, &dy, 0.0);
    for (token, (x, dx)) in x.chunks(HIDDEN).zip(dx.chunks(HIDDEN)).enumerate() {
        let along: f64 = x.iter().zip(dx).map(|(x, dx)| x * dx).sum();
        assert!(
            along.abs() <= 1e-12,
            "token {token}: the sum of x · dx is {along:.6}, expected 0. Without eps, \
             RMSNorm gives the same y for x and for 2 x: the gradient may not point \
             along x. That part of it comes back through r"
        );
    }
}

#[test]
fn the_weights_gradient_is_added_to_what_was_there() {
    let [x, weight, dy] = inputs();
    let [_, once] = gradients(&x, &weight, &dy, 1e-5);
    let mut dweight = once.clone();
    rms_norm_backward(&x, &weight, &dy, 1e-5, &mut dweight);
    for (i, (twice, once)) in dweight.iter().zip(&once).enumerate() {
        assert!(
            (twice - 2.0 * once).abs() <= 1e-12,
            "dweight[{i}] is {twice:.6} after two equal micro-batches and {once:.6} \
             after one: the second must be added to the first"
        );
    }
}
