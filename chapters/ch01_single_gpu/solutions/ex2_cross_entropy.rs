//! # Fill in: cross-entropy, loss and gradient in one pass
//!
//! The loss of a token is $\ln \sum_j e^{z_j} - z_t$, so its derivative with respect to
//! $z_i$ is $\mathrm{softmax}(z)_i$, less 1 for the target. With the largest logit
//! subtracted, the sum is at least 1 and at most the size of the vocabulary: its
//! logarithm is always finite. The exponentials that the sum needs are, divided by it,
//! the softmax that the gradient needs: one pass makes both, in the logits' own memory.
//! An ignored token's logits become zeros, since what stands there is read as a
//! gradient.

/// `scale` times the sum over the tokens of `-ln softmax(logits)[target]`, in nats.
///
/// `logits [tokens, vocab]`, row-major, become the gradient of the result with respect
/// to them. `targets` has one for each token, of which `ops::IGNORE` does not count.
pub fn cross_entropy(logits: &mut [f64], targets: &[u32], scale: f64) -> f64 {
    let vocab = logits.len() / targets.len();
    let mut total = 0.0;
    for (row, target) in logits.chunks_exact_mut(vocab).zip(targets) {
        if *target == ops::IGNORE {
            row.fill(0.0);
            continue;
        }
        let target = *target as usize;
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let picked = row[target] - max;
        row.iter_mut().for_each(|z| *z = (*z - max).exp());
        let sum: f64 = row.iter().sum();
        total += sum.ln() - picked;
        row.iter_mut().for_each(|e| *e *= scale / sum);
        row[target] -= scale;
    }
    total * scale
}
