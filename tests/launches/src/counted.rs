//! A device that counts what it is told.
use kernels::engine::Engine;
use kernels::host::Host;
use kernels::{Launch, Matrix, Result, Store};
use memory::device::{self, Device};
use ops::Pass;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a step starts. A product is one launch, though the library may make two of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Launches of forward, the loss's own backward included.
    pub forward: usize,
    /// Launches of backward.
    pub backward: usize,
    /// Launches of the gradient's norm and the optimizer.
    pub update: usize,
    /// Copies to the device.
    pub copies_in: usize,
    /// Copies from the device, for each of which the host waits.
    pub copies_out: usize,
    /// Runs of zeros.
    pub fills: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Counts { forward, backward, update, copies_in, copies_out, fills } = self;
        write!(
            f,
            "forward {forward}, backward {backward}, update {update}, copies in \
             {copies_in}, out {copies_out}, zeros {fills}"
        )
    }
}

/// Launches by pass, 0 to 2, and kernel.
pub type ByKernel = BTreeMap<(usize, &'static str), usize>;

/// A CPU in a GPU's role, with a list of what was started on it.
#[derive(Default)]
pub struct Counted {
    host: Host,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Started since an operation was last over.
    since: Vec<&'static str>,
    launches: ByKernel,
    copies_in: usize,
    copies_out: usize,
    fills: usize,
}

/// Places of passes in the list.
const PASSES: [Pass; 3] = [Pass::Forward, Pass::Backward, Pass::Update];

impl State {
    /// What was started since belongs to this pass.
    fn passed(&mut self, pass: Pass) {
        let place = PASSES.iter().position(|other| *other == pass).unwrap_or(0);
        for kernel in std::mem::take(&mut self.since) {
            *self.launches.entry((place, kernel)).or_default() += 1;
        }
    }
}

impl Counted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What `f` starts, in all and by kernel.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn counts(
        &'static self,
        f: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<(Counts, ByKernel)> {
        *self.state() = State::default();
        ops::observe(move |_, pass| self.state().passed(pass), f)?;
        let mut state = std::mem::take(&mut *self.state());
        // What is behind the last operation is the optimizer's, too.
        state.passed(Pass::Update);
        let of = |pass: usize| {
            let all = state.launches.iter().filter(|((of, _), _)| *of == pass);
            all.map(|(_, count)| count).sum()
        };
        let counts = Counts {
            forward: of(0),
            backward: of(1),
            update: of(2),
            copies_in: state.copies_in,
            copies_out: state.copies_out,
            fills: state.fills,
        };
        Ok((counts, state.launches))
    }
}

impl Engine for Counted {
    fn name(&self) -> String {
        self.host.name()
    }
    unsafe fn launch(&self, launch: &Launch) -> Result<()> {
        self.state().since.push(launch.kernel);
        // SAFETY: the caller's.
        unsafe { self.host.launch(launch) }
    }
    unsafe fn multiply(
        &self,
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
    ) -> Result<()> {
        self.state().since.push("a product");
        // SAFETY: the caller's.
        unsafe { self.host.multiply(c, store, a, b) }
    }
    fn wait(&self) -> Result<()> {
        self.host.wait()
    }
}

impl Device for Counted {
    fn obtain(&self, bytes: usize) -> Option<usize> {
        self.host.obtain(bytes)
    }
    unsafe fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        bytes: usize,
    ) -> std::result::Result<(), String> {
        let there = |at: *const u8| device::of(at).is_some();
        match (there(to.cast_const()), there(from)) {
            (true, true) => self.state().since.push("a copy"),
            (true, false) => self.state().copies_in += 1,
            _ => self.state().copies_out += 1,
        }
        // SAFETY: the caller's.
        unsafe { self.host.copy(to, from, bytes) }
    }
    unsafe fn zero(
        &self,
        at: *mut u8,
        bytes: usize,
    ) -> std::result::Result<(), String> {
        self.state().fills += 1;
        // SAFETY: the caller's.
        unsafe { self.host.zero(at, bytes) }
    }
}
