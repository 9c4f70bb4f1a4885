//! Gradients on their way to the other ranks, while backward makes the next ones.
use candle_core::Result;
use comm::{Group, Mesh, Reduce};
use params::{Element, Param, Params, with_float};

/// The gradients of one step, which become the sums over all ranks, bucket by bucket
/// (Li et al. 2020, *PyTorch Distributed*, §3.2; Megatron-LM's
/// `param_and_grad_buffer.py`).
///
/// A bucket is a flat buffer: the gradients of one layer, those of the embedding, or
/// those of what comes after the layers, in the type that sums them. (PyTorch and
/// Megatron-LM cut buckets by size instead, 25 MB or 40 million elements.) A tied
/// embedding gets gradients from both ends of the model, and its bucket is complete
/// only when backward is.
pub struct Gradients<'a> {
    params: &'a Params,
    group: &'a Group,
    /// So many buckets, the first ones, have not been started: backward completes the
    /// last bucket first.
    unstarted: usize,
    /// What is under way, each with how to wait for it.
    started: Vec<Box<dyn FnOnce() -> comm::Result<()>>>,
}

impl Gradients<'_> {
    /// They are summed over the ranks that hold the same parameters and see other data.
    pub fn new<'a>(params: &'a Params, mesh: &'a Mesh) -> Gradients<'a> {
        let (group, unstarted) = (mesh.data(), params.flats.len());
        Gradients { params, group, unstarted, started: vec![] }
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
                let pending =
                    self.group.start_all_reduce("gradients", bucket, Reduce::Sum)?;
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
    /// Starts what is left, and waits for all.
    ///
    /// # Errors
    /// As for [`Gradients::start`].
    pub fn finish(mut self) -> Result<()> {
        self.start(0)?;
        Ok(self.started.into_iter().try_for_each(|wait| wait())?)
    }
}
