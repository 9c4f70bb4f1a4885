//! The two ends of the model, where the vocabulary is.
use crate::gemm::{Mat, MatMut, On, Store, gemm};
use crate::kernel::{fill_rows, max_of, read, simd, sum_over, tensor, uninit};
use crate::linear::add_to;
use crate::tape::{note, recording};
use crate::threads::{self, Disjoint};
use candle_core::{D, Result, Shape, Tensor, bail};
use memory::Family;
use params::{Element, Param, Real, accumulate, with_float};

/// The rows of `table [vocab, hidden]` at `tokens [batch, seq]`, which are u32:
/// `[batch, seq, hidden]`.
///
/// # Errors
/// A token is not in the vocabulary.
pub fn embedding(tokens: &Tensor, table: &Param) -> Result<Tensor> {
    let [vocab, hidden] = table.shard().shape[..] else {
        bail!("{}: {:?}, not a table", table.name(), table.shard().shape)
    };
    let ids = tokens.flatten_all()?.to_vec1::<u32>()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        bail!("token {id}, but the vocabulary of {} has {vocab}", table.name())
    }
    let shape = Shape::from([tokens.dims(), &[hidden]].concat());
    let out = with_float!(table.dtype()?, T => {
        let rows = table.values::<T>()?;
        let mut out = uninit::<T>(ids.len() * hidden);
        fill_rows(&mut out, hidden, 1 << 16, |tokens, out| {
            for (id, out) in ids[tokens].iter().zip(out.chunks_exact_mut(hidden)) {
                out.copy_from_slice(&rows[*id as usize * hidden..][..hidden])
            }
        });
        tensor(out, shape)
    })?;
    let table = table.clone();
    note("embedding", &out, &[], move |dy| {
        scatter(&dy, &ids, &table)?;
        Ok(vec![])
    });
    Ok(out)
}

/// Adds the rows of `dy` to the gradient of the rows of `table` they came from; each
/// thread adds some columns of all rows, so that the order of additions is fixed.
fn scatter(dy: &Tensor, ids: &[u32], table: &Param) -> Result<()> {
    let hidden = dy.dim(D::Minus1)?;
    with_float!(dy.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(dys: [T] = dy);
        accumulate::<A>(std::slice::from_ref(table), |grad, first| {
            if first {
                fill_rows(grad, 1, 1 << 16, |_, grad| grad.fill(A::of(0.0)));
            }
            let grad = Disjoint::new(grad);
            threads::split(hidden, hidden.div_ceil(threads::count()), |columns| {
                for (id, dy) in ids.iter().zip(dys.chunks_exact(hidden)) {
                    let row = *id as usize * hidden;
                    // SAFETY: `split` hands out each column once.
                    let grad = unsafe {
                        grad.part(row + columns.start..row + columns.end)
                    };
                    add_to(grad, &dy[columns.clone()]);
                }
            });
        })
    })
}

/// A target that does not count.
pub const IGNORE: u32 = u32::MAX;

/// Bytes of logits held at a time, within [`MIN_ROWS`] and [`MAX_ROWS`] tokens.
const CHUNK: usize = 16 << 20;
/// Fewer would make poor matrix products of the largest matrix there is.
const MIN_ROWS: usize = 64;
/// More would be all the logits of a small model.
const MAX_ROWS: usize = 256;

