//! Against the chapter's norm, and the one number that all gradients may be scaled by.
use crate::answer::ex6_clipping::*;
use candle_core::DType;
use ch01_single_gpu::optimizer::AdamW;
use params::{Init, ParamBuilder, Shard};

/// The gradients of parameters of these lengths.
fn draw(lengths: &[usize]) -> Vec<Vec<f64>> {
    let each = |(i, len): (usize, &usize)| {
        let shard = Shard::whole(&format!("grad {i}"), &[*len]);
        Init::Normal(1.0).draw(1, &shard, 0..*len).collect()
    };
    lengths.iter().enumerate().map(each).collect()
}

/// The norm of these gradients, by the chapter's optimizer.
fn norm(grads: &[Vec<f64>]) -> f64 {
    let mut builder = ParamBuilder::new(0, DType::F64);
    for (i, grad) in grads.iter().enumerate() {
        builder.add(&format!("param {i}"), &[grad.len()], Init::Zeros);
    }
    let params = builder.build(1).unwrap();
    for (param, own) in params.iter().zip(grads) {
        let one = std::slice::from_ref(param);
        params::accumulate::<f64>(one, |grad, _| grad.copy_from_slice(own)).unwrap();
    }
    AdamW::new(&params).unwrap().grad_norm(&params).unwrap()
}

/// Checks what clipping makes of `grads`.
fn clips(grads: &[Vec<f64>], max_grad_norm: f64) {
    let want = norm(grads);
    let mut clipped = grads.to_vec();
    let reported = clip_grad_norm(&mut clipped, max_grad_norm);
    assert!(
        (reported - want).abs() <= 1e-12 * want,
        "the norm that is returned, {reported:.9}, is not that of the gradients before \
         clipping, {want:.9}, as AdamW::grad_norm has it"
    );
    if want < max_grad_norm {
        assert!(
            clipped == grads,
            "a gradient of norm {want:.4} is shorter than the limit of {max_grad_norm} \
             and was changed all the same"
        );
        return;
    }
    let scale = max_grad_norm / (want + 1e-6);
    let scales: Vec<f64> =
        clipped.iter().zip(grads).map(|(c, g)| c[0] / g[0]).collect();
    let same = |clipped: &Vec<f64>, grad: &Vec<f64>| {
        let pairs = clipped.iter().zip(grad);
        pairs.clone().count() == grad.len()
            && pairs.into_iter().all(|(c, g)| (c - g * scale).abs() <= 1e-12 * g.abs())
    };
    assert!(
        clipped.iter().zip(grads).all(|(clipped, grad)| same(clipped, grad)),
        "clipping a gradient of norm {want:.4} to {max_grad_norm} turned it: its \
         parameters were multiplied by {scales:.4?}, expected {scale:.4} for all"
    );
}

#[test]
fn the_gradient_keeps_its_direction() {
    // Short enough: nothing may change.
    clips(&draw(&[5, 2]), 100.0);
    clips(&draw(&[40, 3, 17, 1]), 1.0);
}

#[test]
fn the_order_of_the_parameters_does_not_matter() {
    let (forth, mut back) = (draw(&[6, 30, 2]), draw(&[6, 30, 2]));
    back.reverse();
    let (mut a, mut b) = (forth.clone(), back.clone());
    clip_grad_norm(&mut a, 0.5);
    clip_grad_norm(&mut b, 0.5);
    b.reverse();
    let moved = (0..3).map(|i| (a[i][0] / b[i][0] - 1.0).abs()).fold(0.0, f64::max);
    assert!(
        moved <= 1e-12,
        "the same gradients, their parameters listed backwards, are clipped to other \
         values, by up to {:.1} %: what a parameter is multiplied by depends on which \
         were seen before it",
        100.0 * moved
    );
    clips(&forth, 0.5);
}
