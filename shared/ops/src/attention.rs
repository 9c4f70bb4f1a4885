//! Causal attention with grouped key/value heads, which never holds the score matrix.
//!
//! Queries are taken [`BLOCK`] at a time; only their scores exist at any moment.
//! Forward keeps the logarithm of each row's sum of exponentials, from which backward
//! recomputes the probabilities (Dao et al. 2022, *FlashAttention*, §3.1).
use crate::device::{self, on};
use crate::flops::of_attention;
use crate::gemm::{Mat, MatMut, On, Store, gemm};
use crate::kernel::{max_of, read, simd, sum_over, tensor, uninit};
use crate::tape::{note, save};
use crate::threads::{self, Disjoint};
use candle_core::{Result, Tensor, bail};
use memory::Family;
use params::{Element, Real, with_float};
use std::ops::Range;
use std::sync::Arc;

/// Queries whose scores are held at a time.
const BLOCK: usize = 64;

/// The sizes of one call.
#[derive(Clone, Copy)]
pub(crate) struct Dims {
    pub batch: usize,
    pub seq: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
}

impl Dims {
    /// Elements of a token's queries, keys and values.
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }
    /// By what scores are multiplied.
    fn scale(&self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }
    /// Where in a token's elements the query of `head` starts, and the key and the
    /// value it attends to.
    fn starts(&self, head: usize) -> [usize; 3] {
        let kv = head / (self.heads / self.kv_heads);
        [head, self.heads + kv, self.heads + self.kv_heads + kv].map(|h| h * self.dim)
    }
    /// The blocks of queries, each with the keys that any of them sees.
    pub fn blocks<'a>(
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
/// `qkv [batch, seq, (heads + 2 kv_heads) · dim]` holds queries, keys and values side
/// by side; the result is `[batch, seq, heads · dim]`. Query head `h` uses key/value
/// head `h / (heads / kv_heads)`. In a packed sequence `document_starts [batch, seq]`
/// gives, for each token, the index in its row where its document starts: it attends to
/// nothing before. Scores are scaled by `1 / sqrt(dim)`.
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
        || heads == 0
        || width == 0
        || !heads.is_multiple_of(kv_heads)
        || !width.is_multiple_of(heads + 2 * kv_heads)
    {
        bail!("attention: {:?} with {heads} and {kv_heads} heads", qkv.shape())
    }
    if batch * seq == 0 {
        bail!("attention: {:?} has no tokens", qkv.shape())
    }
    let dim = width / (heads + 2 * kv_heads);
    let dims = Dims { batch, seq, heads, kv_heads, dim };
    let documents: Arc<[u32]> = document_starts.unwrap_or_default().into();
    check_documents(&documents, document_starts.is_some(), batch, seq)?;

    if let Some(on) = on(qkv.dtype())? {
        return device::attention(on, qkv, dims, documents);
    }
    let (out, log_sums) = with_float!(qkv.dtype(), T => {
        read!(xs: [T] = qkv);
        let (out, log_sums) = of_attention(|| forward(xs, dims, &documents));
        let shape = (batch, seq, heads * dim);
        (tensor(out, shape)?, tensor(log_sums, batch * heads * seq)?)
    });
    let (saved, result) = (save(qkv), out.clone());
    note("attention", &out, &[qkv], move |dy| {
        let saved = saved.get()?;
        let dx = with_float!(saved.dtype(), T => {
            read!(xs: [T] = saved);
            read!(outs: [T] = result);
            read!(dys: [T] = dy);
            read!(log_sums: [<T as Element>::Acc] = log_sums);
            let dx =
                of_attention(|| backward(xs, outs, log_sums, dys, dims, &documents));
            tensor(dx, saved.shape())?
        });
        Ok(vec![dx])
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

/// One head's rows out of wider ones, in the accumulation type.
fn gather<T: Element>(
    data: &[T],
    start: usize,
    width: usize,
    dim: usize,
) -> Vec<T::Acc> {
    let mut out = Vec::with_capacity(data.len() / width * dim);
    for row in data[start..].chunks(width) {
        out.extend(row[..dim].iter().map(|x| x.widen()));
    }
    out
}

/// Queries times `1 / sqrt(dim)`, keys and values of one head, `[seq, dim]` each.
fn gather_qkv<T: Element>(
    xs: &[T],
    dims: Dims,
    b: usize,
    head: usize,
) -> [Vec<T::Acc>; 3] {
    let row = dims.seq * dims.width();
    let starts = dims.starts(head);
    let xs = &xs[b * row..(b + 1) * row];
    let mut parts = starts.map(|start| gather(xs, start, dims.width(), dims.dim));
    let scale = T::Acc::of(dims.scale());
    parts[0].iter_mut().for_each(|q| *q *= scale);
    parts
}

/// The result and, `[batch, heads, seq]`, the log-sum-exp of each query's scores.
fn forward<T: Element>(
    xs: &[T],
    dims: Dims,
    documents: &[u32],
) -> (Vec<T>, Vec<T::Acc>) {
    let Dims { batch, seq, heads, dim, .. } = dims;
    let mut out = uninit::<T>(batch * seq * heads * dim);
    let mut log_sums = uninit::<T::Acc>(batch * heads * seq);
    let (all_out, all_sums) = (Disjoint::new(&mut out), Disjoint::new(&mut log_sums));
    threads::run(batch * heads, |task| {
        let _tag = memory::tag(Family::Scratch);
        let (b, head) = (task / heads, task % heads);
        let first_keys = row_of(documents, b, seq);
        let [q, k, v] = gather_qkv(xs, dims, b, head);
        let (mut scores, mut mixed) = (vec![], vec![T::Acc::of(0.0); BLOCK * dim]);
        // SAFETY: each task has a row of its own.
        let log_sums = unsafe { all_sums.part(task * seq..(task + 1) * seq) };
        for (rows, keys) in dims.blocks(first_keys) {
            let (n, m) = (rows.len(), keys.len());
            let q = Mat::new(&q[rows.start * dim..], n, dim);
            let k = Mat::new(&k[keys.start * dim..], m, dim);
            let v = Mat::new(&v[keys.start * dim..], m, dim);
            scores.resize(n * m, T::Acc::of(0.0));
            product(&mut scores, Store::Set, q, k.t());
            softmax(&mut scores, &rows, &keys, first_keys, &mut log_sums[rows.clone()]);
            product(&mut mixed[..n * dim], Store::Set, Mat::new(&scores, n, m), v);
            for (row, mixed) in rows.zip(mixed.chunks_exact(dim)) {
                let at = ((b * seq + row) * heads + head) * dim;
                // SAFETY: each token's head belongs to one task.
                let out = unsafe { all_out.part(at..at + dim) };
                out.iter_mut().zip(mixed).for_each(|(o, m)| *o = T::narrow(*m));
            }
        }
    });
    (out, log_sums)
}

/// `c (+)= a · b` on the calling thread, `c` without gaps.
fn product<A: Real>(c: &mut [A], store: Store, a: Mat<A>, b: Mat<A>) {
    gemm(MatMut::new(c, a.rows, b.cols), store, a, b, On::ThisThread)
}

fn row_of(documents: &[u32], b: usize, seq: usize) -> &[u32] {
    documents.get(b * seq..(b + 1) * seq).unwrap_or_default()
}

simd! {
    /// Scores to probabilities, row by row, and the logarithm of each row's sum. Keys
    /// that a query does not see get probability zero.
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
            let first = first_key(first_keys, query);
            let seen = first - keys.start..query + 1 - keys.start;
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

/// The gradient of `xs`. Each head's share of its key's and value's gradient is
/// computed apart; then the heads of a group are added up in order.
fn backward<T: Element>(
    xs: &[T],
    outs: &[T],
    log_sums: &[T::Acc],
    dys: &[T],
    dims: Dims,
    documents: &[u32],
) -> Vec<T> {
    let Dims { batch, seq, heads, dim, .. } = dims;
    let mut dx = uninit::<T>(xs.len());
    let mut dkv = uninit::<T::Acc>(batch * heads * 2 * seq * dim);
    let (all_dx, all_dkv) = (Disjoint::new(&mut dx), Disjoint::new(&mut dkv));
    threads::run(batch * heads, |task| {
        let _tag = memory::tag(Family::Scratch);
        let (b, head) = (task / heads, task % heads);
        let first_keys = row_of(documents, b, seq);
        let [q, k, v] = gather_qkv(xs, dims, b, head);
        let row = b * seq * heads * dim..(b + 1) * seq * heads * dim;
        let o = gather(&outs[row.clone()], head * dim, heads * dim, dim);
        let d = gather(&dys[row], head * dim, heads * dim, dim);
        let at = task * 2 * seq * dim;
        // SAFETY: each task has a stretch of its own.
        let dkv = unsafe { all_dkv.part(at..at + 2 * seq * dim) };
        dkv.fill(T::Acc::of(0.0));
        let (dk, dv) = dkv.split_at_mut(seq * dim);
        let (mut p, mut dp, mut dq) =
            (vec![], vec![], vec![T::Acc::of(0.0); BLOCK * dim]);
        for (rows, keys) in dims.blocks(first_keys) {
            let (n, m) = (rows.len(), keys.len());
            let at = rows.start * dim..rows.end * dim;
            let (dy, o) = (&d[at.clone()], &o[at.clone()]);
            let (q, d) = (Mat::new(&q[at], n, dim), Mat::new(dy, n, dim));
            let at = keys.start * dim..keys.end * dim;
            let (k, v) =
                (Mat::new(&k[at.clone()], m, dim), Mat::new(&v[at.clone()], m, dim));
            p.resize(n * m, T::Acc::of(0.0));
            dp.resize(n * m, T::Acc::of(0.0));
            // Scores, and the gradient of the probabilities ...
            product(&mut p, Store::Set, q, k.t());
            product(&mut dp, Store::Set, d, v.t());
            // ... become the probabilities, and the gradient of the scores.
            let log_sums = &log_sums[task * seq + rows.start..][..n];
            softmax_backward(
                &mut p, &mut dp, &rows, &keys, first_keys, log_sums, o, dy,
            );
            let (p, dp) = (Mat::new(&p, n, m), Mat::new(&dp, n, m));
            product(&mut dv[at.clone()], Store::Add, p.t(), d);
            product(&mut dk[at], Store::Add, dp.t(), q);
            product(&mut dq[..n * dim], Store::Set, dp, k);
            let scale = T::Acc::of(dims.scale());
            for (row, dq) in rows.zip(dq.chunks_exact(dim)) {
                let at = (b * seq + row) * dims.width() + head * dim;
                // SAFETY: each token's head belongs to one task.
                let dx = unsafe { all_dx.part(at..at + dim) };
                dx.iter_mut().zip(dq).for_each(|(x, d)| *x = T::narrow(*d * scale));
            }
        }
    });
    add_groups(&dkv, &all_dx, dims);
    dx
}

/// Writes each key's and value's gradient, the sum of the shares of the heads that use
/// it.
///
/// `dkv [batch, heads, 2, seq, dim]`; keys' and values' parts of `dx` belong to no one
/// else.
fn add_groups<T: Element>(dkv: &[T::Acc], dx: &Disjoint<T>, dims: Dims) {
    let Dims { batch, seq, heads, kv_heads, dim } = dims;
    let group = heads / kv_heads;
    threads::split(batch * seq, 16, |tokens| {
        for (token, kv) in tokens.flat_map(|t| (0..kv_heads).map(move |kv| (t, kv))) {
            let (b, t) = (token / seq, token % seq);
            let starts = dims.starts(kv * group);
            for (which, start) in starts[1..].iter().enumerate() {
                let at = token * dims.width() + start;
                // SAFETY: each token is handed out once.
                let dx = unsafe { dx.part(at..at + dim) };
                for i in 0..dim {
                    let mut sum = T::Acc::of(0.0);
                    for head in kv * group..(kv + 1) * group {
                        let row = ((b * heads + head) * 2 + which) * seq + t;
                        sum += dkv[row * dim + i];
                    }
                    dx[i] = T::narrow(sum);
                }
            }
        }
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
            let first = first_key(first_keys, query);
            let seen = first - keys.start..query + 1 - keys.start;
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
