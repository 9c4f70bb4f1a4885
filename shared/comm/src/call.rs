//! A call of one rank: what it asks for, with what memory, from where.
use crate::kernels::{
    all_gather, all_reduce, all_to_all, broadcast, message, nothing, reduce_scatter,
};
use crate::number::Number;
use candle_core::DType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::panic::Location;

/// How numbers of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// The largest; NaN if one is.
    Max,
    /// Their sum over the number of ranks; of floats only.
    Average,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    AllReduce(Reduce),
    AllGather,
    ReduceScatter(Reduce),
    AllToAll,
    Broadcast {
        root: usize,
    },
    Barrier,
    /// To or from a place in the group: the two ends of a message.
    Send(usize),
    Recv(usize),
}

impl Op {
    /// As in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Op::AllReduce(_) => "all_reduce",
            Op::AllGather => "all_gather",
            Op::ReduceScatter(_) => "reduce_scatter",
            Op::AllToAll => "all_to_all",
            Op::Broadcast { .. } => "broadcast",
            Op::Barrier => "barrier",
            Op::Send(_) => "send",
            Op::Recv(_) => "recv",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Op::AllReduce(how) | Op::ReduceScatter(how) => write!(f, " ({how:?})"),
            Op::Broadcast { root } => write!(f, " from place {root}"),
            Op::Send(to) => write!(f, " to place {to}"),
            Op::Recv(from) => write!(f, " from place {from}"),
            Op::AllGather | Op::AllToAll | Op::Barrier => Ok(()),
        }
    }
}

/// Does one member's part of a call, when all members have made theirs.
///
/// # Safety
/// The pointers of all calls are valid for their lengths, and nobody else touches what
/// they point to, but the parts that other members do of the same call.
type Work = unsafe fn(calls: &[&Call], place: usize);

/// One member's call.
#[derive(Clone)]
pub(crate) struct Call {
    pub op: Op,
    pub dtype: DType,
    /// Elements, and where they are.
    pub input: (usize, *const u8),
    pub output: (usize, *mut u8),
    /// Elements for and from each place; of an all-to-all.
    pub counts: [Vec<usize>; 2],
    /// What it is for, in the ledger's words.
    pub family: &'static str,
    pub at: At,
    pub work: Work,
    /// As a reduce-scatter does it, of all inputs for the output of the first.
    #[cfg_attr(not(feature = "mpi"), expect(dead_code))]
    pub merge: Work,
}

/// A line of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub file: &'static str,
    pub line: u32,
    pub column: u32,
}

