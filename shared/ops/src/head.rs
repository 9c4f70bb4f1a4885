//! The two ends of the model, where the vocabulary is.
use crate::device::{self, on};
use crate::gemm::{Mat, MatMut, On, Store, gemm};
use crate::kernel::{fill_rows, max_of, read, simd, sum_over, tensor, uninit};
use crate::linear::add_to;
use crate::tape::{note, recording};
use crate::threads::{self, Disjoint};
use candle_core::{D, Result, Shape, Tensor, bail};
use memory::Family;
use params::{Element, Param, Real, accumulate, with_float};
use std::ops::Range;

/// The rows of `table [vocab, hidden]` at `tokens [batch, seq]`, which are u32:
/// `[batch, seq, hidden]`. Of a table of which only some rows are held here, tokens of
/// other rows give zeros.
///
/// # Errors
/// A token is not in the vocabulary.
pub fn embedding(tokens: &Tensor, table: &Param) -> Result<Tensor> {
    let (vocab, held) = held_rows(table)?;
    let hidden = table.shard().shape[1];
    let ids = tokens.flatten_all()?.to_vec1::<u32>()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        bail!("token {id}, but the vocabulary of {} has {vocab}", table.name())
    }
    let shape = Shape::from([tokens.dims(), &[hidden]].concat());
    if let Some(on) = on(table.dtype()?)? {
        return device::embedding(on, ids, shape, table, words(&held));
    }
    // Where in the table each token's row starts.
    let row = move |id: u32| {
        let id = id as usize;
        held.contains(&id).then(|| (id - held.start) * hidden)
    };
    let out = with_float!(table.dtype()?, T => {
        let table = table.values::<T>()?;
        let mut out = uninit::<T>(ids.len() * hidden);
        fill_rows(&mut out, hidden, 1 << 16, |tokens, out| {
            for (id, out) in ids[tokens].iter().zip(out.chunks_exact_mut(hidden)) {
                match row(*id) {
                    Some(start) => out.copy_from_slice(&table[start..][..hidden]),
                    None => out.fill(T::default()),
                }
            }
        });
        tensor(out, shape)
    })?;
    let table = table.clone();
    note("embedding", &out, &[], move |dy| {
        scatter(&dy, &ids, row, &table)?;
        Ok(vec![])
    });
    Ok(out)
}

/// As kernels count words.
fn words(held: &Range<usize>) -> Range<u32> {
    held.start as u32..held.end as u32
}

/// The size of the vocabulary, and which rows of `[vocab, hidden]` are held here.
fn held_rows(table: &Param) -> Result<(usize, Range<usize>)> {
    let shard = table.shard();
    match (&shard.global_shape[..], &shard.shape[..]) {
        ([vocab, hidden], [_, width]) if hidden == width => {
            let start = shard.offset[0];
            Ok((*vocab, start..start + shard.held()[0]))
        }
        (whole, part) => bail!("{}: {part:?} of {whole:?}, not a table", table.name()),
    }
}

/// Adds the rows of `dy` to the gradient of the rows of `table` they came from, which
/// start at `row(id)` where they are held here; each thread adds some columns of all
/// rows, so that the order of additions is fixed.
fn scatter(
    dy: &Tensor,
    ids: &[u32],
    row: impl Fn(u32) -> Option<usize> + Sync,
    table: &Param,
) -> Result<()> {
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
                    let Some(row) = row(*id) else { continue };
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
    loss_of_part(x, weight, targets, scale, None)
}

/// What the loss takes of a row of logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowSum {
    /// The largest logit; `-inf` of none.
    pub max: f64,
    /// The sum of the exponentials of the logits less `max`.
    pub sum: f64,
    /// The target's logit; zero if it is not in this part of the row.
    pub target: f64,
}

/// As [`head_loss`], where only some rows of the weight are held here, and so some
/// columns of the logits. `combine` makes of what they come to, for some tokens at a
/// time, what whole rows come to. The gradient of `x` is that of the own columns.
///
/// # Errors
/// As for [`head_loss`], or those of `combine`.
pub fn head_loss_of_part(
    x: &Tensor,
    weight: &Param,
    targets: &[u32],
    scale: f64,
    mut combine: impl FnMut(&mut [RowSum]) -> Result<()>,
) -> Result<Tensor> {
    loss_of_part(x, weight, targets, scale, Some(&mut combine))
}

