use super::{at, download, uninit};
use crate::adamw::AdamW;
use crate::kernel::{GRAIN, fill_rows};
use crate::observe::{Pass, passed};
use candle_core::{Error, Result, bail};
use kernels::engine::{Engine, of};
use kernels::{Launch, Number, Ptr, adamw, elementwise};
use memory::device;
use params::{Element, Real};

fn launch(engine: &dyn Engine, launch: Launch) -> Result<()> {
    // SAFETY: it is made of slices, of the sizes that it is told.
    unsafe { engine.launch(&launch) }.map_err(Error::wrap)
}

/// A step, if the numbers are a device's; whether they are.
pub(crate) fn step<A: Real>(
    hyper: &AdamW,
    values: &mut [A],
    grads: &[A],
    first: &mut [A],
    second: &mut [A],
) -> Result<bool> {
    let Some(engine) = of(values.as_ptr()) else { return Ok(false) };
    if [grads.as_ptr(), first.as_ptr(), second.as_ptr()]
        .iter()
        .any(|x| of(*x).is_none())
    {
        bail!("an optimizer's step on a GPU, of states that are not in its memory")
    }
    let AdamW { lr, beta1, beta2, eps, weight_decay, step, grad_scale } = *hyper;
    let hyper = adamw::AdamW { lr, beta1, beta2, eps, weight_decay, step, grad_scale };
    let state = adamw::State {
        n: values.len() as u64,
        weights: at(values),
        grads: at(grads),
        first: at(first),
        second: at(second),
        values: None,
    };
    launch(engine, adamw::adamw(Number::F32, &hyper, state, None))?;
    Ok(true)
}

/// `Σ x²`, if it is a device's.
pub(crate) fn squares<A: Real>(x: &[A]) -> Result<Option<f64>> {
    let Some(engine) = of(x.as_ptr()) else { return Ok(None) };
    let sum = uninit::<f64>(1)?;
    start_squares(engine, x, at(&sum))?;
    Ok(Some(download(&sum)?[0]))
}

/// Starts `Σ x²`, one number in fp64, at `to`.
fn start_squares<A: Real>(engine: &dyn Engine, x: &[A], to: Ptr) -> Result<()> {
    let n = x.len() as u64;
    let parts = uninit::<f64>(adamw::parts(n) as usize)?;
    launch(engine, adamw::squares(at(x), n, at(&parts)))?;
    launch(engine, adamw::sum(at(&parts), parts.len() as u64, to))
}

/// Sums that are waited for at once.
const SLOTS: usize = 1024;

/// The sum of the squares of several runs of memory. Those in a GPU's are summed there,
/// and waited for at the end.
#[derive(Default)]
pub struct Squares {
    sum: f64,
    /// Sums that are on their way, in the device's memory, and how many.
    coming: Option<(Vec<f64>, usize)>,
}

impl Squares {
    /// Adds `Σ x²`.
    ///
    /// # Errors
    /// The device's.
    pub fn add<A: Real>(&mut self, x: &[A]) -> Result<()> {
        let Some(engine) = of(x.as_ptr()) else {
            self.sum += crate::sum_of_squares(x);
            return Ok(());
        };
        if self.coming.as_ref().is_some_and(|(_, used)| *used == SLOTS) {
            self.wait()?;
        }
        let (slots, used) = match &mut self.coming {
            Some(coming) => coming,
            none => none.insert((uninit(SLOTS)?, 0)),
        };
        start_squares(engine, x, at(&slots[*used..]))?;
        *used += 1;
        passed("sum_of_squares", Pass::Update);
        Ok(())
    }
    /// All of it.
    ///
    /// # Errors
    /// The device's.
    pub fn sum(mut self) -> Result<f64> {
        self.wait()?;
        Ok(self.sum)
    }
    fn wait(&mut self) -> Result<()> {
        if let Some((slots, used)) = self.coming.take() {
            // In the order in which they were added, as on the CPU.
            download(&slots[..used])?.iter().for_each(|sum| self.sum += sum);
        }
        Ok(())
    }
}

/// As [`crate::narrow`] and [`crate::widen`], if the numbers are a device's; whether
/// they are.
pub(crate) fn cast<T: Element>(
    wide: &[T::Acc],
    values: &[T],
    narrow: bool,
) -> Result<bool> {
    let Some(engine) = of(values.as_ptr()) else { return Ok(false) };
    let (number, n) = (super::number_of(T::DTYPE)?, values.len() as u64);
    launch(
        engine,
        match narrow {
            true => elementwise::narrow(number, n, at(wide), at(values)),
            false => elementwise::widen(number, n, at(values), at(wide)),
        },
    )?;
    Ok(true)
}

/// `to` becomes `from`, wherever either is.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Their lengths differ.
pub fn copy<T: Element>(from: &[T], to: &mut [T]) -> Result<()> {
    assert_eq!(from.len(), to.len());
    // SAFETY: both have as many elements.
    unsafe { device::copy(to.as_mut_ptr(), from.as_ptr(), to.len()) }
        .map_err(Error::msg)
}

/// Zeros.
///
/// # Errors
/// The device's.
pub fn zero<T: Element>(x: &mut [T]) -> Result<()> {
    // SAFETY: it is a slice of floats.
    unsafe { device::zero(x.as_mut_ptr(), x.len()) }.map_err(Error::msg)
}

/// `sum += x`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Their lengths differ.
pub fn add_to<A: Real>(sum: &mut [A], x: &[A]) -> Result<()> {
    assert_eq!(sum.len(), x.len());
    let Some(engine) = of(sum.as_ptr()) else {
        fill_rows(sum, 1, GRAIN, |i, sum| crate::linear::add_to(sum, &x[i]));
        return Ok(());
    };
    let n = sum.len() as u64;
    launch(engine, elementwise::add(Number::F32, n, at(sum), at(x), at(sum)))
}
