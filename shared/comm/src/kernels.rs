//! What calls compute, each member a part of it, from the memory of all.
use crate::call::{Call, Op, Reduce};
use crate::device::{self, device};
use crate::number::Number;
use std::ops::Range;

/// Elements that are summed at a time: what stays in the first cache.
const BLOCK: usize = 1024;

/// The part of `0..len` that falls to `place` of `n`.
pub(crate) fn part(len: usize, n: usize, place: usize) -> Range<usize> {
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
pub(crate) unsafe fn all_reduce<T: Number>(calls: &[&Call], place: usize) {
    if let Some(on) = device(calls[place]) {
        // SAFETY: the caller's.
        return unsafe { device::all_reduce::<T>(on, calls, place) };
    }
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

pub(crate) unsafe fn reduce_scatter<T: Number>(calls: &[&Call], place: usize) {
    if let Some(on) = device(calls[place]) {
        // SAFETY: the caller's.
        return unsafe { device::reduce_scatter::<T>(on, calls, place) };
    }
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

pub(crate) unsafe fn all_gather<T: Number>(calls: &[&Call], place: usize) {
    if let Some(on) = device(calls[place]) {
        // SAFETY: the caller's.
        return unsafe { device::all_gather::<T>(on, calls, place) };
    }
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

pub(crate) unsafe fn all_to_all<T: Number>(calls: &[&Call], place: usize) {
    if let Some(on) = device(calls[place]) {
        // SAFETY: the caller's.
        return unsafe { device::all_to_all::<T>(on, calls, place) };
    }
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

pub(crate) unsafe fn broadcast<T: Number>(calls: &[&Call], place: usize) {
    if let Some(on) = device(calls[place]) {
        // SAFETY: the caller's.
        return unsafe { device::broadcast::<T>(on, calls, place) };
    }
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
pub(crate) unsafe fn message<T: Number>(calls: &[&Call], _: usize) {
    let end = |sends: bool| calls.iter().find(|c| matches!(c.op, Op::Send(_)) == sends);
    let (Some(from), Some(to)) = (end(true), end(false)) else { return };
    if let Some(on) = device(from) {
        // SAFETY: the caller's.
        return unsafe { device::message::<T>(on, from, to) };
    }
    let n = to.output.0;
    // SAFETY: the caller's.
    unsafe { to.output::<T>(0..n).copy_from_slice(from.input(0..n)) }
}

pub(crate) unsafe fn nothing(_: &[&Call], _: usize) {}
