//! What an answer must hold to, the same for the reader's and for ours.
pub mod ex1_g_and_g_bar;
pub mod ex2_norm_gradients;
pub mod ex3_saved_bytes;

use candle_core::{Device, Result, Tensor};
use comm::Group;
use std::fmt::Display;

/// `1 rank`, `2 ranks`.
pub fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Runs `f` on so many ranks; what each returns, or a panic that says when it failed.
#[track_caller]
pub fn ranks<T: Send, E: Display + Send>(
    n: usize,
    when: &str,
    f: impl Fn(Group) -> std::result::Result<T, E> + Sync,
) -> Vec<T> {
    let each = |group| {
        let _threads = ops::threads::own(1);
        f(group)
    };
    match comm::launch(n, each) {
        Ok(all) => all,
        Err(error) => panic!("{}, {when}: {error}", many(n, "rank")),
    }
}

/// Numbers between -1 and 1, others for each `seed`.
pub fn numbers(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| ((seed * 131 + i * 17) as f64 * 0.618_034).sin()).collect()
}

/// A tensor of such numbers.
pub fn tensor(shape: &[usize], seed: usize) -> Result<Tensor> {
    Tensor::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu)
}

/// The elements of `x`, row-major.
pub fn elements(x: &Tensor) -> Result<Vec<f64>> {
    x.flatten_all()?.to_vec1()
}

/// The length of `x`.
pub fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest difference, as a part of the largest element of `want`; of zeros, the
/// difference itself.
pub fn distance(got: &[f64], want: &[f64]) -> f64 {
    let largest = |all: &mut dyn Iterator<Item = f64>| all.fold(0.0, f64::max);
    let apart = largest(&mut got.iter().zip(want).map(|(a, b)| (a - b).abs()));
    let size = largest(&mut want.iter().map(|x| x.abs()));
    // A NaN is far from everything; `max` would lose it.
    match got.len() == want.len() && got.iter().all(|x| x.is_finite()) {
        true if size > 0.0 => apart / size,
        true => apart,
        false => f64::INFINITY,
    }
}
