//! # Fill in: the backward of RMSNorm
//!
//! With $\hat x = x \, r$ the normalized token, $y = w \hat x$, so
//! $dw_i = dy_i \, \hat x_i$, summed over the tokens. Through $x_i$ itself comes
//! $r \, w_i \, dy_i$; through $r$ comes
//! $\sum_j dy_j w_j x_j \cdot \partial r / \partial x_i$, which is $-r \, \hat x_i$
//! times $a$, the mean of $dy_j \, w_j \, \hat x_j$ over the channels. Together
//!
//! $$dx_i = r \, (dy_i \, w_i - \hat x_i \, a)$$
//!
//! But for $\epsilon$, the second term takes out of $dy \, w$ its component along $x$:
//! to make a token longer changes nothing, so no gradient may ask for it.

/// The gradient of the input of RMSNorm; that of the weight is added to `dweight`.
///
/// `x`, `dy` and the result are `[tokens, hidden]`, row-major; `weight` and `dweight`
/// are `[hidden]`.
pub fn rms_norm_backward(
    x: &[f64],
    weight: &[f64],
    dy: &[f64],
    eps: f64,
    dweight: &mut [f64],
) -> Vec<f64> {
    let hidden = weight.len();
    let mut dx = Vec::with_capacity(x.len());
    for (x, dy) in x.chunks_exact(hidden).zip(dy.chunks_exact(hidden)) {
        let mean_square = x.iter().map(|x| x * x).sum::<f64>() / hidden as f64;
        let r = 1.0 / (mean_square + eps).sqrt();
        let normed: Vec<f64> = x.iter().map(|x| x * r).collect();
        let along: f64 = (0..hidden).map(|j| dy[j] * weight[j] * normed[j]).sum();
        let along = along / hidden as f64;
        for i in 0..hidden {
            dx.push(r * (dy[i] * weight[i] - normed[i] * along));
            dweight[i] += dy[i] * normed[i];
        }
    }
    dx
}
