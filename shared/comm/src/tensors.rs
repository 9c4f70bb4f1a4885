//! Collectives that make a tensor of each member's.
//!
//! Neither input nor result is copied for them, unless a dimension other than the first
//! is cut: ranks exchange whole runs of memory, and such a tensor is not one.
use crate::call::{Call, Op, Reduce};
use crate::error::Result;
use crate::group::Group;
use crate::number::Number;
use crate::pending::{Lease, Pending};
use candle_core::{
    DType, Device, Error, Layout, Result as CandleResult, Shape, Storage, Tensor, bail,
};
use half::{bf16, f16};
use memory::device;
use std::ops::Deref;

/// Calls a generic function with `T` bound to the type of a candle `DType`.
macro_rules! with_number {
    ($dtype:expr, $t:ident => $body:expr) => {{
        macro_rules! arm {
            ($type:ty) => {{
                type $t = $type;
                $body
            }};
        }
        match $dtype {
            DType::F64 => arm!(f64),
            DType::F32 => arm!(f32),
            DType::BF16 => arm!(bf16),
            DType::F16 => arm!(f16),
            DType::I64 => arm!(i64),
            DType::U32 => arm!(u32),
            DType::U8 => arm!(u8),
            other => bail!("{other:?} is no type that ranks exchange"),
        }
    }};
}

/// A collective on a tensor that was started, and is waited for later.
#[must_use = "a started call is over only when it was waited for"]
pub struct PendingTensor(Box<dyn FnOnce() -> CandleResult<Tensor>>);

impl PendingTensor {
    /// Waits until it is over, and returns the result.
    ///
    /// # Errors
    /// Another rank failed, or will never make its part of the call.
    pub fn wait(self) -> CandleResult<Tensor> {
        (self.0)()
    }
}

impl Group {
    /// What `reduce` makes of all members' `x`, element by element.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`].
    #[track_caller]
    pub fn all_reduce_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        reduce: Reduce,
    ) -> CandleResult<Tensor> {
        self.of_tensor(Op::AllReduce(reduce), family, x, 0, false)?.wait()
    }
    /// As [`Group::all_reduce_tensor`], started now.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`].
    #[track_caller]
    pub fn start_all_reduce_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        reduce: Reduce,
    ) -> CandleResult<PendingTensor> {
        self.of_tensor(Op::AllReduce(reduce), family, x, 0, true)
    }
    /// All members' `x`, one after the other along dimension `dim`.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`]; or there is no such dimension.
    #[track_caller]
    pub fn all_gather_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        dim: usize,
    ) -> CandleResult<Tensor> {
        self.of_tensor(Op::AllGather, family, x, dim, false)?.wait()
    }
    /// As [`Group::all_gather_tensor`], started now.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`]; or there is no such dimension.
    #[track_caller]
    pub fn start_all_gather_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        dim: usize,
    ) -> CandleResult<PendingTensor> {
        self.of_tensor(Op::AllGather, family, x, dim, true)
    }
    /// Of what `reduce` makes of all members' `x`, this member's part of dimension
    /// `dim`.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`]; or the dimension does not divide.
    #[track_caller]
    pub fn reduce_scatter_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        dim: usize,
        reduce: Reduce,
    ) -> CandleResult<Tensor> {
        self.of_tensor(Op::ReduceScatter(reduce), family, x, dim, false)?.wait()
    }
    /// As [`Group::reduce_scatter_tensor`], started now.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`]; or the dimension does not divide.
    #[track_caller]
    pub fn start_reduce_scatter_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        dim: usize,
        reduce: Reduce,
    ) -> CandleResult<PendingTensor> {
        self.of_tensor(Op::ReduceScatter(reduce), family, x, dim, true)
    }

    /// Starts to send `x` to place `to`. Its memory is lent until that is over.
    ///
    /// # Errors
    /// As for [`Group::send`].
    #[track_caller]
    pub fn start_send_tensor(
        &self,
        family: &'static str,
        x: &Tensor,
        to: usize,
    ) -> CandleResult<SentTensor> {
        self.check_other("send", to)?;
        let x = x.contiguous()?;
        let pending = with_number!(x.dtype(), T => {
            let storage = x.storage_and_layout();
            let data = elements::<T>(&storage)?;
            let call = Call::new(Op::Send(to), family, data, &mut []);
            self.start_message(call, to, Lease::none())?
        });
        Ok(SentTensor { pending, _x: x })
    }
    /// What place `from` sends, which is of that shape and type.
    ///
    /// # Errors
    /// As for [`Group::send`].
    #[track_caller]
    pub fn recv_tensor(
        &self,
        family: &'static str,
        shape: impl Into<Shape>,
        dtype: DType,
        from: usize,
    ) -> CandleResult<Tensor> {
        self.check_other("recv", from)?;
        let shape = shape.into();
        with_number!(dtype, T => {
            // On a rank that has a device, what is exchanged is in its memory.
            let mut out = uninit::<T>(shape.elem_count(), dtype.is_float())?;
            self.message(Call::new(Op::Recv(from), family, &[], &mut out), from)?;
            Tensor::from_vec(out, shape, &Device::Cpu)
        })
    }

    #[track_caller]
    fn of_tensor(
        &self,
        op: Op,
        family: &'static str,
        x: &Tensor,
        dim: usize,
        started: bool,
    ) -> CandleResult<PendingTensor> {
        let n = self.size();
        let mut shape = x.dims().to_vec();
        if n == 1 {
            let x = x.clone();
            return Ok(PendingTensor(Box::new(|| Ok(x))));
        }
        match (op, shape.get_mut(dim)) {
            (Op::AllReduce(_), _) => {}
            (Op::AllGather, Some(size)) => *size *= n,
            (_, Some(size)) if size.is_multiple_of(n) => *size /= n,
            _ => bail!(
                "{} of a {:?} along dimension {dim} among {n} ranks",
                op.name(),
                x.shape()
            ),
        }
        // What comes before the dimension, and what one member has from it on.
        let outer: usize = shape[..dim].iter().product();
        let part = x.elem_count().min(shape.iter().product()) / outer.max(1);
        let x = match op {
            Op::ReduceScatter(_) if outer > 1 => swap(x, outer, n)?,
            _ => x.contiguous()?,
        };
        let gathered = (op == Op::AllGather && outer > 1).then_some([n, outer, part]);
        with_number!(x.dtype(), T => {
            let len = shape.iter().product();
            let call = self.on_memory_of::<T>(op, family, x, len, started)?;
            let finish = move || {
                let out = call.wait()?;
                match gathered {
                    None => Tensor::from_vec(out, shape, &Device::Cpu),
                    Some([n, outer, part]) => {
                        let out = Tensor::from_vec(out, (n, outer, part), &Device::Cpu);
                        swap(&out?, n, outer)?.reshape(shape)
                    }
                }
            };
            Ok(PendingTensor(Box::new(finish)))
        })
    }
    /// `x` is contiguous; the result has `len` elements.
    #[track_caller]
    fn on_memory_of<T: Number>(
        &self,
        op: Op,
        family: &'static str,
        x: Tensor,
        len: usize,
        started: bool,
    ) -> CandleResult<OnTensor<T>> {
        let storage = x.storage_and_layout();
        // The call has pointers into the tensor: `OnTensor` holds it until the call is
        // over, and nothing writes into a tensor once it is made.
        let input = elements::<T>(&storage)?;
        let there = device::of(input.as_ptr()).is_some();
        let mut out = uninit::<T>(len, there)?;
        let state = if started {
            let (lease, call) =
                Lease::new(out, |out| Call::new(op, family, input, out));
            State::UnderWay(self.start(call, lease)?)
        } else {
            self.collective(Call::new(op, family, input, &mut out))?;
            State::Over(out)
        };
        drop(storage);
        Ok(OnTensor { state, _input: x })
    }
}

