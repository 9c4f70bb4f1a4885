//! Every operation composed of plain candle operations, which candle differentiates.
//! Weights are tensors here. Slow, plain, and not one line shared with `ops`.

use candle_core::{D, DType, Device, Result, Tensor};
use ops::IGNORE;

pub fn linear(x: &Tensor, weights: &[Tensor], biases: &[Tensor]) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let rows = x.reshape(((), width))?;
    let mut outs = vec![];
    for (i, weight) in weights.iter().enumerate() {
        let out = rows.matmul(&weight.t()?)?;
        outs.push(match biases.get(i) {
            Some(bias) => out.broadcast_add(bias)?,
            None => out,
        });
    }
    let out = Tensor::cat(&outs, 1)?;
    let mut dims = x.dims().to_vec();
    *dims.last_mut().unwrap() = out.dim(1)?;
    out.reshape(dims)
}

pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / x.dim(D::Minus1)? as f64)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

pub fn qk_norm(
    x: &Tensor,
    heads: usize,
    kv_heads: usize,
    [q_weight, k_weight]: [&Tensor; 2],
    eps: f64,
) -> Result<Tensor> {
    let (b, s, _) = x.dims3()?;
    let dim = q_weight.elem_count();
    let part = |start: usize, heads: usize, weight: &Tensor| {
        let part = x.narrow(2, start * dim, heads * dim)?;
        let part = rms_norm(&part.reshape((b, s, heads, dim))?, weight, eps)?;
        part.reshape((b, s, heads * dim))
    };
    let (q, k) = (part(0, heads, q_weight)?, part(heads, kv_heads, k_weight)?);
    let v = x.narrow(2, (heads + kv_heads) * dim, kv_heads * dim)?;
    Tensor::cat(&[q, k, v], 2)
}

/// Rotates pairs `(i, i + dim / 2)` of the first `heads` heads by
/// `positions[t] · frequencies[i]`.
pub fn rope(
    x: &Tensor,
    heads: usize,
    frequencies: &[f64],
    factor: f64,
    positions: &[usize],
) -> Result<Tensor> {
    let (b, s, width) = x.dims3()?;
    let half = frequencies.len();
    let angles =
        positions[..s].iter().flat_map(|p| frequencies.iter().map(|f| *p as f64 * f));
    let angles = angles.collect::<Vec<f64>>();
    let angles = Tensor::from_vec(angles, (s, 1, half), &Device::Cpu)?;
    let (cos, sin) = ((angles.cos()? * factor)?, (angles.sin()? * factor)?);
    let turned = x.narrow(2, 0, heads * 2 * half)?.reshape((b, s, heads, 2 * half))?;
    let (first, second) = (turned.narrow(3, 0, half)?, turned.narrow(3, half, half)?);
    let times = |x: &Tensor, y: &Tensor| x.broadcast_mul(y);
    let out = [
        (times(&first, &cos)? - times(&second, &sin)?)?,
        (times(&second, &cos)? + times(&first, &sin)?)?,
    ];
    let out = Tensor::cat(&out, 3)?.reshape((b, s, heads * 2 * half))?;
    match width - heads * 2 * half {
        0 => Ok(out),
        rest => Tensor::cat(&[out, x.narrow(2, width - rest, rest)?], 2),
    }
}

pub fn attention(
    qkv: &Tensor,
    heads: usize,
    kv_heads: usize,
    document_starts: Option<&[u32]>,
) -> Result<Tensor> {
    let (b, s, width) = qkv.dims3()?;
    let dim = width / (heads + 2 * kv_heads);
    let group = heads / kv_heads;
    let part = |start: usize, count: usize| {
        let part =
            qkv.narrow(2, start * dim, count * dim)?.reshape((b, s, count, dim))?;
        let part =
            part.transpose(1, 2)?.contiguous()?.reshape((b, count, 1, s, dim))?;
        // Each key and value serves `heads / count` queries.
        let part = part.broadcast_as((b, count, heads / count, s, dim))?;
        part.reshape((b, heads, s, dim))
    };
    let (q, k, v) = (
        part(0, heads)?,
        part(heads, kv_heads)?,
        part(heads + heads / group, kv_heads)?,
    );
    let unseen = |i: usize| {
        let (row, query, key) = (i / (s * s), i / s % s, i % s);
        let first =
            document_starts.map_or(0, |starts| starts[row * s + query] as usize);
        if key > query || key < first { -1e30 } else { 0.0 }
    };
    let mask = (0..b * s * s).map(unseen).collect::<Vec<f64>>();
    let mask = Tensor::from_vec(mask, (b, 1, s, s), &Device::Cpu)?;
    let scores = (q.matmul(&k.t()?.contiguous()?)? / (dim as f64).sqrt())?;
    let scores = scores.broadcast_add(&mask)?;
    let max = scores.detach().max_keepdim(D::Minus1)?;
    let weights = scores.broadcast_sub(&max)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((b, s, heads * dim))
}

pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let gate = x.narrow(D::Minus1, 0, half)?;
    let up = x.narrow(D::Minus1, half, half)?;
    let sigmoid = (gate.neg()?.exp()? + 1.0)?.recip()?;
    gate * sigmoid * up
}

pub fn embedding(tokens: &Tensor, table: &Tensor) -> Result<Tensor> {
    let rows = table.index_select(&tokens.flatten_all()?, 0)?;
    let dims = [tokens.dims(), &[table.dim(1)?]].concat();
    rows.reshape(dims)
}

pub fn head_loss(
    x: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    scale: f64,
) -> Result<Tensor> {
    let n = targets.len();
    let logits = x.reshape((n, ()))?.matmul(&weight.t()?)?;
    let max = logits.detach().max_keepdim(1)?;
    let sum = logits.broadcast_sub(&max)?.exp()?.sum_keepdim(1)?;
    let log_sum = (sum.log()? + max)?;
    let counts = targets.iter().map(|t| f64::from(u8::from(*t != IGNORE)));
    let counts = Tensor::from_vec(counts.collect::<Vec<_>>(), (n, 1), &Device::Cpu)?;
    let picks = targets.iter().map(|t| if *t == IGNORE { 0 } else { *t });
    let picks = Tensor::from_vec(picks.collect::<Vec<_>>(), (n, 1), &Device::Cpu)?;
    let losses = ((log_sum - logits.gather(&picks, 1)?)? * counts)?;
    (losses.sum_all()? * scale)?.to_dtype(DType::F64)
}