/// The output matrix and the cross-entropy of its logits: `scale` times the sum over
/// the tokens of `-ln softmax(x Wᵀ)[target]`, in nats, a scalar of the accumulation
/// type.
///
/// `x [.., hidden]`, `weight [vocab, hidden]`, a target for each token, of which
/// [`IGNORE`] does not count. Logits exist for some rows at a time, and only once:
/// while a recording is on, they become their own gradient at once, so that the
/// weight's gradient is accumulated and `x`'s is kept for backward. That is why
/// `scale`, one over the tokens of the whole step, is needed beforehand, and why
/// backward must start from this scalar with a gradient of one.
///
/// # Errors
/// Sizes do not fit, or a target is not in the vocabulary.
pub fn head_loss(
    x: &Tensor,
    weight: &Param,
    targets: &[u32],
    scale: f64,
) -> Result<Tensor> {
    let (vocab, hidden) = match weight.shard().shape[..] {
        [vocab, hidden] if hidden > 0 && hidden == x.dim(D::Minus1)? => (vocab, hidden),
        ref shape => bail!("{}: {shape:?}, input {:?}", weight.name(), x.shape()),
    };
    let rows = x.elem_count() / hidden;
    if rows != targets.len() {
        bail!("{rows} tokens and {} targets", targets.len())
    }
    let strange = |target: &&u32| **target as usize >= vocab && **target != IGNORE;
    if let Some(target) = targets.iter().find(strange) {
        bail!("target {target}, but the vocabulary of {} has {vocab}", weight.name())
    }
    let back = recording();
    let (loss, dx) = with_float!(x.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(xs: [T] = x);
        let chunk = (CHUNK / (vocab * size_of::<A>())).clamp(MIN_ROWS, MAX_ROWS);
        // As many chunks as that makes, but of the same size.
        let chunk = rows.div_ceil(rows.div_ceil(chunk).max(1)).max(1);
        let scratch = memory::tag(Family::Scratch);
        let mut logits = uninit::<A>(chunk * vocab);
        drop(scratch);
        let mut dx = uninit::<T>(if back { xs.len() } else { 0 });
        let mut losses = vec![0.0; rows];
        for start in (0..rows).step_by(chunk) {
            let n = chunk.min(rows - start);
            let at = start * hidden..(start + n) * hidden;
            let x = Mat::new(&xs[at.clone()], n, hidden);
            let logits = &mut logits[..n * vocab];
            let w = weight.values::<T>()?;
            let w = Mat::new(&w, vocab, hidden);
            gemm(MatMut::new(logits, n, vocab), Store::Set, x, w.t(), On::AllThreads);
            let losses = Disjoint::new(&mut losses[start..start + n]);
            let targets = &targets[start..start + n];
            fill_rows(logits, vocab, 1 << 12, |tokens, logits| {
                // SAFETY: `fill_rows` hands out each token once.
                let losses = unsafe { losses.part(tokens.clone()) };
                cross_entropy(logits, &targets[tokens], losses, scale, back)
            });
            if back {
                // The logits are their gradient now.
                let d = Mat::new(&*logits, n, vocab);
                let dx = MatMut::new(&mut dx[at], n, hidden);
                gemm(dx, Store::Set, d, w, On::AllThreads);
                accumulate::<A>(std::slice::from_ref(weight), |grad, first| {
                    let store = if first { Store::Set } else { Store::Add };
                    let grad = MatMut::new(grad, vocab, hidden);
                    gemm(grad, store, d.t(), x, On::AllThreads)
                })?;
            }
        }
        let loss = A::of(losses.iter().sum::<f64>() * scale);
        let dx = back.then(|| tensor(dx, x.shape())).transpose()?;
        let loss = Tensor::new(loss, x.device())?;
        candle_core::Result::Ok((loss, dx))
    })?;
    if let Some(dx) = dx {
        note("head_loss", &loss, &[x], move |dy| {
            if dy.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()? != 1.0 {
                bail!(
                    "backward from the loss must start with one: scale the loss instead"
                )
            }
            Ok(vec![dx])
        });
    }
    Ok(loss)
}

simd! {
    /// For each row of logits, `-ln softmax[target]`; with `back` the logits become
    /// their gradient `scale · (softmax - onehot(target))`.
    pub fn cross_entropy<A: Real>(
        logits: &mut [A], targets: &[u32], losses: &mut [f64], scale: f64, back: bool,
    ) {
        let vocab = logits.len() / targets.len();
        let rows = logits.chunks_exact_mut(vocab).zip(targets).zip(losses);
        for ((row, target), loss) in rows {
            if *target == IGNORE {
                row.fill(A::of(0.0));
                *loss = 0.0;
                continue;
            }
            let max = max_of(row);
            let picked = row[*target as usize] - max;
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum = sum_over(vocab, |i| row[i]);
            *loss = (sum.ln() - picked).f64();
            if back {
                let factor = A::of(scale) / sum;
                row.iter_mut().for_each(|x| *x *= factor);
                row[*target as usize] -= A::of(scale);
            }
        }
    }
}
