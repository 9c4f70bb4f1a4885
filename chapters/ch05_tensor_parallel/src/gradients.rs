//! Gradients on their way to the other ranks, while backward makes the next ones.
use candle_core::Result;
use comm::{Mesh, Reduce};
use params::{Element, Param, Params, accumulate, with_float};
use std::collections::BTreeMap;
use std::slice;

/// The gradients of one step, which become the sums over all data, bucket by bucket
/// (Li et al. 2020, *PyTorch Distributed*, §3.2; Megatron-LM's
/// `param_and_grad_buffer.py`).
///
/// A bucket is a flat buffer: the gradients of one layer, those of the embedding, or
/// those of what comes after the layers, in the type that sums them. (PyTorch and
/// Megatron-LM cut buckets by size instead, 25 MB or 40 million elements.) A tied
/// embedding gets gradients from both ends of the model, and its bucket is complete
/// only when backward is.
///
/// Where ranks have copies of a parameter but each comes to a part of its gradient, the
/// parts are summed after that ([`params::Shard::partial`]).
pub struct Gradients<'a> {
    params: &'a Params,
    mesh: &'a Mesh,
    /// So many buckets, the first ones, have not been started: backward completes the
    /// last bucket first.
    unstarted: usize,
    /// What is under way, each with how to wait for it.
    started: Vec<Box<dyn FnOnce() -> comm::Result<()>>>,
}

impl Gradients<'_> {
    /// They are summed over the ranks that hold the same parameters and see other data.
    pub fn new<'a>(params: &'a Params, mesh: &'a Mesh) -> Gradients<'a> {
        let unstarted = params.flats.len();
        Gradients { params, mesh, unstarted, started: vec![] }
    }
    /// Starts to sum the buckets from `first` on, of which this rank's gradients are
    /// complete; those that were started before are left alone. Until
    /// [`Gradients::finish`] nobody may touch them.
    ///
    /// # Errors
    /// A gradient is missing or in use, or another rank failed.
    pub fn start(&mut self, first: usize) -> Result<()> {
        while self.unstarted > first {
            self.unstarted -= 1;
            let flat = &self.params.flats[self.unstarted];
            flat.params.iter().try_for_each(Param::check_gradient)?;
            let all = 0..flat.grads.len();
            with_float!(flat.values.dtype(), T => {
                let bucket = flat.grads.write::<<T as Element>::Acc>(all)?;
                let group = self.mesh.data();
                let pending =
                    group.start_all_reduce("gradients", bucket, Reduce::Sum)?;
                self.started.push(Box::new(move || pending.wait().map(drop)));
                Result::Ok(())
            })?;
        }
        Ok(())
    }
    /// Whether all that this rank's micro-batches have left so far is finite.
    ///
    /// # Errors
    /// A gradient is missing or in use.
    pub fn are_finite(&self) -> Result<bool> {
        let mut squares = ops::Squares::default();
        for param in self.params.iter() {
            with_float!(param.dtype()?, T => {
                squares.add(&param.grad::<<T as Element>::Acc>()?)
            })?;
        }
        Ok(squares.sum()?.is_finite())
    }
    /// Starts what is left, waits for all, and sums what is still in parts.
    ///
    /// # Errors
    /// As for [`Gradients::start`].
    pub fn finish(mut self) -> Result<()> {
        self.start(0)?;
        self.started.into_iter().try_for_each(|wait| wait())?;
        let mut partial: BTreeMap<&str, Vec<&Param>> = BTreeMap::new();
        for param in self.params.iter() {
            if let Some(axis) = param.shard().partial {
                partial.entry(axis).or_default().push(param);
            }
        }
        partial.iter().try_for_each(|(axis, params)| sum_parts(params, self.mesh, axis))
    }
}

/// The gradients of `params` become the sums over the ranks of an axis. In one call,
/// for which they are copied: most are small, and there are many.
fn sum_parts(params: &[&Param], mesh: &Mesh, axis: &str) -> Result<()> {
    let (group, Some(first)) = (mesh.axis(axis)?, params.first()) else {
        return Ok(());
    };
    if group.size() == 1 {
        return Ok(());
    }
    with_float!(first.dtype()?, T => {
        type A = <T as Element>::Acc;
        let _tag = memory::tag(memory::Family::Scratch);
        let mut all: Vec<A> = vec![];
        for param in params {
            all.extend_from_slice(&param.grad::<A>()?.here()?);
        }
        group.all_reduce("partial gradients", &mut all, Reduce::Sum)?;
        let mut rest = &all[..];
        for param in params {
            let (sum, others) = rest.split_at(param.shard().elements());
            rest = others;
            let one = slice::from_ref(*param);
            let mut copied = Ok(());
            accumulate::<A>(one, |grad, _| copied = ops::copy(sum, grad))?;
            copied?;
        }
        Ok(())
    })
}
