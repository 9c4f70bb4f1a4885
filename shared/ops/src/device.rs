//! Operations on a device: what they start there, in the place of what this processor
//! computes.
//!
//! A tensor on a device is a tensor on the CPU as far as candle knows, whose elements
//! are at addresses of the device's memory ([`memory::device`]): shapes, views and
//! lifetimes work as ever, and nothing of candle's that reads or writes an element may
//! be used on it. [`here`] and [`scalar`] bring numbers back.
use crate::flops;
use candle_core::{DType, Error, Result, Shape, Tensor, bail};
use kernels::engine::{self, Engine};
use kernels::{Launch, Matrix, Number, Ptr, Store};
use memory::device;
use params::{Element, Param, accumulate, with_float};

mod attention;
mod choice;
mod elementwise;
mod head;
mod linear;
mod norm;
mod optimizer;

pub(crate) use attention::attention;
pub use choice::{Owned, own};
pub(crate) use head::{embedding, head_loss};
pub use optimizer::{Squares, add_to, copy, zero};
pub(crate) use optimizer::{cast, squares, step};

/// This rank's device, for one operation.
#[derive(Clone, Copy)]
pub(crate) struct On {
    engine: &'static dyn Engine,
    pub number: Number,
}

/// What computes on tensors of this type: a device, or, if `None`, this processor.
pub(crate) fn on(dtype: DType) -> Result<Option<On>> {
    let Some(engine) = engine::here() else { return Ok(None) };
    Ok(Some(On { engine, number: number_of(dtype)? }))
}

fn number_of(dtype: DType) -> Result<Number> {
    match dtype {
        DType::F32 => Ok(Number::F32),
        DType::BF16 => Ok(Number::Bf16),
        other => bail!(
            "{other:?} on a GPU: kernels are for fp32 and bf16. Take one of these by \
             --precision, or --device cpu"
        ),
    }
}

/// A contiguous tensor in the device's memory, and where it is.
pub(crate) struct Array {
    pub tensor: Tensor,
    pub at: Ptr,
}

/// Where elements of this machine's view of memory are.
pub(crate) fn at<T>(slice: &[T]) -> Ptr {
    Ptr(slice.as_ptr() as u64)
}

impl On {
    pub fn launch(&self, launch: Launch) -> Result<()> {
        // SAFETY: every launch of this module is made of arrays of the sizes that it
        // is told, which live until it was started.
        unsafe { self.engine.launch(&launch) }.map_err(Error::wrap)
    }
    /// `c = a · b`, or as `store` says. It is counted.
    pub fn multiply(
        &self,
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
    ) -> Result<()> {
        flops::add_product(c.rows, c.cols, a.cols);
        // SAFETY: as for `launch`.
        unsafe { self.engine.multiply(c, store, a, b) }.map_err(Error::wrap)
    }
    /// A tensor of the device's memory with these elements: itself, if it is there.
    pub fn array(&self, x: &Tensor) -> Result<Array> {
        with_float!(x.dtype(), T => {
            let start = start_of::<T>(x)?;
            if device::of(start).is_some() {
                return Ok(Array { tensor: x.clone(), at: Ptr(start as u64) });
            }
            let x = x.contiguous()?;
            let n = x.elem_count();
            // SAFETY: it has as many elements, one behind the other.
            let from = unsafe { std::slice::from_raw_parts(start_of::<T>(&x)?, n) };
            let data = upload(from)?;
            let at = at(&data);
            Ok(Array { tensor: Tensor::from_vec(data, x.shape(), x.device())?, at })
        })
    }
    /// The same of several.
    pub fn arrays<const N: usize>(&self, all: [&Tensor; N]) -> Result<[Array; N]> {
        let all: Result<Vec<Array>> = all.iter().map(|x| self.array(x)).collect();
        all?.try_into().map_err(|_| Error::Msg("another number of arrays".into()))
    }
    /// A tensor that holds anything, of the operation's numbers.
    pub fn empty(&self, shape: impl Into<Shape>) -> Result<Array> {
        let shape = shape.into();
        let dtype = match self.number {
            Number::F32 => DType::F32,
            Number::Bf16 => DType::BF16,
        };
        with_float!(dtype, T => {
            let data = uninit::<T>(shape.elem_count())?;
            let at = at(&data);
            let tensor = Tensor::from_vec(data, shape, &candle_core::Device::Cpu)?;
            Ok(Array { tensor, at })
        })
    }
    /// FLOP/s of a large product. Not of zeros, which cost a GPU less power, and so run
    /// faster.
    pub fn peak_flops(&self) -> Result<f64> {
        // What is measured with is no part of what training takes.
        let _nobody = memory::nobody();
        let mut n = 256;
        loop {
            let numbers = (0..n * n).map(|i| (i % 251) as f32 / 125.0 - 1.0);
            let x = Tensor::from_iter(numbers, &candle_core::Device::Cpu)?;
            let dtype = match self.number {
                Number::F32 => DType::F32,
                Number::Bf16 => DType::BF16,
            };
            let x = self.array(&x.to_dtype(dtype)?)?;
            let out = self.empty((n, n))?;
            let (a, c) = (self.matrix(x.at, n, n), self.matrix(out.at, n, n));
            let mut outcome = Ok(());
            let best = crate::tune::best_of(|| {
                // SAFETY: as for `multiply`; this one is not counted.
                let made = unsafe { self.engine.multiply(c, Store::Set, a, a.t()) };
                if let Err(error) = made.and_then(|()| self.engine.wait()) {
                    outcome = Err(Error::wrap(error));
                }
            });
            outcome?;
            // Longer than it takes to start it, by far.
            if best > 1e-3 || n == 8192 {
                return Ok(2.0 * (n * n * n) as f64 / best);
            }
            n *= 2;
        }
    }
    /// A matrix of the operation's numbers.
    pub fn matrix(&self, at: Ptr, rows: usize, cols: usize) -> Matrix {
        Matrix::new(self.number, at, rows, cols)
    }
    /// As [`accumulate`], with where the gradients are, which are in fp32.
    pub fn accumulate(
        &self,
        params: &[Param],
        add: impl FnOnce(Ptr, bool) -> Result<()>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        accumulate::<f32>(params, |grads, first| outcome = add(at(grads), first))?;
        outcome
    }
    /// As [`On::accumulate`], of a kernel that only adds: zeros before the first.
    pub fn add_to(
        &self,
        params: &[Param],
        add: impl FnOnce(Ptr) -> Result<()>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        accumulate::<f32>(params, |grads, first| {
            let zeros = match first {
                // SAFETY: it is a slice.
                true => unsafe { device::zero(grads.as_mut_ptr(), grads.len()) },
                false => Ok(()),
            };
            outcome = zeros.map_err(Error::msg).and_then(|()| add(at(grads)));
        })?;
        outcome
    }
}

