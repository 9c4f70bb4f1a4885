use super::Checks;
use super::host::run;
use super::twin::{
    close, flat, forward_and_backward, numbers, parameters, roundoff, tensor,
};
use kernels::bias::{backward, forward, parts};
use kernels::{Number, sums};

pub const CHECKS: Checks = checks![biases_are_added_and_summed];

/// Beside a product of zeros.
#[cfg_attr(test, test)]
pub fn biases_are_added_and_summed() {
    for number in Number::ALL {
        for (rows, width, after) in [
            (1, 1, [0; 3]),
            (3, 8, [0; 3]),
            (6, 33, [0; 3]),
            (5, 24, [1, 0, 0]),
            (5, 24, [0, 1, 0]),
            (5, 24, [0, 0, 1]),
            // More than one span of a row, in both directions.
            (2, 2048 + 72, [0; 3]),
            (2, 1027, [0; 3]),
            (70, 264, [0; 3]),
            (130, 263, [0; 3]),
            // More parts than are made of few rows each.
            (64 * 64 + 100, 16, [0; 3]),
            (64 * 64 + 100, 3, [0; 3]),
        ] {
            let x = numbers(number, rows * width, 1);
            let dy = numbers(number, rows * width, 2);
            let b = numbers(number, width, 3);
            let params =
                parameters(&[(&vec![0.0; width], &[width, 1]), (&b, &[width])]);
            let zeros = tensor(&vec![0.0; rows], &[rows, 1]);
            let [y, _] = forward_and_backward(&tensor(&x, &[rows, width]), &dy, |x| {
                ops::add(x, &ops::linear(&zeros, &params[..1], &params[1..])?)
            });
            let db = flat(&params[1].grad_tensor().unwrap());
            let got = run(|host| {
                let x = host.array(number, &x, after[0]);
                let bias = host.array(number, &b, after[1]);
                let mut y = host.poisoned(number, rows * width, after[2]);
                let (rows, columns) = (rows as u32, width as u32);
                let (from, to, bias) = (x.at(), y.at(), bias.at());
                host.launch(&forward(number, rows, columns, from, bias, to));
                let added = y.values();
                // In its place: the sums, on which another is added.
                host.launch(&forward(number, rows, columns, to, bias, to));

                let dy = host.array(number, &dy, after[0]);
                let n = parts(rows);
                let mut each = host.poisoned(Number::F32, n as usize * width, 0);
                host.launch(&backward(number, rows, columns, dy.at(), each.at()));
                let mut sum = host.array(Number::F32, &vec![1.0; width], 0);
                host.launch(&sums::rows(each.at(), sum.at(), n, columns, true));
                each.values();
                [added, y.values(), sum.values()]
            });
            let what = format!("{number:?} {rows} × {width}, from {after:?}");
            let bound = roundoff(number) + 1e-7;
            close(&format!("y of {what}"), &got[0], &y, bound);
            let twice = got[0].iter().zip(b.iter().cycle()).map(|(y, b)| y + b);
            let twice: Vec<f64> = twice.collect();
            close(&format!("y in place of {what}"), &got[1], &twice, bound);
            let db: Vec<f64> = db.iter().map(|g| g + 1.0).collect();
            close(&format!("gradient of {what}"), &got[2], &db, 1e-6);
        }
    }
}
