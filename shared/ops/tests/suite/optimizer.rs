//! AdamW and the sum of squares against plain loops in f64.

use crate::common::{error_of, flat, normal};
use ops::{AdamW, adamw, sum_of_squares};

/// More than one thread's share, and a multiple of nothing.
const N: usize = 40_001;
const STEPS: u64 = 50;

fn hyper(step: u64) -> AdamW {
    AdamW {
        lr: 1e-2 / step as f64,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-3,
        weight_decay: 0.1,
        step,
        // Another one in each step, as clipping has.
        grad_scale: 1.0 / (1.0 + step as f64 % 3.0),
    }
}

/// The paper's Algorithm 2, line by line.
fn plain(h: &AdamW, value: &mut f64, grad: f64, first: &mut f64, second: &mut f64) {
    let grad = grad * h.grad_scale;
    *first = h.beta1 * *first + (1.0 - h.beta1) * grad;
    *second = h.beta2 * *second + (1.0 - h.beta2) * grad * grad;
    let first_hat = *first / (1.0 - h.beta1.powi(h.step as i32));
    let second_hat = *second / (1.0 - h.beta2.powi(h.step as i32));
    *value -=
        h.lr * (first_hat / (second_hat.sqrt() + h.eps) + h.weight_decay * *value);
}

fn grads(step: u64) -> Vec<f64> {
    // Of different sizes, so that eps matters to some.
    let scale = |i: usize| 10f64.powi(-(i as i32 % 6));
    let grads = flat(&normal("grad", step, &[N]));
    grads.into_iter().enumerate().map(|(i, g)| g * scale(i)).collect()
}

/// Values and both moments after all steps, by the plain loop.
fn expected() -> [Vec<f64>; 3] {
    let start = flat(&normal("value", 0, &[N]));
    let [mut values, mut first, mut second] = [start, vec![0.0; N], vec![0.0; N]];
    for step in 1..=STEPS {
        let (h, grads) = (hyper(step), grads(step));
        for i in 0..N {
            plain(&h, &mut values[i], grads[i], &mut first[i], &mut second[i]);
        }
    }
    [values, first, second]
}

#[test]
fn adamw_takes_the_steps_of_a_plain_loop() {
    let want = expected();
    let start = flat(&normal("value", 0, &[N]));
    let [mut values, mut first, mut second] =
        [start.clone(), vec![0.0; N], vec![0.0; N]];
    let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let mut values32 = narrow(&start);
    let [mut first32, mut second32] = [vec![0f32; N], vec![0f32; N]];
    for step in 1..=STEPS {
        let (h, grads) = (hyper(step), grads(step));
        adamw(&h, &mut values, &grads, &mut first, &mut second);
        adamw(&h, &mut values32, &narrow(&grads), &mut first32, &mut second32);
    }
    let wide = |x: &[f32]| x.iter().map(|x| *x as f64).collect::<Vec<f64>>();
    let got =
        [(values, wide(&values32)), (first, wide(&first32)), (second, wide(&second32))];
    for (i, ((got, got32), want)) in got.iter().zip(&want).enumerate() {
        let (error, error32) = (error_of(got, want), error_of(got32, want));
        assert!(error < 1e-13, "{i}: {error:e} in f64");
        // 50 steps of a few roundings of 6e-8.
        assert!(error32 < 1e-5, "{i}: {error32:e} in f32");
    }
    // What the steps changed, and not only what they started from.
    let moved: Vec<f64> = got[0].0.iter().zip(&start).map(|(a, b)| a - b).collect();
    let by: Vec<f64> = want[0].iter().zip(&start).map(|(a, b)| a - b).collect();
    assert!(error_of(&moved, &by) < 1e-12);
}

#[test]
fn decay_is_decoupled_from_the_gradient() {
    let h = AdamW { lr: 0.5, weight_decay: 0.1, ..hyper(1) };
    let mut values = vec![2.0f64; 3];
    adamw(&h, &mut values, &[0.0; 3], &mut [0.0; 3], &mut [0.0; 3]);
    assert_eq!(values, [2.0 * (1.0 - 0.05); 3]);
}

#[test]
fn adamw_of_nothing_and_of_one() {
    adamw::<f32>(&hyper(1), &mut [], &[], &mut [], &mut []);
    let (mut value, mut first, mut second) = ([1.0f64], [0.0], [0.0]);
    adamw(&hyper(1), &mut value, &[3.0], &mut first, &mut second);
    let [mut v, mut m, mut s] = [1.0, 0.0, 0.0];
    plain(&hyper(1), &mut v, 3.0, &mut m, &mut s);
    assert!((value[0] - v).abs() < 1e-15 && first == [m] && second == [s]);
}

#[test]
fn squares_sum_up() {
    for n in [0, 1, 31, 33, 4095, 4096, 4097, 100_003] {
        let x = flat(&normal("x", 0, &[n]));
        let want: f64 = x.iter().map(|x| x * x).sum();
        let got = sum_of_squares(&x);
        assert!((got - want).abs() <= 1e-13 * want, "{n}: {got} {want}");
        let narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let got = sum_of_squares(&narrow);
        // 4096 elements at a time, 32 side by side, are summed in f32.
        assert!((got - want).abs() <= 1e-6 * want, "{n}: {got} {want} in f32");
    }
}

#[test]
fn squares_of_many_equal_numbers_do_not_stall() {
    // One f32 sum would stop at 2^24.
    let ones = vec![1f32; (1 << 24) + 4096];
    assert_eq!(sum_of_squares(&ones), ((1 << 24) + 4096) as f64);
}
