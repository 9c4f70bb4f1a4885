//! Causal attention with grouped key/value heads, which never holds the score matrix.
//!
//! Queries are taken [`BLOCK`] at a time; only their scores exist at any moment. Forward
//! keeps the logarithm of each row's sum of exponentials, from which backward recomputes
//! the probabilities (Dao et al. 2022, *FlashAttention*, §3.1).
use crate::gemm::{Mat, MatMut, On, Store, gemm};
use crate::kernel::{Shared, max_of, read, simd, sum_over, tensor, uninit};
use crate::tape::note;
use crate::threads;
use candle_core::{Result, Tensor, bail};
use memory::Family;
use params::{Element, Real, with_float};
use std::ops::Range;
use std::sync::Arc;

/// Queries whose scores are held at a time.
const BLOCK: usize = 64;

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Dims {
    batch: usize,
    seq: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
}

impl Dims {
    /// Elements of a token's queries, keys and values.
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }
    /// The first element of token 0 of batch row `b`, for the query of `head` and for the
    /// key and the value it attends to.
    fn starts(&self, b: usize, head: usize) -> [usize; 3] {
        let kv = head / (self.heads / self.kv_heads);
        let row = b * self.seq * self.width();
        [head, self.heads + kv, self.heads + self.kv_heads + kv]
            .map(|h| row + h * self.dim)
    }
    /// The blocks of queries, each with the keys that any of them sees.
    fn blocks<'a>(
        &self,
        first_keys: &'a [u32],
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + 'a {
        let seq = self.seq;
        (0..seq).step_by(BLOCK).map(move |start| {
            let end = seq.min(start + BLOCK);
            (start..end, first_key(first_keys, start)..end)
        })
    }
}

/// The first key that query `i` sees: 0 where there are no documents.
#[inline(always)]
fn first_key(first_keys: &[u32], i: usize) -> usize {
    first_keys.get(i).map_or(0, |first| *first as usize)
}

/// Softmax attention of each token to itself and those before it.
///
/// `qkv [batch, seq, (heads + 2 kv_heads) · dim]` holds queries, keys and values side by
/// side; the result is `[batch, seq, heads · dim]`. Query head `h` uses key/value head
/// `h / (heads / kv_heads)`. In a packed sequence `document_starts [batch, seq]` gives, for
/// each token, the index in its row where its document starts: it attends to nothing
/// before. Scores are scaled by `1 / sqrt(dim)`.
///
/// # Errors
/// Sizes do not fit, or a document starts after one of its tokens or before its
/// predecessor.
pub fn attention(
    qkv: &Tensor,
    heads: usize,
    kv_heads: usize,
    document_starts: Option<&[u32]>,
) -> Result<Tensor> {
    let (batch, seq, width) = qkv.dims3()?;
    if kv_heads == 0
        || !heads.is_multiple_of(kv_heads)
        || !width.is_multiple_of(heads + 2 * kv_heads)
    {
        bail!("attention: {:?} with {heads} and {kv_heads} heads", qkv.shape())
    }
    let dim = width / (heads + 2 * kv_heads);
    let dims = Dims { batch, seq, heads, kv_heads, dim };
    let documents: Arc<[u32]> = document_starts.unwrap_or_default().into();
    check_documents(&documents, document_starts.is_some(), batch, seq)?;

    let (out, log_sums) = forward(qkv, dims, &documents)?;
    let (saved, result) = (qkv.clone(), out.clone());
    note("attention", &out, &[qkv], move |dy| {
        Ok(vec![backward(&saved, &result, &log_sums, &dy, dims, &documents)?])
    });
    Ok(out)
}

fn check_documents(
    starts: &[u32],
    given: bool,
    batch: usize,
    seq: usize,
) -> Result<()> {
    if given && starts.len() != batch * seq {
        bail!("attention: {} document starts for [{batch}, {seq}]", starts.len())
    }
    for row in starts.chunks(seq.max(1)) {
        let mut before = 0;
        for (token, start) in row.iter().enumerate() {
            if *start as usize > token || *start < before {
                bail!("attention: token {token} in a document that starts at {start}")
            }
            before = *start;
        }
    }
    Ok(())
}

/// One head's rows of `dim` elements out of rows of `width`, times `scale`.
fn gather<T: Element>(
    data: &[T],
    start: usize,
    width: usize,
    dim: usize,
    seq: usize,
    scale: f64,
    out: &mut Vec<T::Acc>,
) {
    out.clear();
    let scale = T::Acc::of(scale);
    for token in 0..seq {
        let row = &data[start + token * width..][..dim];
        out.extend(row.iter().map(|x| x.widen() * scale));
    }
}

