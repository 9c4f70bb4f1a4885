use super::Checks;
use super::host::run;
use super::twin::{close, forward_and_backward, numbers, roundoff, tensor};
use candle_core::DType;
use kernels::Number;
use kernels::rope::{Angles, Heads, backward, forward};

pub const CHECKS: Checks = checks![heads_are_rotated];

/// Queries and keys turn, values pass; in another place and in their own.
#[cfg_attr(test, test)]
pub fn heads_are_rotated() {
    // Batch, sequence, heads that turn and their size, elements that follow, and where
    // `x`, `y`, the cosines and the sines begin.
    for (batch, seq, heads, dim, rest, after) in [
        (1, 1, 1, 2, 0, [0; 4]),
        (2, 5, 3, 16, 16, [0; 4]),
        (2, 3, 2, 16, 16, [3, 0, 0, 0]),
        (2, 3, 2, 16, 16, [0, 1, 0, 0]),
        (2, 3, 2, 16, 16, [0, 0, 1, 0]),
        (2, 3, 2, 16, 16, [0, 0, 0, 1]),
        // Halves that are no packs, in rows that are; and the reverse.
        (3, 4, 3, 24, 24, [0; 4]),
        (3, 4, 3, 16, 7, [0; 4]),
        (2, 3, 3, 14, 28, [0; 4]),
        (1, 7, 2, 6, 6, [1; 4]),
        // More than a block has threads.
        (2, 2, 40, 128, 8 * 128, [0; 4]),
        (1, 2, 33, 26, 3 * 26, [0; 4]),
    ] {
        for number in Number::ALL {
            let (start, factor) = (11, 1.3);
            let frequencies: Vec<f64> =
                (0..dim / 2).map(|i| 0.7f64.powi(i + 1)).collect();
            let dim = dim as usize;
            let width = heads * dim + rest;
            let rows = batch * seq;
            let x = numbers(number, rows * width, 1);
            let dy = numbers(number, rows * width, 2);
            // For more positions than there are.
            let positions = start..start + seq + 2;
            let table =
                ops::Rope::new(&frequencies, factor, positions.clone(), DType::F64);
            let shape = [batch, seq, width];
            let [y, dx] = forward_and_backward(&tensor(&x, &shape), &dy, |x| {
                ops::rope(x, heads, table.as_ref().unwrap())
            });
            let angles: Vec<f64> = positions
                .flat_map(|at| frequencies.iter().map(move |f| at as f64 * f))
                .collect();
            let cos: Vec<f64> = angles.iter().map(|a| a.cos() * factor).collect();
            let sin: Vec<f64> = angles.iter().map(|a| a.sin() * factor).collect();
            let got = run(|host| {
                let cos = host.array(Number::F32, &cos, after[2]);
                let sin = host.array(Number::F32, &sin, after[3]);
                let angles = Angles { cos: cos.at(), sin: sin.at() };
                let heads = Heads {
                    rows: rows as u32,
                    seq: seq as u32,
                    width: width as u32,
                    heads: heads as u32,
                    dim: dim as u32,
                };
                let mut got = vec![];
                for (from, turn) in
                    [(&x, forward as fn(_, _, _, _, _) -> _), (&dy, backward)]
                {
                    let mut at_home = host.array(number, from, after[1]);
                    let from = host.array(number, from, after[0]);
                    let mut to = host.poisoned(number, rows * width, after[1]);
                    host.launch(&turn(number, heads, angles, from.at(), to.at()));
                    let at = at_home.at();
                    host.launch(&turn(number, heads, angles, at, at));
                    assert_eq!(to.values(), at_home.values());
                    got.push(to.values());
                }
                got
            });
            let what = format!("{number:?} {shape:?} {heads} × {dim}, from {after:?}");
            let bound = roundoff(number) + 1e-6;
            close(&format!("y of {what}"), &got[0], &y, bound);
            close(&format!("dx of {what}"), &got[1], &dx, bound);
            // Values are the same to the bit.
            let values = |of: &[f64]| -> Vec<f64> {
                of.chunks(width).flat_map(|row| row[heads * dim..].to_vec()).collect()
            };
            assert_eq!(values(&got[0]), values(&x), "{what}");
            assert_eq!(values(&got[1]), values(&dy), "{what}");
        }
    }
}