impl From<&'static Location<'static>> for At {
    fn from(at: &'static Location<'static>) -> At {
        At { file: at.file(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

// SAFETY: the memory behind the pointers is lent until the call is over: by a borrow
// that waits for it, or a lease that the pending call owns.
unsafe impl Send for Call {}
unsafe impl Sync for Call {}

impl Call {
    #[track_caller]
    pub fn new<T: Number>(
        op: Op,
        family: &'static str,
        input: &[T],
        output: &mut [T],
    ) -> Call {
        let output = (output.len(), output.as_mut_ptr());
        Call::of::<T>(op, family, (input.len(), input.as_ptr()), output)
    }
    /// Of which the result replaces the data.
    #[track_caller]
    pub fn in_place<T: Number>(op: Op, family: &'static str, data: &mut [T]) -> Call {
        let (len, start) = (data.len(), data.as_mut_ptr());
        Call::of::<T>(op, family, (len, start.cast_const()), (len, start))
    }
    #[track_caller]
    fn of<T: Number>(
        op: Op,
        family: &'static str,
        input: (usize, *const T),
        output: (usize, *mut T),
    ) -> Call {
        Call {
            op,
            dtype: T::DTYPE,
            input: (input.0, input.1.cast()),
            output: (output.0, output.1.cast()),
            counts: [vec![], vec![]],
            family,
            at: Location::caller().into(),
            merge: reduce_scatter::<T>,
            work: match op {
                Op::AllReduce(_) => all_reduce::<T>,
                Op::AllGather => all_gather::<T>,
                Op::ReduceScatter(_) => reduce_scatter::<T>,
                Op::AllToAll => all_to_all::<T>,
                Op::Broadcast { .. } => broadcast::<T>,
                Op::Barrier => nothing,
                Op::Send(_) | Op::Recv(_) => message::<T>,
            },
        }
    }
    /// One without memory: for a rank that only compares.
    #[cfg(any(feature = "mpi", feature = "cuda"))]
    pub fn of_others(
        op: Op,
        dtype: DType,
        lengths: [usize; 2],
        counts: [Vec<usize>; 2],
        family: &'static str,
        at: At,
    ) -> Call {
        let input = (lengths[0], std::ptr::null());
        let output = (lengths[1], std::ptr::null_mut());
        let (work, merge) = (nothing as Work, nothing as Work);
        Call { op, dtype, input, output, counts, family, at, work, merge }
    }
    /// Of the input, `range` alone.
    pub fn keep_input(&mut self, range: Range<usize>) {
        let bytes = range.start * self.dtype.size_in_bytes();
        self.input = (range.len(), self.input.1.wrapping_add(bytes));
    }
    /// Of the output, `range` alone.
    pub fn keep_output(&mut self, range: Range<usize>) {
        let bytes = range.start * self.dtype.size_in_bytes();
        self.output = (range.len(), self.output.1.wrapping_add(bytes));
    }
    /// Bytes that a ring of `n` sends for it, from this member on; what does not divide
    /// is padded.
    pub fn bytes(&self, n: usize, place: usize) -> u64 {
        let elements = match self.op {
            Op::AllReduce(_) => 2 * (n - 1) * self.input.0.div_ceil(n),
            Op::AllGather => (n - 1) * self.input.0,
            Op::ReduceScatter(_) => (n - 1) * self.output.0,
            Op::AllToAll => self.input.0 - self.counts[0][place],
            // Handed on along the ring; the root's predecessor is the last.
            Op::Broadcast { root } if (place + 1) % n == root => 0,
            Op::Broadcast { .. } | Op::Send(_) => self.input.0,
            Op::Barrier | Op::Recv(_) => 0,
        };
        (elements * self.dtype.size_in_bytes()) as u64
    }
    /// Whether it is the same call as `other`, as far as two members can tell.
    pub fn agrees(&self, other: &Call) -> bool {
        let same_op = match (self.op, other.op) {
            (Op::Send(_), Op::Recv(_)) => self.input.0 == other.output.0,
            (Op::Recv(_), Op::Send(_)) => self.output.0 == other.input.0,
            (Op::AllToAll, Op::AllToAll) => true,
            (a, b) => a == b && self.input.0 == other.input.0,
        };
        same_op && self.dtype == other.dtype && self.family == other.family
    }
    /// # Safety
    /// As for [`Work`].
    pub unsafe fn input<T>(&self, range: Range<usize>) -> &[T] {
        debug_assert!(range.end <= self.input.0);
        // SAFETY: the caller's.
        unsafe {
            let start = self.input.1.cast::<T>().add(range.start);
            std::slice::from_raw_parts(start, range.len())
        }
    }
    /// # Safety
    /// As for [`Work`].
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn output<T>(&self, range: Range<usize>) -> &mut [T] {
        debug_assert!(range.end <= self.output.0);
        // SAFETY: the caller's.
        unsafe {
            let start = self.output.1.cast::<T>().add(range.start);
            std::slice::from_raw_parts_mut(start, range.len())
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        let dtype = self.dtype.as_str();
        match self.op {
            Op::Barrier => {}
            Op::AllToAll => {
                let [to, from] = &self.counts;
                write!(f, " of {to:?} {dtype} for {from:?}")?
            }
            Op::Recv(_) => write!(f, " of {} {dtype}", self.output.0)?,
            _ => write!(f, " of {} {dtype}", self.input.0)?,
        }
        write!(f, " for `{}`, at {}", self.family, self.at)
    }
}