/// The result and, `[batch, heads, seq]`, the log-sum-exp of each query's scores.
fn forward(qkv: &Tensor, dims: Dims, documents: &[u32]) -> Result<(Tensor, Tensor)> {
    let Dims { batch, seq, heads, dim, .. } = dims;
    let scale = 1.0 / (dim as f64).sqrt();
    with_float!(qkv.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(xs: [T] = qkv);
        let mut out = uninit::<T>(batch * seq * heads * dim);
        let mut log_sums = uninit::<A>(batch * heads * seq);
        let (out_shared, sums_shared) = (Shared::new(&mut out), Shared::new(&mut log_sums));
        threads::split(batch * heads, 1, |tasks| {
            let _tag = memory::tag(Family::Scratch);
            let (mut q, mut k, mut v) = (vec![], vec![], vec![]);
            let (mut scores, mut mixed) = (vec![], vec![A::of(0.0); BLOCK * dim]);
            for task in tasks {
                let (b, head) = (task / heads, task % heads);
                let first_keys = row_of(documents, b, seq);
                let starts = dims.starts(b, head);
                for (part, start, scale) in
                    [(&mut q, starts[0], scale), (&mut k, starts[1], 1.), (&mut v, starts[2], 1.)]
                {
                    gather(xs, start, dims.width(), dim, seq, scale, part);
                }
                // SAFETY: each task has a row of its own.
                let sums = unsafe { sums_shared.at(task * seq..(task + 1) * seq) };
                for (rows, keys) in dims.blocks(first_keys) {
                    let (n, m) = (rows.len(), keys.len());
                    scores.resize(n * m, A::of(0.0));
                    gemm(
                        MatMut::new(&mut scores, n, m),
                        Store::Set,
                        Mat::new(&q[rows.start * dim..], n, dim),
                        Mat::new(&k[keys.start * dim..], m, dim).t(),
                        On::ThisThread,
                    );
                    softmax(&mut scores, &rows, &keys, first_keys, &mut sums[rows.clone()]);
                    gemm(
                        MatMut::new(&mut mixed, n, dim),
                        Store::Set,
                        Mat::new(&scores, n, m),
                        Mat::new(&v[keys.start * dim..], m, dim),
                        On::ThisThread,
                    );
                    for (row, mixed) in rows.zip(mixed.chunks_exact(dim)) {
                        let at = ((b * seq + row) * heads + head) * dim;
                        // SAFETY: each token's head belongs to one task.
                        let out = unsafe { out_shared.at(at..at + dim) };
                        out.iter_mut().zip(mixed).for_each(|(o, m)| *o = T::narrow(*m));
                    }
                }
            }
        });
        Ok((tensor(out, (batch, seq, heads * dim))?, tensor(log_sums, (batch, heads, seq))?))
    })
}

fn row_of(documents: &[u32], b: usize, seq: usize) -> &[u32] {
    documents.get(b * seq..(b + 1) * seq).unwrap_or_default()
}

simd! {
    /// Scores to probabilities, row by row, and the logarithm of each row's sum. Keys that
    /// a query does not see get probability zero.
    pub fn softmax<A: Real>(
        scores: &mut [A],
        rows: &Range<usize>,
        keys: &Range<usize>,
        first_keys: &[u32],
        log_sums: &mut [A],
    ) {
        let width = keys.len();
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let query = rows.start + i;
            let seen = first_key(first_keys, query) - keys.start..query + 1 - keys.start;
            row[..seen.start].fill(A::of(0.0));
            row[seen.end..].fill(A::of(0.0));
            let row = &mut row[seen];
            let max = max_of(row);
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum = sum_over(row.len(), |i| row[i]);
            let inverse = A::of(1.0) / sum;
            row.iter_mut().for_each(|x| *x *= inverse);
            log_sums[i] = max + sum.ln();
        }
    }
}

