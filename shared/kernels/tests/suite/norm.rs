use super::Checks;
use super::host::{Host, run};
use super::twin::{close, forward_and_backward, numbers, parameters, roundoff, tensor};
use kernels::norm::{Stretches, backward, forward, parts};
use kernels::{Number, sums};

pub const CHECKS: Checks = checks![rows_are_normalized, heads_are_normalized];

const EPS: f64 = 1e-5;

/// Output, gradient of the input, and gradients of the weights of `groups`, each so
/// many heads, by the kernels. The weight's gradient is added to one of ones.
fn by_kernels(
    host: &Host,
    number: Number,
    rows: usize,
    dim: usize,
    groups: &[(usize, Option<&[f64]>)],
    [x, dy]: [&[f64]; 2],
    after: usize,
) -> Vec<Vec<f64>> {
    let heads: usize = groups.iter().map(|(count, _)| count).sum();
    let (x, dy) = (host.array(number, x, after), host.array(number, dy, after));
    let len = rows * heads * dim;
    let mut y = host.poisoned(number, len, after);
    let mut dx = host.poisoned(number, len, after);
    let mut gradients = vec![];
    let mut head = 0;
    for (count, weight) in groups {
        let s = Stretches {
            rows: rows as u64,
            width: (heads * dim) as u32,
            start: (head * dim) as u32,
            count: *count as u32,
            dim: dim as u32,
        };
        head += count;
        let weight = weight.map(|weight| host.array(number, weight, after));
        let at = weight.as_ref().map(|weight| weight.at());
        let eps = EPS as f32;
        host.launch(&forward(number, s, x.at(), at, y.at(), eps));
        let n = parts(s);
        let mut each = host.poisoned(Number::F32, n as usize * dim, 0);
        let to = at.map(|weight| (weight, each.at()));
        host.launch(&backward(number, s, [x.at(), dy.at(), dx.at()], to, eps));
        if at.is_some() {
            let mut sum = host.array(Number::F32, &vec![1.0; dim], 0);
            host.launch(&sums::rows(each.at(), sum.at(), n, dim as u32, true));
            gradients.push(sum.values().iter().map(|g| g - 1.0).collect());
        }
        each.values();
    }
    [vec![y.values(), dx.values()], gradients].concat()
}

#[cfg_attr(test, test)]
pub fn rows_are_normalized() {
    for number in Number::ALL {
        for (rows, dim, after) in
            [(1, 3, 0), (3, 8, 0), (5, 33, 0), (600, 16, 0), (9, 256, 3), (2, 1031, 0)]
        {
            let x = numbers(number, rows * dim, 1);
            let dy = numbers(number, rows * dim, 2);
            let w = numbers(number, dim, 3);
            let param = &parameters(&[(&w, &[dim])])[0];
            let [y, dx] = forward_and_backward(&tensor(&x, &[rows, dim]), &dy, |x| {
                ops::rms_norm(x, param, EPS)
            });
            let dw = super::twin::flat(&param.grad_tensor().unwrap());
            let got = run(|host| {
                let groups = [(1, Some(&w[..]))];
                by_kernels(host, number, rows, dim, &groups, [&x, &dy], after)
            });
            let what = format!("{number:?} {rows} × {dim}");
            let bound = roundoff(number) + 1e-6;
            close(&format!("y of {what}"), &got[0], &y, bound);
            close(&format!("dx of {what}"), &got[1], &dx, bound);
            close(&format!("dw of {what}"), &got[2], &dw, 1e-5);
        }
    }
}

/// Queries and keys by head, each with a weight of its own; values pass.
#[cfg_attr(test, test)]
pub fn heads_are_normalized() {
    for number in Number::ALL {
        for (rows, heads, kv_heads, dim) in
            [(3, 4, 2, 16), (5, 3, 1, 7), (150, 2, 2, 8)]
        {
            let width = (heads + 2 * kv_heads) * dim;
            let x = numbers(number, rows * width, 4);
            let dy = numbers(number, rows * width, 5);
            let [q, k] = [6, 7].map(|seed| numbers(number, dim, seed));
            let params = &parameters(&[(&q, &[dim]), (&k, &[dim])]);
            let [y, dx] = forward_and_backward(&tensor(&x, &[rows, width]), &dy, |x| {
                ops::qk_norm(x, heads, kv_heads, &params[0], &params[1], EPS)
            });
            let got = run(|host| {
                let groups = [(heads, Some(&q[..])), (kv_heads, Some(&k[..]))];
                let groups = [&groups[..], &[(kv_heads, None)]].concat();
                by_kernels(host, number, rows, dim, &groups, [&x, &dy], 0)
            });
            let what = format!("{number:?} {rows} {heads} {kv_heads} {dim}");
            let bound = roundoff(number) + 1e-6;
            close(&format!("y of {what}"), &got[0], &y, bound);
            close(&format!("dx of {what}"), &got[1], &dx, bound);
            for (got, param) in got[2..].iter().zip(params) {
                let dw = super::twin::flat(&param.grad_tensor().unwrap());
                close(&format!("dw of {what}"), got, &dw, 1e-5);
            }
        }
    }
}
