//! Who carries launches out, and for whom.
use crate::error::Result;
use crate::launch::Launch;
use crate::product::{Matrix, Store};
use memory::device::{self, Device};
use std::cell::Cell;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A device that computes. What it is told it does in that order, later: only a copy to
/// this machine's memory ([`memory::device::copy`]) waits for what came before.
pub trait Engine: Device {
    /// As people call it: `NVIDIA H100 80GB HBM3`.
    fn name(&self) -> String;
    /// Starts a kernel.
    ///
    /// # Errors
    /// It could not be started, or an earlier one failed.
    ///
    /// # Safety
    /// The addresses in it are those of this device's memory, as much of it as the
    /// sizes say. It may be freed before the kernel has run, as [`device`] says.
    unsafe fn launch(&self, launch: &Launch) -> Result<()>;
    /// Starts `c = a · b`, or what `store` says. Products are summed in fp32, and
    /// rounded once. Matrices may be empty: a sum of nothing is zero.
    ///
    /// # Errors
    /// Sizes or types do not fit, or an earlier kernel failed.
    ///
    /// # Safety
    /// As for [`Engine::launch`]; and `c` is none of the others.
    unsafe fn multiply(
        &self,
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
    ) -> Result<()>;
    /// Waits until all of it is done.
    ///
    /// # Errors
    /// Some of it failed.
    fn wait(&self) -> Result<()>;
}

thread_local! {
    static HERE: Cell<Option<&'static dyn Engine>> = const { Cell::new(None) };
}

/// All that were ever set.
static ALL: Mutex<Vec<&'static dyn Engine>> = Mutex::new(vec![]);

/// From now on this thread computes on this device, or by itself.
pub fn set(engine: Option<&'static dyn Engine>) {
    if let Some(engine) = engine {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|other| number(*other) == number(engine)) {
            all.push(engine);
        }
    }
    HERE.set(engine);
    device::set(engine.map(|engine| engine as &dyn Device));
}

/// What stands for every GPU of this program.
static PRETENDED: OnceLock<&'static dyn Engine> = OnceLock::new();

/// From now on [`open`] gives this: for tests of whatever would ask for a GPU.
pub fn pretend(engine: &'static dyn Engine) {
    let _ = PRETENDED.set(engine);
}

/// The GPU for rank `rank` of the `ranks` of this machine: one for each, if there are
/// as many; or else all share the first.
///
/// # Errors
/// There is none, or a library that it takes is not there; or this program was built
/// without the feature `cuda`.
pub fn open(rank: usize, ranks: usize) -> Result<&'static dyn Engine> {
    if let Some(engine) = PRETENDED.get() {
        return Ok(*engine);
    }
    #[cfg(feature = "cuda")]
    {
        let own = if crate::gpu::count() >= ranks { rank } else { 0 };
        Ok(crate::gpu::Gpu::get(own)?)
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = (rank, ranks);
        Err(crate::Error(
            "this program was built without GPUs: build it with `--features cuda`, or \
             take --device cpu"
                .into(),
        ))
    }
}

/// What this thread computes on, if not by itself.
pub fn here() -> Option<&'static dyn Engine> {
    HERE.get()
}

/// Whose memory is at an address; `None` of this machine's.
pub fn of<T>(at: *const T) -> Option<&'static dyn Engine> {
    let device = number(device::of(at)?);
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|engine| number(**engine) == device).copied()
}

/// What tells devices apart: where they are.
fn number<T: ?Sized>(device: &'static T) -> usize {
    std::ptr::from_ref(device).cast::<u8>() as usize
}