/// The gradient of `qkv`. Each head's share of its key's and value's gradient is computed
/// apart; the heads of a group are added up in order.
fn backward(
    qkv: &Tensor,
    out: &Tensor,
    log_sums: &Tensor,
    dy: &Tensor,
    dims: Dims,
    documents: &[u32],
) -> Result<Tensor> {
    let Dims { batch, seq, heads, kv_heads, dim } = dims;
    let scale = 1.0 / (dim as f64).sqrt();
    with_float!(qkv.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(xs: [T] = qkv);
        read!(outs: [T] = out);
        read!(dys: [T] = dy);
        read!(sums: [A] = log_sums);
        let mut dx = uninit::<T>(xs.len());
        let mut dkv = uninit::<A>(batch * heads * 2 * seq * dim);
        let (dx_shared, dkv_shared) = (Shared::new(&mut dx), Shared::new(&mut dkv));
        threads::split(batch * heads, 1, |tasks| {
            let [mut q, mut k, mut v, mut o, mut d] = [const { vec![] }; 5];
            let (mut p, mut dp, mut dq) = (vec![], vec![], vec![A::of(0.0); BLOCK * dim]);
            for task in tasks {
                let (b, head) = (task / heads, task % heads);
                let first_keys = row_of(documents, b, seq);
                let starts = dims.starts(b, head);
                for (part, start, scale) in
                    [(&mut q, starts[0], scale), (&mut k, starts[1], 1.), (&mut v, starts[2], 1.)]
                {
                    gather(xs, start, dims.width(), dim, seq, scale, part);
                }
                let start = (b * seq * heads + head) * dim;
                gather(outs, start, heads * dim, dim, seq, 1.0, &mut o);
                gather(dys, start, heads * dim, dim, seq, 1.0, &mut d);
                let at = task * 2 * seq * dim;
                // SAFETY: each task has a stretch of its own.
                let dkv = unsafe { dkv_shared.at(at..at + 2 * seq * dim) };
                dkv.fill(A::of(0.0));
                let (dk, dv) = dkv.split_at_mut(seq * dim);
                for (rows, keys) in dims.blocks(first_keys) {
                    let (n, m) = (rows.len(), keys.len());
                    let block = rows.start * dim..rows.end * dim;
                    let (q, d) = (&q[block.clone()], &d[block.clone()]);
                    p.resize(n * m, A::of(0.0));
                    dp.resize(n * m, A::of(0.0));
                    let rows_of = |x, rows| Mat::new(x, rows, dim);
                    let on = On::ThisThread;
                    // Scores and the gradient of the probabilities ...
                    let (k, v) = (&k[keys.start * dim..], &v[keys.start * dim..]);
                    let scores = MatMut::new(&mut p, n, m);
                    gemm(scores, Store::Set, rows_of(q, n), rows_of(k, m).t(), on);
                    let grads = MatMut::new(&mut dp, n, m);
                    gemm(grads, Store::Set, rows_of(d, n), rows_of(v, m).t(), on);
                    // ... become probabilities and the gradient of the scores.
                    let sums = &sums[task * seq + rows.start..][..n];
                    softmax_backward(&mut p, &mut dp, &rows, &keys, first_keys, sums, &o[block], d);
                    let (p, dp) = (Mat::new(&p, n, m), Mat::new(&dp, n, m));
                    let at = keys.start * dim..keys.end * dim;
                    let dv = MatMut::new(&mut dv[at.clone()], m, dim);
                    gemm(dv, Store::Add, p.t(), rows_of(d, n), on);
                    let dk = MatMut::new(&mut dk[at], m, dim);
                    gemm(dk, Store::Add, dp.t(), rows_of(q, n), on);
                    gemm(MatMut::new(&mut dq, n, dim), Store::Set, dp, rows_of(k, m), on);
                    for (row, dq) in rows.zip(dq.chunks_exact(dim)) {
                        let at = starts[0] + row * dims.width();
                        // SAFETY: each token's head belongs to one task.
                        let dx = unsafe { dx_shared.at(at..at + dim) };
                        let scale = A::of(scale);
                        dx.iter_mut().zip(dq).for_each(|(x, d)| *x = T::narrow(*d * scale));
                    }
                }
            }
        });
        let group = heads / kv_heads;
        threads::split(batch * seq, 16, |tokens| {
            for token in tokens {
                let (b, t) = (token / seq, token % seq);
                for kv in 0..kv_heads {
                    let starts = dims.starts(b, kv * group);
                    for (which, start) in starts[1..].iter().enumerate() {
                        let at = start + t * dims.width();
                        // SAFETY: each token is handed out once; keys and values are not
                        // written by the tasks above, which are over.
                        let dx = unsafe { dx_shared.at(at..at + dim) };
                        for i in 0..dim {
                            let mut sum = A::of(0.0);
                            for head in kv * group..(kv + 1) * group {
                                let row = ((b * heads + head) * 2 + which) * seq + t;
                                sum += dkv[row * dim + i];
                            }
                            dx[i] = T::narrow(sum);
                        }
                    }
                }
            }
        });
        tensor(dx, qkv.shape())
    })
}

simd! {
    /// `p` from scores to probabilities `exp(s - log_sum)`; `dp` from their gradient to
    /// that of the scores, `p · (dp - Σ out · dy)`.
    pub fn softmax_backward<A: Real>(
        p: &mut [A],
        dp: &mut [A],
        rows: &Range<usize>,
        keys: &Range<usize>,
        first_keys: &[u32],
        log_sums: &[A],
        out: &[A],
        dy: &[A],
    ) {
        let (width, dim) = (keys.len(), dy.len() / rows.len());
        let lines = p.chunks_exact_mut(width).zip(dp.chunks_exact_mut(width));
        for (i, (p, dp)) in lines.enumerate() {
            let query = rows.start + i;
            let seen = first_key(first_keys, query) - keys.start..query + 1 - keys.start;
            for line in [&mut *p, &mut *dp] {
                line[..seen.start].fill(A::of(0.0));
                line[seen.end..].fill(A::of(0.0));
            }
            let at = i * dim;
            let delta = sum_over(dim, |j| out[at + j] * dy[at + j]);
            let log_sum = log_sums[i];
            for (p, dp) in p[seen.clone()].iter_mut().zip(&mut dp[seen]) {
                *p = (*p - log_sum).exp();
                *dp = *p * (*dp - delta);
            }
        }
    }
}