/// Without a type parameter: so it is compiled here, optimized as this crate is, and
/// not in the crate of whoever calls it.
fn loss_of_part(
    x: &Tensor,
    weight: &Param,
    targets: &[u32],
    scale: f64,
    mut combine: Option<&mut dyn FnMut(&mut [RowSum]) -> Result<()>>,
) -> Result<Tensor> {
    let (vocab, held) = held_rows(weight)?;
    // Of the logits held here, padding included.
    let [width, hidden] = [0, 1].map(|dim| weight.shard().shape[dim]);
    if hidden == 0 || hidden != x.dim(D::Minus1)? {
        bail!("{}: {:?}, input {:?}", weight.name(), weight.shard().shape, x.shape())
    }
    let rows = x.elem_count() / hidden;
    if rows != targets.len() {
        bail!("{rows} tokens and {} targets", targets.len())
    }
    let strange = |target: &&u32| **target as usize >= vocab && **target != IGNORE;
    if let Some(target) = targets.iter().find(strange) {
        bail!("target {target}, but the vocabulary of {} has {vocab}", weight.name())
    }
    if let Some(on) = on(x.dtype())? {
        let words = words(&held);
        return device::head_loss(on, x, weight, targets, scale, words, combine);
    }
    let back = recording();
    let (loss, dx) = with_float!(x.dtype(), T => {
        type A = <T as Element>::Acc;
        read!(xs: [T] = x);
        let chunk = (CHUNK / (width.max(1) * size_of::<A>())).clamp(MIN_ROWS, MAX_ROWS);
        // As many chunks as that makes, but of the same size.
        let chunk = rows.div_ceil(rows.div_ceil(chunk).max(1)).max(1);
        let mut dx = uninit::<T>(if back { xs.len() } else { 0 });
        // All but `dx` is gone when this returns.
        let scratch = memory::tag(Family::Scratch);
        let mut logits = uninit::<A>(chunk * width);
        let mut loss = 0.0;
        for start in (0..rows).step_by(chunk) {
            let n = chunk.min(rows - start);
            let at = start * hidden..(start + n) * hidden;
            let x = Mat::new(&xs[at.clone()], n, hidden);
            let logits = &mut logits[..n * width];
            let w = weight.values::<T>()?;
            let w = Mat::new(&w, width, hidden);
            gemm(MatMut::new(logits, n, width), Store::Set, x, w.t(), On::AllThreads);
            let targets = &targets[start..start + n];
            let mut own = vec![RowSum::default(); n];
            let sums = Disjoint::new(&mut own);
            fill_rows(logits, width, 1 << 12, |tokens, logits| {
                // SAFETY: `fill_rows` hands out each token once.
                let sums = unsafe { sums.part(tokens.clone()) };
                exponentials(logits, &targets[tokens], &held, sums)
            });
            let mut all = own.clone();
            if let Some(combine) = &mut combine {
                combine(&mut all)?;
            }
            let counted = all.iter().zip(targets).filter(|(_, t)| **t != IGNORE);
            counted.for_each(|(row, _)| loss += row.loss::<A>());
            if back {
                fill_rows(logits, width, 1 << 12, |tokens, logits| {
                    let (own, all) = (&own[tokens.clone()], &all[tokens.clone()]);
                    logit_gradient(logits, &targets[tokens], &held, own, all, scale)
                });
                // The logits are their gradient now.
                let d = Mat::new(&*logits, n, width);
                let dx = MatMut::new(&mut dx[at], n, hidden);
                gemm(dx, Store::Set, d, w, On::AllThreads);
                accumulate::<A>(std::slice::from_ref(weight), |grad, first| {
                    let store = if first { Store::Set } else { Store::Add };
                    let grad = MatMut::new(grad, width, hidden);
                    gemm(grad, store, d.t(), x, On::AllThreads)
                })?;
            }
        }
        drop(scratch);
        let dx = back.then(|| tensor(dx, x.shape())).transpose()?;
        let loss = Tensor::new(A::of(loss * scale), x.device())?;
        candle_core::Result::Ok((loss, dx))
    })?;
    if let Some(dx) = dx {
        note("head_loss", &loss, &[x], move |dy| {
            check_one(&dy)?;
            Ok(vec![dx])
        });
    }
    Ok(loss)
}

/// # Errors
/// `dy`, from which backward starts, is not one.
pub(crate) fn check_one(dy: &Tensor) -> Result<()> {
    if dy.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()? != 1.0 {
        bail!("backward from the loss must start with one: scale the loss instead")
    }
    Ok(())
}

impl RowSum {
    /// `-ln softmax[target]` of a whole row, computed in `A`.
    fn loss<A: Real>(&self) -> f64 {
        (A::of(self.sum).ln() - (A::of(self.target) - A::of(self.max))).f64()
    }
}

simd! {
    /// Logits become the exponentials of what they are less the row's largest; what
    /// they came to goes into `sums`. Columns beyond those of `held` are padding: zero.
    /// So are rows without a target.
    pub fn exponentials<A: Real>(
        logits: &mut [A], targets: &[u32], held: &Range<usize>, sums: &mut [RowSum],
    ) {
        let width = logits.len() / targets.len();
        let rows = logits.chunks_exact_mut(width).zip(targets).zip(sums);
        for ((row, target), sums) in rows {
            let (row, padding) = row.split_at_mut(held.len());
            padding.fill(A::of(0.0));
            if *target == IGNORE {
                row.fill(A::of(0.0));
                continue;
            }
            let max = max_of(row);
            let target = *target as usize;
            sums.max = max.f64();
            sums.target = match held.contains(&target) {
                true => row[target - held.start].f64(),
                false => 0.0,
            };
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            sums.sum = sum_over(row.len(), |i| row[i]).f64();
        }
    }
}
simd! {
    /// Of exponentials, `scale · (softmax - onehot(target))`, where `own` is what the
    /// columns held here came to, and `all` what the whole row did.
    pub fn logit_gradient<A: Real>(
        logits: &mut [A], targets: &[u32], held: &Range<usize>, own: &[RowSum],
        all: &[RowSum], scale: f64,
    ) {
        let width = logits.len() / targets.len();
        let rows = logits.chunks_exact_mut(width).zip(targets).zip(own.iter().zip(all));
        for ((row, target), (own, all)) in rows {
            let target = *target as usize;
            if target == IGNORE as usize {
                continue;
            }
            // One if the largest of the row is here.
            let less = (A::of(own.max) - A::of(all.max)).exp();
            let factor = A::of(scale) / A::of(all.sum) * less;
            row.iter_mut().for_each(|x| *x *= factor);
            if held.contains(&target) {
                row[target - held.start] -= A::of(scale);
            }
        }
    }
}
