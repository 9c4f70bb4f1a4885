//! # Fill in: a loss without all logits
//!
//! Of each token a rank sends its largest logit $m_r$, the sum $s_r$ of exponentials
//! less that, and the target's logit, or zero if it has not got it. With $m$ the
//! largest of all $m_r$,
//!
//! $$\sum_w e^{z_w} = e^m \sum_r s_r \, e^{m_r - m}$$
//!
//! No exponent is above zero, and the largest one is zero: the sum is at least one and
//! at most the size of the vocabulary. It is what flash attention does along the keys,
//! and what ring attention will do (chapter 10).
//!
//! A rank without a word has $m_r = -\infty$ and $s_r = 0$, and its term is zero times
//! $e^{-\infty}$, which is zero. That needs no `if`, so long as $m$ itself is of a rank
//! that has words; the difference of two infinities would be NaN. A maximum that starts
//! from zero in place of $-\infty$ is right until all logits are far below zero.
//!
//! Megatron-LM (`cross_entropy.py`) makes three all-reduces of it: the largest logits
//! first, then the targets' logits, then the sums. Then every exponential has the
//! common largest one taken off at once, at the price of waiting three times.
use comm::{Group, Result};
use corpus::IGNORE;
use std::ops::Range;

/// What a rank has of the logits.
#[derive(Clone, Debug)]
pub struct Logits<'a> {
    /// `[tokens, width]`, row-major.
    pub values: &'a [f64],
    /// Columns, padding included.
    pub width: usize,
    /// The words that the first columns are of; none, where it is empty.
    pub words: Range<usize>,
}

/// The sum over the `targets` that count, one for each token, of the negative
/// log-likelihood in nats.
///
/// # Errors
/// Another rank failed.
pub fn loss(logits: &Logits, targets: &[u32], group: &Group) -> Result<f64> {
    let words = &logits.words;
    let mut own = vec![];
    for (row, target) in logits.values.chunks_exact(logits.width).zip(targets) {
        let row = &row[..words.len()];
        let max = row.iter().fold(f64::NEG_INFINITY, |max, x| max.max(*x));
        let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
        let target = *target as usize;
        let target = words.contains(&target).then(|| row[target - words.start]);
        own.extend([max, sum, target.unwrap_or(0.0)]);
    }
    let mut all = vec![0.0; own.len() * group.size()];
    group.all_gather("cross-entropy", &own, &mut all)?;
    let mut loss = 0.0;
    for (i, _) in targets.iter().enumerate().filter(|(_, t)| **t != IGNORE) {
        let parts = || all.chunks_exact(own.len()).map(|part| &part[3 * i..3 * i + 3]);
        let max = parts().fold(f64::NEG_INFINITY, |max, part| max.max(part[0]));
        let sum: f64 = parts().map(|part| part[1] * (part[0] - max).exp()).sum();
        let target: f64 = parts().map(|part| part[2]).sum();
        loss += max + sum.ln() - target;
    }
    Ok(loss)
}
