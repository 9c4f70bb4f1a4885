use super::Checks;
use super::host::run;
use super::twin::{
    close, flat, forward_and_backward, numbers, rounded, roundoff, tensor,
};
use kernels::Number;
use kernels::elementwise::{add, narrow, swiglu, swiglu_backward, widen};

pub const CHECKS: Checks = checks![sums, gates, casts];

#[cfg_attr(test, test)]
pub fn sums() {
    for number in Number::ALL {
        for (n, after) in [
            (1, [0, 0, 0]),
            (7, [0, 0, 0]),
            (24, [0, 0, 0]),
            // More than one block.
            (4096 + 29, [0, 0, 0]),
            (2059, [1, 1, 1]),
            (40, [1, 0, 0]),
            (40, [0, 1, 0]),
            (40, [0, 0, 1]),
        ] {
            let [x, y] = [1, 2].map(|seed| numbers(number, n, seed));
            let want = flat(&ops::add(&tensor(&x, &[n]), &tensor(&y, &[n])).unwrap());
            let got = run(|host| {
                let mut x = host.array(number, &x, after[0]);
                let y = host.array(number, &y, after[1]);
                let mut sum = host.poisoned(number, n, after[2]);
                let [x_at, y_at] = [x.at(), y.at()];
                host.launch(&add(number, n as u64, x_at, y_at, sum.at()));
                host.launch(&add(number, n as u64, x_at, y_at, x_at));
                assert_eq!(sum.values(), x.values());
                sum.values()
            });
            let what = format!("{number:?} {n}, from {after:?}");
            close(&what, &got, &want, roundoff(number));
        }
    }
}

#[cfg_attr(test, test)]
pub fn gates() {
    for number in Number::ALL {
        for (rows, width, after) in [
            (1, 1, [0, 0, 0]),
            (3, 8, [0, 0, 0]),
            (5, 33, [0, 0, 0]),
            // A second span of a row, and a block that is not full.
            (2, 2048 + 264, [0, 0, 0]),
            (2, 2057, [0, 0, 0]),
            (3, 40, [2, 2, 2]),
            (2, 16, [1, 0, 0]),
            (2, 16, [0, 1, 0]),
            (2, 16, [0, 0, 1]),
        ] {
            let n = rows * width;
            let mut x = numbers(number, 2 * n, 1);
            // Far out, too, where exponentials are no numbers of their type.
            for (at, gate) in [100.0, -100.0, 20.0, -9.0].iter().enumerate() {
                if let Some(x) = x.get_mut(5 * at) {
                    *x = *gate;
                }
            }
            let dy = numbers(number, n, 2);
            let [y, dx] =
                forward_and_backward(&tensor(&x, &[rows, 2 * width]), &dy, ops::swiglu);
            let got = run(|host| {
                let mut x = host.array(number, &x, after[0]);
                let dy = host.array(number, &dy, after[1]);
                let mut y = host.poisoned(number, n, after[1]);
                let mut dx = host.poisoned(number, 2 * n, after[2]);
                let (rows, width) = (rows as u32, width as u32);
                let [x_at, dy_at] = [x.at(), dy.at()];
                host.launch(&swiglu(number, rows, width, x_at, y.at()));
                let back = |to| swiglu_backward(number, rows, width, [x_at, dy_at, to]);
                host.launch(&back(dx.at()));
                host.launch(&back(x_at));
                assert_eq!(dx.values(), x.values());
                [y.values(), dx.values()]
            });
            let what = format!("{number:?} {rows} × {width}, from {after:?}");
            let bound = roundoff(number) + 1e-6;
            close(&format!("y of {what}"), &got[0], &y, bound);
            close(&format!("dx of {what}"), &got[1], &dx, bound);
        }
    }
}

#[cfg_attr(test, test)]
pub fn casts() {
    for number in Number::ALL {
        for (n, after) in
            [(1, [0, 0]), (7, [0, 0]), (2059, [0, 0]), (24, [1, 0]), (24, [0, 1])]
        {
            let x = numbers(Number::F32, n, 3);
            let want: Vec<f64> = x.iter().map(|x| rounded(number, *x)).collect();
            run(|host| {
                let x = host.array(Number::F32, &x, after[0]);
                let mut y = host.poisoned(number, n, after[1]);
                host.launch(&narrow(number, n as u64, x.at(), y.at()));
                assert_eq!(y.values(), want, "{number:?} {n}, from {after:?}");
                let mut wide = host.poisoned(Number::F32, n, after[0]);
                host.launch(&widen(number, n as u64, y.at(), wide.at()));
                assert_eq!(wide.values(), want, "{number:?} {n}, from {after:?}");
            });
        }
    }
}
