use super::Checks;
use super::host::{Host, run};
use super::twin::{close, numbers, rounded};
use kernels::Number;
use kernels::adamw::{AdamW, State, adamw, clip, parts, squares, sum};

pub const CHECKS: Checks = checks![
    a_step,
    gradients_are_clipped,
    squares_sum_up,
    squares_of_many_equal_numbers,
    coefficients,
];

/// Steps so long that an error in one is larger than the weights' rounding.
fn hyper(step: u64) -> ops::AdamW {
    ops::AdamW {
        lr: 0.3 / step as f64,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-3,
        weight_decay: 0.1,
        step,
        grad_scale: 0.5,
    }
}

fn of(h: &ops::AdamW) -> AdamW {
    let ops::AdamW { lr, beta1, beta2, eps, weight_decay, step, grad_scale } = *h;
    AdamW { lr, beta1, beta2, eps, weight_decay, step, grad_scale }
}

/// Weights, gradients, and both moments.
fn numbers_of(n: usize) -> [Vec<f64>; 4] {
    let of = |seed| numbers(Number::F32, n, seed).into_iter();
    // Gradients of different sizes: eps matters to some.
    let size = |i: usize| 10f64.powi(-(i as i32 % 5));
    let grads = of(2).enumerate().map(|(i, g)| rounded(Number::F32, g * size(i)));
    let first = of(3).enumerate().map(|(i, m)| rounded(Number::F32, m * size(i)));
    let second =
        of(4).enumerate().map(|(i, v)| rounded(Number::F32, (v * size(i)).powi(2)));
    [of(1).collect(), grads.collect(), first.collect(), second.collect()]
}

/// Weights, both moments, and values if there are any, after a step.
fn by_kernel(
    host: &Host,
    number: Number,
    h: &ops::AdamW,
    clip: Option<f64>,
    [weights, grads, first, second]: &[Vec<f64>; 4],
    after: [usize; 5],
    values: bool,
) -> Vec<Vec<f64>> {
    let n = weights.len();
    let array = |values, after| host.array(Number::F32, values, after);
    let mut weights = array(weights, after[0]);
    let grads = array(grads, after[1]);
    let [mut first, mut second] = [array(first, after[2]), array(second, after[3])];
    let mut copies = host.poisoned(number, n, after[4]);
    let state = State {
        n: n as u64,
        weights: weights.at(),
        grads: grads.at(),
        first: first.at(),
        second: second.at(),
        values: values.then_some(copies.at()),
    };
    let clip = clip.map(|clip| host.array(Number::F32, &[clip], 1));
    let at = clip.as_ref().map(|clip| clip.at());
    host.launch(&adamw(number, &of(h), state, at));
    let mut all = vec![weights.values(), first.values(), second.values()];
    let copies = copies.values();
    match values {
        true => all.push(copies),
        false => assert!(copies.iter().all(|x| x.is_nan()), "values are written"),
    }
    all
}

#[cfg_attr(test, test)]
pub fn a_step() {
    let mut cases = vec![];
    for n in [0, 1, 2, 3, 4, 5, 7, 1023, 1024, 1025, 4099] {
        // As buffers lie; as a parameter may lie in them; and as none does.
        for after in [
            [0; 5],
            [3; 5],
            [2, 2, 2, 2, 6],
            [1, 1, 1, 1, 2],
            [0, 1, 2, 3, 1],
            [0, 0, 0, 2, 0],
            [0, 0, 0, 0, 1],
        ] {
            cases.extend([true, false].map(|values| (n, after, values)));
        }
    }
    let h = |n| hyper(1 + n as u64 % 7);
    for number in Number::ALL {
        let got = run(|host| {
            let of = |(n, after, values): &(usize, _, _)| {
                let start = numbers_of(*n);
                by_kernel(host, number, &h(*n), None, &start, *after, *values)
            };
            cases.iter().map(of).collect::<Vec<_>>()
        });
        for ((n, after, values), got) in cases.iter().zip(got) {
            let mut want = numbers_of(*n);
            let [weights, grads, first, second] = &mut want;
            ops::adamw(&h(*n), weights, grads, first, second);
            let what = format!("{number:?} {n} after {after:?}");
            close(&format!("weights of {what}"), &got[0], &want[0], 5e-7);
            close(&format!("first of {what}"), &got[1], &want[2], 5e-7);
            close(&format!("second of {what}"), &got[2], &want[3], 5e-7);
            if *values {
                let to = |x: &f64| rounded(number, *x);
                let want: Vec<f64> = got[0].iter().map(to).collect();
                assert_eq!(got[3], want, "{what}");
            }
        }
    }
}

