//! Gradients on their way to the other ranks, while backward makes the next ones.
use crate::model::EMBEDDINGS;
use crate::zero::Zero;
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
/// From stage 1 of ZeRO on, a rank needs the sums of its own part only: a
/// reduce-scatter, half of an all-reduce. From stage 2 on the rest is freed as soon as
/// that is over.
///
/// Where ranks have copies of a parameter but each comes to a part of its gradient, the
/// parts are summed too ([`params::Shard::partial`]): where every rank has all sums,
/// after that; where it does not, before.
pub struct Gradients<'a> {
    params: &'a Params,
    mesh: &'a Mesh,
    zero: &'a Zero,
    /// So many buckets, the first ones, have not been started: backward completes the
    /// last bucket first.
    unstarted: usize,
    /// What is under way: which bucket, and how to wait for it.
    started: Vec<(usize, Box<dyn FnOnce() -> comm::Result<()>>)>,
    /// Those that wait until backward is over everywhere.
    late: Vec<usize>,
    /// For each bucket, whether this rank's part has sums of earlier micro-batches.
    begun: Vec<bool>,
}

impl Gradients<'_> {
    /// They are summed over the ranks that hold the same parameters and see other data.
    pub fn new<'a>(
        params: &'a Params,
        mesh: &'a Mesh,
        zero: &'a Zero,
    ) -> Gradients<'a> {
        let unstarted = params.flats.len();
        let begun = vec![false; unstarted];
        let (started, late) = (vec![], vec![]);
        Gradients { params, mesh, zero, unstarted, started, late, begun }
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
            let bucket = self.unstarted;
            // Another stage, which is still at work, has the other part: to wait for it
            // now would be to wait for ever.
            let other_stage = |param: &Param| param.shard().partial == Some(EMBEDDINGS);
            let cut = self.zero.stage > 0;
            match cut && self.params.flats[bucket].params.iter().any(other_stage) {
                true => self.late.push(bucket),
                false => self.start_one(bucket)?,
            }
        }
        Ok(())
    }
    fn start_one(&mut self, bucket: usize) -> Result<()> {
        // The bucket before had as long as this one took: it is freed now, so that
        // never more than two are here.
        if self.zero.stage >= 2 {
            self.land()?;
        }
        let flat = &self.params.flats[bucket];
        flat.params.iter().try_for_each(Param::check_gradient)?;
        if self.zero.stage > 0 {
            self.sum_parts(flat.params.iter())?;
        }
        let all = 0..flat.grads.len();
        with_float!(flat.values.dtype(), T => {
            let (group, sum) = (self.mesh.data(), Reduce::Sum);
            let mut data = flat.grads.write::<<T as Element>::Acc>(all)?;
            ops::zero(&mut data[flat.padding()])?;
            let pending = match self.zero.stage {
                0 => group.start_all_reduce("gradients", data, sum)?,
                _ => group.start_reduce_scatter("gradients", data, sum)?,
            };
            self.started.push((bucket, Box::new(move || pending.wait().map(drop))));
            Result::Ok(())
        })
    }
    /// Starts what is left, and waits for all; from stage 2 on adds this rank's part to
    /// what earlier micro-batches came to, and frees the rest. Backward of another
    /// micro-batch may follow.
    ///
    /// # Errors
    /// As for [`Gradients::start`].
    pub fn keep_own(&mut self) -> Result<()> {
        self.start(0)?;
        for bucket in std::mem::take(&mut self.late) {
            self.start_one(bucket)?;
        }
        self.land()?;
        self.unstarted = self.params.flats.len();
        Ok(())
    }
    /// Waits for what is under way; from stage 2 on keeps this rank's part of it.
    fn land(&mut self) -> Result<()> {
        for (bucket, wait) in std::mem::take(&mut self.started) {
            wait()?;
            if self.zero.stage < 2 {
                continue;
            }
            let flat = &self.params.flats[bucket];
            let own = self.zero.updated_here(bucket);
            let (kept, range) = self.zero.grads(bucket, own.clone());
            with_float!(flat.values.dtype(), T => {
                let new = flat.grads.read::<<T as Element>::Acc>(own)?;
                let mut sum = kept.write::<<T as Element>::Acc>(range)?;
                match std::mem::replace(&mut self.begun[bucket], true) {
                    false => ops::copy(&new, &mut sum),
                    true => ops::add_to(&mut sum, &new),
                }
            })?;
            flat.params.iter().for_each(Param::begin_step);
            flat.grads.release()?;
        }
        Ok(())
    }
    /// After the last micro-batch: all sums are there.
    ///
    /// # Errors
    /// As for [`Gradients::start`].
    pub fn finish(mut self) -> Result<()> {
        if self.zero.stage >= 2 && self.begun.iter().all(|begun| *begun) {
            return Ok(());
        }
        self.keep_own()?;
        match self.zero.stage {
            0 => self.sum_parts(self.params.iter()),
            _ => Ok(()),
        }
    }
    /// Sums what is in parts.
    fn sum_parts<'b>(&self, params: impl Iterator<Item = &'b Param>) -> Result<()> {
        let mut partial: BTreeMap<&str, Vec<&Param>> = BTreeMap::new();
        for param in params {
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
