//! Which device a rank has.
use candle_core::{Error, Result};
use kernels::engine::{self, Engine};

/// Has the calling thread, rank `rank` of the `ranks` on this machine, compute on a GPU
/// until the guard is dropped: its tensors and parameters are in the GPU's memory. Each
/// rank has a GPU of its own; where there are fewer of them, all share the first.
///
/// # Errors
/// There is none, or a library that it takes is not there, and what to do about it.
pub fn own(rank: usize, ranks: usize) -> Result<Owned> {
    let engine = engine::open(rank, ranks).map_err(Error::wrap)?;
    let before = engine::here();
    engine::set(Some(engine));
    Ok(Owned { engine, before })
}

/// A rank's device, see [`own`].
#[must_use = "the rank has it until this is dropped: bind it to a name"]
pub struct Owned {
    engine: &'static dyn Engine,
    before: Option<&'static dyn Engine>,
}

impl Owned {
    /// As people call it: `NVIDIA H100 80GB HBM3`.
    pub fn name(&self) -> String {
        self.engine.name()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        engine::set(self.before);
    }
}