/// Where the first element of a contiguous tensor is.
fn start_of<T: Element>(x: &Tensor) -> Result<*const T> {
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(cpu) = &*storage else {
        bail!("a tensor of candle's own devices: take one on the CPU")
    };
    let start = T::cpu_storage_as_slice(cpu)?.as_ptr();
    if layout.contiguous_offsets().is_none() && device::of(start).is_some() {
        bail!("a {:?} with gaps, on a GPU", layout.shape())
    }
    // SAFETY: an offset within the storage.
    Ok(unsafe { start.add(layout.start_offset()) })
}

/// Numbers of this rank's device's memory, which hold anything.
fn uninit<T: Copy>(n: usize) -> Result<Vec<T>> {
    let mut data = Vec::new();
    let bytes = n * size_of::<T>();
    device::within(|| data.try_reserve_exact(n)).map_err(|_| {
        Error::Msg(format!(
            "no memory for {bytes} bytes on the GPU: a smaller --micro-batch needs \
             less, and so does --recompute"
        ))
    })?;
    // SAFETY: there is room; and they are plain numbers, which nobody reads before a
    // kernel wrote them.
    #[allow(clippy::uninit_vec)]
    unsafe {
        data.set_len(n)
    };
    Ok(data)
}

/// A copy in this rank's device's memory.
pub(crate) fn upload<T: Copy>(from: &[T]) -> Result<Vec<T>> {
    let mut data = uninit::<T>(from.len())?;
    // SAFETY: both have as many elements.
    unsafe { device::copy(data.as_mut_ptr(), from.as_ptr(), from.len()) }
        .map_err(Error::msg)?;
    Ok(data)
}

/// A copy in this machine's memory of what may be a device's.
pub(crate) fn download<T: Copy + Default>(from: &[T]) -> Result<Vec<T>> {
    let mut data = vec![T::default(); from.len()];
    // SAFETY: both have as many elements.
    unsafe { device::copy(data.as_mut_ptr(), from.as_ptr(), from.len()) }
        .map_err(Error::msg)?;
    Ok(data)
}

/// `x`, to be read here: itself, or a copy of what is in a GPU's memory.
///
/// # Errors
/// It is in a GPU's memory, with gaps; or what computes it failed.
pub fn here(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Ok(x.clone());
    }
    with_float!(x.dtype(), T => {
        let start = start_of::<T>(x)?;
        if device::of(start).is_none() {
            return Ok(x.clone());
        }
        // SAFETY: it has as many elements, one behind the other.
        let from = unsafe { std::slice::from_raw_parts(start, x.elem_count()) };
        Tensor::from_vec(download(from)?, x.shape(), x.device())
    })
}

/// The number that a scalar holds, wherever it is.
///
/// # Errors
/// It is no scalar, or what computes it failed.
pub fn scalar(x: &Tensor) -> Result<f64> {
    here(x)?.to_dtype(DType::F64)?.to_scalar()
}
