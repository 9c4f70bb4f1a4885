//! A call of one rank: what it asks for, with what memory, from where.
use crate::number::Number;
use candle_core::DType;
use std::fmt;
use std::ops::Range;
use std::panic::Location;

/// How numbers of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// The largest; NaN if one is.
    Max,
    /// Their sum over the number of ranks; of floats only.
    Average,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    unsafe fn input<T>(&self, range: Range<usize>) -> &[T] {
        debug_assert!(range.end <= self.input.0);
        // SAFETY: the caller's.
        unsafe {
            let start = self.input.1.cast::<T>().add(range.start);
            std::slice::from_raw_parts(start, range.len())
        }
    }
    #[allow(clippy::mut_from_ref)]
    unsafe fn output<T>(&self, range: Range<usize>) -> &mut [T] {
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

/// Elements that are summed at a time: what stays in the first cache.
const BLOCK: usize = 1024;

/// The part of `0..len` that falls to `place` of `n`.
fn part(len: usize, n: usize, place: usize) -> Range<usize> {
    let each = len.div_ceil(n);
    (place * each).min(len)..((place + 1) * each).min(len)
}

/// For each element of `range`, what `how` makes of all inputs, in the order of the
/// places; `store` gets it in pieces.
unsafe fn reduce<T: Number>(
    calls: &[&Call],
    how: Reduce,
    range: Range<usize>,
    mut store: impl FnMut(Range<usize>, &[T::Sum]),
) {
    let mut sums: Vec<T::Sum> = Vec::with_capacity(BLOCK.min(range.len()));
    for start in range.clone().step_by(BLOCK) {
        let block = start..range.end.min(start + BLOCK);
        // SAFETY: the caller's: inputs are only read here, and each block before it is
        // stored.
        let inputs = calls.iter().map(|call| unsafe { call.input::<T>(block.clone()) });
        sums.clear();
        for (i, input) in inputs.enumerate() {
            match (i, how) {
                (0, _) => sums.extend(input.iter().map(|x| x.widen())),
                (_, Reduce::Max) => {
                    let each = sums.iter_mut().zip(input);
                    each.for_each(|(sum, x)| *sum = T::larger(*sum, x.widen()))
                }
                (_, Reduce::Sum | Reduce::Average) => {
                    let each = sums.iter_mut().zip(input);
                    each.for_each(|(sum, x)| *sum = T::plus(*sum, x.widen()))
                }
            }
        }
        if how == Reduce::Average {
            let n = calls.len();
            sums.iter_mut().for_each(|sum| *sum = T::average(*sum, n).unwrap_or(*sum));
        }
        store(block, &sums);
    }
}

/// Each member sums its part, for all of them.
unsafe fn all_reduce<T: Number>(calls: &[&Call], place: usize) {
    let Op::AllReduce(how) = calls[place].op else { return };
    let range = part(calls[place].input.0, calls.len(), place);
    // SAFETY: the caller's; parts are disjoint, and each block is read before it is
    // overwritten.
    unsafe {
        reduce::<T>(calls, how, range, |block, sums| {
            let Some((first, rest)) = calls.split_first() else { return };
            let first = first.output::<T>(block.clone());
            for (out, sum) in first.iter_mut().zip(sums) {
                *out = T::narrow(*sum);
            }
            for call in rest {
                call.output::<T>(block.clone()).copy_from_slice(first);
            }
        })
    }
}

unsafe fn reduce_scatter<T: Number>(calls: &[&Call], place: usize) {
    let Op::ReduceScatter(how) = calls[place].op else { return };
    let each = calls[place].output.0;
    // SAFETY: the caller's.
    unsafe {
        let range = place * each..(place + 1) * each;
        reduce::<T>(calls, how, range.clone(), |block, sums| {
            // Block by block: in place, it is the input of the blocks to come.
            let part = block.start - range.start..block.end - range.start;
            let out = calls[place].output::<T>(part);
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::narrow(*sum));
        })
    }
}

unsafe fn all_gather<T: Number>(calls: &[&Call], place: usize) {
    for (from, call) in calls.iter().enumerate() {
        let n = call.input.0;
        let range = from * n..(from + 1) * n;
        // SAFETY: the caller's.
        unsafe {
            let out = calls[place].output.1.cast::<T>().add(range.start);
            let input = call.input.1.cast::<T>();
            // In place, one's own part is there already.
            if out.cast_const() != input {
                std::ptr::copy_nonoverlapping(input, out, n);
            }
        }
    }
}

unsafe fn all_to_all<T: Number>(calls: &[&Call], place: usize) {
    let mut at = 0;
    for call in calls {
        let start: usize = call.counts[0][..place].iter().sum();
        let n = call.counts[0][place];
        // SAFETY: the caller's.
        unsafe {
            let out = calls[place].output::<T>(at..at + n);
            out.copy_from_slice(call.input::<T>(start..start + n));
        }
        at += n;
    }
}

unsafe fn broadcast<T: Number>(calls: &[&Call], place: usize) {
    let Op::Broadcast { root } = calls[place].op else { return };
    if place != root {
        let n = calls[place].output.0;
        // SAFETY: the caller's.
        unsafe {
            calls[place].output::<T>(0..n).copy_from_slice(calls[root].input(0..n))
        }
    }
}

/// Made by whichever end comes second, for both.
unsafe fn message<T: Number>(calls: &[&Call], _: usize) {
    let end = |sends: bool| calls.iter().find(|c| matches!(c.op, Op::Send(_)) == sends);
    let (Some(from), Some(to)) = (end(true), end(false)) else { return };
    let n = to.output.0;
    // SAFETY: the caller's.
    unsafe { to.output::<T>(0..n).copy_from_slice(from.input(0..n)) }
}

unsafe fn nothing(_: &[&Call], _: usize) {}