/// By what lies in the device's memory; if that is no number, nothing moves.
#[cfg_attr(test, test)]
pub fn gradients_are_clipped() {
    let (start, h) = (numbers_of(1030), hyper(3));
    let mut want = start.clone();
    let [weights, grads, first, second] = &mut want;
    let clipped = ops::AdamW { grad_scale: h.grad_scale * 0.375, ..h };
    ops::adamw(&clipped, weights, grads, first, second);
    let by = |clip| {
        run(|host| by_kernel(host, Number::F32, &h, Some(clip), &start, [0; 5], false))
    };
    let got = by(0.375);
    close("weights", &got[0], &want[0], 5e-7);
    close("first", &got[1], &want[2], 5e-7);
    close("second", &got[2], &want[3], 5e-7);
    let got = by(f64::NAN);
    assert!(got == [start[0].clone(), start[2].clone(), start[3].clone()]);
}

/// The sum of squares of several arrays, by parts that lie side by side.
fn sum_of(host: &Host, arrays: &[&[f64]], after: usize) -> f64 {
    let counts = || arrays.iter().map(|x| parts(x.len() as u64));
    let n: u64 = counts().sum();
    let mut each = host.doubles(&vec![f64::NAN; n as usize]);
    let mut at = each.at();
    for (x, count) in arrays.iter().zip(counts()) {
        // What lies behind it is no number.
        let more = [x, &[f64::NAN; 3][..]].concat();
        let there = host.array(Number::F32, &more, after);
        host.launch(&squares(there.at(), x.len() as u64, at));
        at.0 += 8 * count;
    }
    let mut total = host.doubles(&[f64::NAN]);
    host.launch(&sum(each.at(), n, total.at()));
    each.doubles();
    total.doubles()[0]
}

#[cfg_attr(test, test)]
pub fn squares_sum_up() {
    let sizes = [0, 1, 3, 4, 5, 1023, 4096, 4097, 100_003];
    let x = |n| numbers(Number::F32, n, 6);
    let more = numbers(Number::F32, 4099, 7);
    let got = run(|host| {
        let of = |n| {
            let x = x(n);
            let all = sum_of(host, &[&x, &more, &x], 0);
            [sum_of(host, &[&x], 0), sum_of(host, &[&x], 3), all]
        };
        sizes.map(of)
    });
    for (n, [got, elsewhere, all]) in sizes.into_iter().zip(got) {
        let want = ops::sum_of_squares(&x(n));
        close(&format!("{n}"), &[got], &[want], 2e-7);
        // In the same order, wherever it begins.
        assert_eq!(got, elsewhere, "{n}");
        let want = 2.0 * want + ops::sum_of_squares(&more);
        close(&format!("{n} and more"), &[all], &[want], 2e-7);
    }
}

/// More than all blocks take at once; and more parts than the last block has threads.
#[cfg_attr(test, test)]
pub fn squares_of_many_equal_numbers() {
    let n = 4 * 256 * 8 * 132 + 4 * 256 * 7 + 3;
    let x = vec![3.0; n];
    assert_eq!(run(|host| sum_of(host, &[&x], 0)), 9.0 * n as f64);
}

#[cfg_attr(test, test)]
pub fn coefficients() {
    let quarter = rounded(Number::F32, 1.0 / (4.0 + 1e-6));
    let none = f64::NAN;
    // Sum of squares, longest norm, scale of the gradient; and what comes of it.
    let cases = [
        ([0.25, 1.0, 1.0], 1.0),
        ([64.0, 1.0, 0.5], quarter),
        ([64.0, 0.0, 0.5], 1.0),
        ([0.0, 1.0, 1.0], 1.0),
        // More than fp32 could hold.
        ([1e60, 1.0, 1.0], rounded(Number::F32, 1e-30)),
        ([f64::INFINITY, 1.0, 1.0], none),
        ([f64::INFINITY, 0.0, 1.0], none),
        ([f64::NAN, 1.0, 1.0], none),
    ];
    let got = run(|host| {
        cases.map(|([squares, max_norm, scale], _)| {
            let squares = host.doubles(&[squares]);
            let mut coefficient = host.poisoned(Number::F32, 1, 0);
            host.launch(&clip(squares.at(), max_norm, scale, coefficient.at()));
            let got = coefficient.values()[0];
            if got.is_nan() { None } else { Some(got) }
        })
    });
    for ((of, want), got) in cases.into_iter().zip(got) {
        let want = if want.is_nan() { None } else { Some(want) };
        assert_eq!(got, want, "{of:?}");
    }
}
