//! The first step, decay alone, clipping, and several steps beside `ops::adamw`.
use crate::answer::ex4_adamw::*;
use params::{Init, Shard};

/// `len` normally distributed numbers, others for each name.
fn draw(name: &str, len: usize) -> Vec<f64> {
    Init::Normal(1.0).draw(1, &Shard::whole(name, &[len]), 0..len).collect()
}

/// As the chapter has them, without decay or clipping.
fn hyper(step: u64) -> ops::AdamW {
    ops::AdamW {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        step,
        grad_scale: 1.0,
    }
}

#[test]
fn the_first_step_is_as_long_as_the_learning_rate() {
    let grads = [3.0, -0.02, 1.5e-3];
    let (mut values, mut first, mut second) = ([0.5; 3], [0.0; 3], [0.0; 3]);
    adamw(&hyper(1), &mut values, &grads, &mut first, &mut second);
    for (value, grad) in values.iter().zip(grads) {
        let (moved, want) = (value - 0.5, -0.01 * f64::signum(grad));
        assert!(
            (moved - want).abs() <= 1e-6,
            "gradient {grad}: the first step, with a learning rate of 0.01, moved the \
             value by {moved:.6}, expected {want:.6}. At step 1 the moments hold only \
             0.1 g and 0.05 g²: divide them by 1 - beta^step; and step against the \
             gradient"
        );
    }
}

#[test]
fn decay_is_decoupled_from_the_gradient() {
    let start = [3.0, -0.3];
    let (mut values, mut first, mut second) = (start, [0.0; 2], [0.0; 2]);
    for step in 1..=3 {
        let hyper = ops::AdamW { weight_decay: 0.5, ..hyper(step) };
        adamw(&hyper, &mut values, &[0.0; 2], &mut first, &mut second);
        for (value, start) in values.iter().zip(start) {
            let want = start * (1.0f64 - 0.01 * 0.5).powf(step as f64);
            assert!(
                (value - want).abs() <= 1e-12,
                "no gradient, lr 0.01, weight decay 0.5: after step {step} what began \
                 as {start} is {value:.9}, expected {want:.9}. Decay takes off \
                 lr · decay · w; it goes neither into the moments nor through the root"
            );
        }
        assert!(
            first == [0.0; 2] && second == [0.0; 2],
            "no gradient, so both moments stay 0, not {first:?} and {second:?}: decay \
             does not enter them"
        );
    }
}

#[test]
fn the_gradient_is_clipped_before_the_moments_see_it() {
    let grads = draw("grads", 4);
    let hyper = ops::AdamW { grad_scale: 0.25, ..hyper(1) };
    let (mut values, mut first, mut second) = ([0.0; 4], [0.0; 4], [0.0; 4]);
    adamw(&hyper, &mut values, &grads, &mut first, &mut second);
    for i in 0..4 {
        let grad = grads[i] * 0.25;
        let (mean, square) = (0.1 * grad, 0.05 * grad * grad);
        assert!(
            (first[i] - mean).abs() <= 1e-12 && (second[i] - square).abs() <= 1e-12,
            "gradient {:.4}, grad_scale 0.25: the moments after the first step are \
             {:.6} and {:.6}, expected {mean:.6} and {square:.6}: 0.1 g and 0.05 g² of \
             the scaled gradient, kept without their correction",
            grads[i],
            first[i],
            second[i]
        );
    }
}

/// A changing learning rate, much decay, and gradients from huge to as small as
/// epsilon.
#[test]
fn several_steps_agree_with_the_op() {
    const LEN: usize = 12;
    let size = |i: usize| 10f64.powf(2.0 - i as f64);
    let start = draw("values", LEN);
    let mut ours = [start.clone(), vec![0.0; LEN], vec![0.0; LEN]];
    let mut theirs = ours.clone();
    for step in 1..=6 {
        let hyper = ops::AdamW {
            lr: 0.02 * step as f64,
            weight_decay: 2.0,
            grad_scale: 1.0 / step as f64,
            ..hyper(step)
        };
        let grads = draw(&format!("grads {step}"), LEN);
        let grads: Vec<f64> = (0..LEN).map(|i| grads[i] * size(i)).collect();
        let [values, first, second] = &mut ours;
        adamw(&hyper, values, &grads, first, second);
        let [values, first, second] = &mut theirs;
        ops::adamw(&hyper, values, &grads, first, second);
        let moment =
            "It takes in the scaled gradient, and neither decay nor correction";
        let value = "If only those with tiny gradients are off, look at where eps is \
                     added; if all are, at the corrections and at which w decays";
        let each =
            [("second moment", moment), ("first moment", moment), ("value", value)];
        for ((name, hint), which) in each.into_iter().zip([2, 1, 0]) {
            for i in 0..LEN {
                let (got, want) = (ours[which][i], theirs[which][i]);
                assert!(
                    (got - want).abs() <= 1e-11 * want.abs(),
                    "step {step}, element {i}, with gradients of about {:.0e}: the \
                     {name} is {got:e}, ops::adamw's {want:e}. {hint}",
                    size(i)
                );
            }
        }
    }
}
