//! As [`kernels`](crate::kernels), of what is in a GPU's memory.
//!
//! Ranks that share a GPU share its one stream. So a copy or a sum that is started
//! here, after all members have posted, comes after what any of them started before,
//! and before what any of them will: nobody waits for the GPU.
use crate::call::{Call, Op, Reduce};
use crate::kernels::part;
use crate::number::Number;
use candle_core::DType;
use kernels::engine::{Engine, of};
use kernels::reduce::{How, reduce};
use kernels::{Number as Stored, Ptr};
use std::ops::Range;

/// The device whose memory a call works on, if it is one's.
pub(crate) fn device(call: &Call) -> Option<&'static dyn Engine> {
    of(call.input.1).or_else(|| of(call.output.1.cast_const()))
}

/// What fails now fails all ranks: others rely on this member's part.
fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// # Safety
/// As for [`crate::call::Call`]'s work.
unsafe fn copy<T>(on: &dyn Engine, to: *mut T, from: *const T, n: usize) {
    // In place, it is there already.
    if n > 0 && to.cast_const() != from {
        // SAFETY: the caller's.
        done(unsafe { on.copy(to.cast(), from.cast(), n * size_of::<T>()) })
    }
}

/// # Safety
/// As for [`copy`].
unsafe fn reduced<T: Number>(
    on: &dyn Engine,
    calls: &[&Call],
    how: Reduce,
    range: Range<usize>,
    to: *mut T,
) {
    let number = match T::DTYPE {
        DType::F32 => Stored::F32,
        DType::BF16 => Stored::Bf16,
        other => panic!("{other:?} of a GPU's memory: expected fp32 or bf16"),
    };
    let how = match how {
        Reduce::Sum => How::Sum,
        Reduce::Max => How::Max,
        Reduce::Average => How::Average,
    };
    let start = |call: &&Call| call.input.1.cast::<T>().wrapping_add(range.start);
    let from: Vec<Ptr> = calls.iter().map(|call| Ptr(start(call) as u64)).collect();
    let launch = reduce(number, how, range.len() as u64, &from, Ptr(to as u64));
    if !range.is_empty() {
        // SAFETY: the caller's.
        done(unsafe { on.launch(&done(launch)) });
    }
}

/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn all_reduce<T: Number>(
    on: &dyn Engine,
    calls: &[&Call],
    place: usize,
) {
    let Op::AllReduce(how) = calls[place].op else { return };
    let range = part(calls[place].input.0, calls.len(), place);
    let at = |call: &Call| call.output.1.cast::<T>().wrapping_add(range.start);
    let first = at(calls[0]);
    // SAFETY: the caller's; parts are disjoint.
    unsafe {
        reduced::<T>(on, calls, how, range.clone(), first);
        for call in &calls[1..] {
            copy(on, at(call), first, range.len());
        }
    }
}

/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn reduce_scatter<T: Number>(
    on: &dyn Engine,
    calls: &[&Call],
    place: usize,
) {
    let Op::ReduceScatter(how) = calls[place].op else { return };
    let (each, to) = calls[place].output;
    // SAFETY: the caller's.
    unsafe { reduced::<T>(on, calls, how, place * each..(place + 1) * each, to.cast()) }
}

/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn all_gather<T: Number>(
    on: &dyn Engine,
    calls: &[&Call],
    place: usize,
) {
    for (from, call) in calls.iter().enumerate() {
        let (n, input) = call.input;
        let to = calls[place].output.1.cast::<T>().wrapping_add(from * n);
        // SAFETY: the caller's.
        unsafe { copy(on, to, input.cast(), n) }
    }
}

/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn all_to_all<T: Number>(
    on: &dyn Engine,
    calls: &[&Call],
    place: usize,
) {
    let mut at = 0;
    for call in calls {
        let start: usize = call.counts[0][..place].iter().sum();
        let n = call.counts[0][place];
        let to = calls[place].output.1.cast::<T>().wrapping_add(at);
        // SAFETY: the caller's.
        unsafe { copy(on, to, call.input.1.cast::<T>().wrapping_add(start), n) }
        at += n;
    }
}

/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn broadcast<T: Number>(
    on: &dyn Engine,
    calls: &[&Call],
    place: usize,
) {
    let Op::Broadcast { root } = calls[place].op else { return };
    let (n, to) = calls[place].output;
    // SAFETY: the caller's.
    unsafe { copy::<T>(on, to.cast(), calls[root].input.1.cast(), n) }
}

/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn message<T: Number>(on: &dyn Engine, from: &Call, to: &Call) {
    let (n, at) = to.output;
    // SAFETY: the caller's.
    unsafe { copy::<T>(on, at.cast(), from.input.1.cast(), n) }
}
