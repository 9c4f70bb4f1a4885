//! # Fill in: g and ḡ
//!
//! A gather and a scattered sum are each other's transpose: as matrices that act on the
//! tensors of all ranks, ḡ's forward sums and cuts, so its backward repeats and joins.
//! Each operator is one of the two forward and the other backward. An all-reduce is a
//! reduce-scatter and an all-gather one after the other, and that is what each operator
//! sends in the two passes together.
//!
//! Ranks exchange runs of memory. The part that a rank has of several sequences is not
//! a run of the whole: behind its tokens of the first sequence come the other ranks'
//! tokens of that, and not its own of the second. So what was gathered,
//! `[n, batch, ..]` in memory, has to become `[batch, n, ..]`, and what is to be
//! scattered the other way round, before it is summed. Without that all shapes fit and
//! all runs: the tokens of several sequences are in the wrong order, and attention
//! mixes sequences. With one sequence per micro-batch nobody notices.
//!
//! Megatron-LM avoids the copy: its activations are `[seq, batch, hidden]`, of which a
//! part of the sequence is a run of memory (`gather_from_sequence_parallel_region`,
//! `reduce_scatter_to_sequence_parallel_region`).
use candle_core::{Device, Result, Tensor};
use comm::{Group, Reduce};

/// g: from this rank's part `x [batch, seq / n, hidden]` to `[batch, seq, hidden]`.
///
/// # Errors
/// Another rank failed.
pub fn enter(x: &Tensor, group: &Group) -> Result<Tensor> {
    let (y, group) = (gather(x, group)?, group.clone());
    ops::note("g", &y, &[x], move |dy| Ok(vec![scatter(&dy, &group)?]));
    Ok(y)
}

/// ḡ: from this rank's term `x [batch, seq, hidden]` to its part `[batch, seq / n,
/// hidden]` of the sum of all terms.
///
/// # Errors
/// Another rank failed.
pub fn leave(x: &Tensor, group: &Group) -> Result<Tensor> {
    let (y, group) = (scatter(x, group)?, group.clone());
    ops::note("ḡ", &y, &[x], move |dy| Ok(vec![gather(&dy, &group)?]));
    Ok(y)
}

/// All parts of the sequences, joined.
fn gather(x: &Tensor, group: &Group) -> Result<Tensor> {
    let (batch, part, hidden) = x.dims3()?;
    let (n, own) = (group.size(), x.flatten_all()?.to_vec1::<f64>()?);
    let mut all = vec![0.0; n * own.len()];
    group.all_gather("gather", &own, &mut all)?;
    Tensor::from_vec(swap(&all, n, batch), (batch, n * part, hidden), &Device::Cpu)
}

/// Of the sum of all ranks' `x`, this rank's part of the sequences.
fn scatter(x: &Tensor, group: &Group) -> Result<Tensor> {
    let (batch, seq, hidden) = x.dims3()?;
    let n = group.size();
    let all = swap(&x.flatten_all()?.to_vec1()?, batch, n);
    let mut own = vec![0.0; all.len() / n];
    group.reduce_scatter("scatter", &all, &mut own, Reduce::Sum)?;
    Tensor::from_vec(own, (batch, seq / n, hidden), &Device::Cpu)
}

/// The memory of `[a, b, ..]`, which `x` is, as that of `[b, a, ..]`.
fn swap(x: &[f64], a: usize, b: usize) -> Vec<f64> {
    let run = x.len() / (a * b);
    let runs = (0..b).flat_map(|j| (0..a).map(move |i| (i * b + j) * run));
    runs.flat_map(|start| &x[start..start + run]).copied().collect()
}
