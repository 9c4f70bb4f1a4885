//! One run at several loss scales, bit for bit; skipped steps; the chapter's optimizer.
use crate::answer::ex4_scaled_step::*;
use candle_core::DType;
use ch02_mixed_precision::optimizer::{AdamW, Hyper};
use params::{Init, ParamBuilder, Shard};

const LEN: usize = 40;
const LR: f64 = 0.01;
const LIMIT: f64 = 1.0;

/// `LEN` normally distributed numbers, others for each name.
fn draw(name: &str) -> Vec<f32> {
    let shard = Shard::whole(name, &[LEN]);
    Init::Normal(1.0).draw(1, &shard, 0..LEN).map(|x| x as f32).collect()
}

/// The gradients of some steps, without a scale: of lengths below the limit and above.
fn gradients() -> Vec<Vec<f32>> {
    let length = |(i, length): (usize, f32)| {
        let mut grad = draw(&format!("grad {i}"));
        let scale = length / ops::sum_of_squares(&grad).sqrt() as f32;
        grad.iter_mut().for_each(|g| *g *= scale);
        grad
    };
    [0.5, 5.0, 0.2, 0.9, 20.0, 0.7].into_iter().enumerate().map(length).collect()
}

/// Before the first step.
fn start(loss_scale: f64) -> State {
    let (first, second) = (vec![0.0; LEN], vec![0.0; LEN]);
    State { weights: draw("weights"), first, second, steps: 0, loss_scale }
}

/// The gradient of the scaled loss. A power of two changes no digit.
fn scaled(grad: &[f32], loss_scale: f64) -> Vec<f32> {
    grad.iter().map(|g| g * loss_scale as f32).collect()
}

/// What a gradient is to be: clipped, or left as it is.
fn what_to_do(grad: &[f32]) -> &'static str {
    match ops::sum_of_squares(grad).sqrt() > LIMIT {
        true => "longer than the limit and to be clipped",
        false => "shorter than the limit and to be left as it is",
    }
}

#[test]
fn the_loss_scale_changes_no_bit() {
    for scale in [65536.0, 1024.0, 2.0] {
        let (mut plain, mut state) = (start(1.0), start(scale));
        for (i, grad) in gradients().iter().enumerate() {
            let made = [
                step(&mut plain, grad, LR, LIMIT),
                step(&mut state, &scaled(grad, scale), LR, LIMIT),
            ];
            let norm = ops::sum_of_squares(grad).sqrt();
            assert!(
                made == [true; 2],
                "step {}: a gradient of length {norm:.1} was skipped",
                i + 1
            );
            let all = [
                ("first moment", &plain.first, &state.first),
                ("second moment", &plain.second, &state.second),
                ("weight", &plain.weights, &state.weights),
            ];
            for (name, want, got) in all {
                assert!(
                    got == want,
                    "step {}, whose gradient, without the scale, has the length \
                     {norm:.1}, {}: with a loss scale of {scale} element 0 has the \
                     {name} {:e}, with a scale of 1 {:e}. Expected the same bits in \
                     all elements: {LIMIT} is the limit for the gradient of the loss",
                    i + 1,
                    what_to_do(grad),
                    got[0],
                    want[0]
                );
            }
        }
        assert!(
            state.loss_scale == scale,
            "no gradient overflowed, and the loss scale went from {scale} to {}",
            state.loss_scale
        );
    }
}

#[test]
fn a_skipped_step_leaves_every_state_untouched() {
    let mut state = start(1024.0);
    // So that the moments are not zero.
    let good = &gradients()[0];
    step(&mut state, &scaled(good, 1024.0), LR, LIMIT);
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let before = state.clone();
        let mut grad = scaled(good, before.loss_scale);
        grad[LEN / 2] = bad;
        let made = step(&mut state, &grad, LR, LIMIT);
        assert!(!made, "a step with a gradient of {bad} was made, expected: skipped");
        let untouched = State { loss_scale: before.loss_scale, ..state.clone() };
        assert!(
            untouched == before,
            "a step with a gradient of {bad} was skipped, but it changed more than the \
             scale: weights, both moments and the number of steps stay as they were"
        );
        assert!(
            state.loss_scale == before.loss_scale / 2.0,
            "a gradient of {bad} brings the loss scale from {} to {}, expected half",
            before.loss_scale,
            state.loss_scale
        );
    }
    state.loss_scale = 1.0;
    step(&mut state, &[f32::INFINITY; LEN], LR, LIMIT);
    assert!(
        state.loss_scale == 1.0,
        "an overflow brings a loss scale of 1 to {}, expected 1, the least there is",
        state.loss_scale
    );
}

/// The same steps by the chapter's optimizer, at the same scale.
#[test]
fn the_chapter_steps_the_same() {
    for scale in [1.0, 1024.0] {
        let mut state = start(scale);
        let mut builder = ParamBuilder::new(0, DType::F32);
        let param = builder.add("weight", &[LEN], Init::Zeros);
        let params = builder.build(1).unwrap();
        param.values_mut::<f32>().unwrap().copy_from_slice(&state.weights);
        let mut optimizer = AdamW::new(&params).unwrap();
        let hyper = Hyper {
            lr: LR,
            weight_decay: 0.0,
            max_grad_norm: LIMIT,
            loss_scale: scale,
        };
        for (i, grad) in gradients().iter().enumerate() {
            let grads = scaled(grad, scale);
            params.begin_step().unwrap();
            let one = std::slice::from_ref(&param);
            params::accumulate::<f32>(one, |grad, _| grad.copy_from_slice(&grads))
                .unwrap();
            let norm = optimizer.grad_norm(&params).unwrap() / scale;
            optimizer.step(&params, norm, &hyper).unwrap();
            step(&mut state, &grads, LR, LIMIT);
            let weights = param.values::<f32>().unwrap();
            let pairs = state.weights.iter().zip(weights.iter());
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // To the norm that it clips by, the chapter's adds 1e-6, as PyTorch does.
            assert!(
                off <= 1e-5,
                "step {}, loss scale {scale}, whose gradient, without the scale, has \
                 the length {norm:.1}, {}: a weight is off by {off:.1e} of what \
                 optimizer::AdamW makes of it, with a learning rate of {LR}",
                i + 1,
                what_to_do(grad)
            );
        }
    }
}