/// Memory for what others send: `there`, on this rank's device, if it has one.
fn uninit<T: Number>(len: usize, there: bool) -> CandleResult<Vec<T>> {
    let mut out = Vec::new();
    let room = match there {
        true => device::within(|| out.try_reserve_exact(len)),
        false => out.try_reserve_exact(len),
    };
    let bytes = len * size_of::<T>();
    room.map_err(|_| Error::Msg(format!("no memory for {bytes} bytes that are sent")))?;
    // SAFETY: numbers, of which every bit pattern is one and which nothing drops. They
    // are read only after a call has written all of them.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len)
    };
    Ok(out)
}

/// The elements of a tensor, from its storage and layout.
fn elements<'a, T: Number>(
    (storage, layout): &'a (impl Deref<Target = Storage>, &Layout),
) -> CandleResult<&'a [T]> {
    let (Storage::Cpu(cpu), Some((start, end))) =
        (&**storage, layout.contiguous_offsets())
    else {
        bail!("ranks exchange contiguous tensors on the CPU")
    };
    Ok(&T::cpu_storage_as_slice(cpu)?[start..end])
}

/// A tensor on its way to another rank.
#[must_use = "it is sent only when that was waited for"]
pub struct SentTensor {
    /// (It goes before the tensor does, and its drop waits.)
    pending: Pending<()>,
    _x: Tensor,
}

impl SentTensor {
    /// Whether it has been received, or will never be: waiting would take no time.
    pub fn is_over(&self) -> bool {
        self.pending.is_over()
    }
    /// Waits until it has been received.
    ///
    /// # Errors
    /// The receiver expects something else, failed, or will never receive it.
    pub fn wait(self) -> CandleResult<()> {
        Ok(self.pending.wait()?)
    }
}

/// A call on the memory of a tensor. (The call goes before the tensor does.)
struct OnTensor<T: Number> {
    state: State<T>,
    _input: Tensor,
}

enum State<T: Number> {
    Over(Vec<T>),
    UnderWay(Pending<Vec<T>>),
}

impl<T: Number> OnTensor<T> {
    fn wait(self) -> Result<Vec<T>> {
        match self.state {
            State::Over(out) => Ok(out),
            State::UnderWay(pending) => pending.wait(),
        }
    }
}

/// `[a, b, ..]`, which `x` is seen as, to `[b, a, ..]`.
fn swap(x: &Tensor, a: usize, b: usize) -> CandleResult<Tensor> {
    let part = x.elem_count() / (a * b).max(1);
    with_number!(x.dtype(), T => {
        let storage = x.storage_and_layout();
        let from = elements::<T>(&storage)?;
        if device::of(from.as_ptr()).is_none() {
            return x.reshape((a, b, ()))?.transpose(0, 1)?.contiguous();
        }
        let mut out = uninit::<T>(from.len(), true)?;
        for (i, from) in from.chunks_exact(part.max(1)).enumerate() {
            let to = out[(i % b * a + i / b) * part..].as_mut_ptr();
            // SAFETY: both are of so many elements.
            unsafe { device::copy(to, from.as_ptr(), part) }.map_err(Error::msg)?;
        }
        Tensor::from_vec(out, (b, a, part), &Device::Cpu)
    })
}
