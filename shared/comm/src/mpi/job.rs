//! One rank's part of a call, as bytes that it exchanges with the other members.
//!
//! Every collective but a broadcast is made of exchanges between every two members, so
//! that none returns before all have called it. Sums are made by the same kernel and in
//! the same order as between threads, and have the same bits.
use super::ticket::Ticket;
use super::wire::{Awaited, Transfer, Wire};
use crate::call::{Call, Op, Reduce};
use crate::error::Result;
use crate::kernels::part;
use std::ffi::c_int;
use std::ops::Range;
use std::sync::Arc;

/// A call under way.
pub(super) struct Job {
    pub ticket: Arc<Ticket>,
    tag: c_int,
    /// Which of its exchanges comes next.
    step: usize,
    pub transfers: Vec<Transfer>,
    /// What others have sent to be summed, aligned for every type.
    scratch: Vec<u64>,
    /// Something went wrong: it is over when all calls are.
    broken: bool,
}

impl Job {
    pub fn new(ticket: Arc<Ticket>, tag: c_int) -> Job {
        Job { ticket, tag, step: 0, transfers: vec![], scratch: vec![], broken: false }
    }
    /// Goes as far as it can; returns whether that was to the end.
    ///
    /// # Errors
    /// MPI's; or another member has sent something else.
    pub fn work(&mut self, wire: &Wire, awaited: &mut Awaited) -> Result<bool> {
        loop {
            if !self.poll(awaited)? || self.broken {
                return Ok(false);
            }
            // SAFETY: the memory of the call is lent until the ticket says that it is
            // over. What is sent and what is received in one step never overlap, and no
            // step begins before the last one's transfers are over.
            if unsafe { self.advance(wire) }? {
                return Ok(true);
            }
        }
    }
    /// Changes when something has come of working on it.
    pub fn progress(&self) -> (usize, usize) {
        (self.step, self.transfers.len())
    }
    /// Whether nothing is under way.
    ///
    /// # Errors
    /// As for [`Job::work`].
    pub fn poll(&mut self, awaited: &mut Awaited) -> Result<bool> {
        let before = self.transfers.len();
        let mut outcome = Ok(());
        self.transfers.retain_mut(|transfer| match transfer.is_over(awaited) {
            Ok(over) => !over,
            // Nobody else shall take what came.
            Err(error) => {
                outcome = Err(error);
                true
            }
        });
        if self.transfers.len() < before {
            self.ticket.awaits(self.transfers.iter().map(|transfer| transfer.peer));
        }
        self.broken |= outcome.is_err();
        outcome?;
        Ok(self.transfers.is_empty())
    }
    /// Receives nothing any more but what is under way.
    pub fn wind_up(&mut self) {
        self.transfers.retain(|transfer| !transfer.is_awaited());
    }
    /// Starts the next exchange; returns whether there is none.
    unsafe fn advance(&mut self, wire: &Wire) -> Result<bool> {
        let ticket = self.ticket.clone();
        let Ticket { part: seat, call, .. } = &*ticket;
        let (n, me) = (seat.members.len(), seat.place);
        let others = move || (0..n).filter(move |place| *place != me);
        let step = self.step;
        self.step += 1;
        // SAFETY: the caller's.
        unsafe {
            match (call.op, step) {
                (Op::AllReduce(_), 0) => {
                    let len = call.input.0;
                    self.make_room(part(len, n, me).len());
                    for place in others() {
                        self.send(wire, place, part(len, n, place))?;
                        self.receive_to_sum(wire, place, part(len, n, me).len());
                    }
                }
                (Op::AllReduce(how), 1) => {
                    let len = call.input.0;
                    let own = part(len, n, me);
                    self.sum(how, own.clone(), own.start);
                    for place in others() {
                        self.send_output(wire, place, own.clone())?;
                        self.receive(wire, place, part(len, n, place));
                    }
                }
                (Op::ReduceScatter(_), 0) => {
                    let each = call.output.0;
                    self.make_room(each);
                    for place in others() {
                        self.send(wire, place, place * each..(place + 1) * each)?;
                        self.receive_to_sum(wire, place, each);
                    }
                }
                (Op::ReduceScatter(how), 1) => {
                    let each = call.output.0;
                    self.sum(how, me * each..(me + 1) * each, 0);
                }
                (Op::AllGather, 0) => {
                    let each = call.input.0;
                    self.keep(0..each, me * each);
                    for place in others() {
                        self.send(wire, place, 0..each)?;
                        self.receive(wire, place, place * each..(place + 1) * each);
                    }
                }
                (Op::AllToAll, 0) => {
                    let range = |which: usize, place: usize| {
                        let counts = &call.counts[which];
                        let start: usize = counts[..place].iter().sum();
                        start..start + counts[place]
                    };
                    self.keep(range(0, me), range(1, me).start);
                    for place in others() {
                        self.send(wire, place, range(0, place))?;
                        self.receive(wire, place, range(1, place));
                    }
                }
                (Op::Broadcast { root }, 0) if root == me => {
                    for place in others() {
                        self.send(wire, place, 0..call.input.0)?;
                    }
                }
                (Op::Broadcast { root }, 0) => {
                    self.receive(wire, root, 0..call.output.0);
                }
                (Op::Barrier, 0) => {
                    for place in others() {
                        self.send(wire, place, 0..0)?;
                        self.receive(wire, place, 0..0);
                    }
                }
                // Of a message, the ends are places 0 and 1.
                (Op::Send(_), 0) => self.send(wire, 1, 0..call.input.0)?,
                (Op::Recv(_), 0) => self.receive(wire, 0, 0..call.output.0),
                _ => return Ok(true),
            }
        }
        self.ticket.awaits(self.transfers.iter().map(|transfer| transfer.peer));
        Ok(false)
    }
    /// Sends of the input to a place.
    unsafe fn send(
        &mut self,
        wire: &Wire,
        place: usize,
        range: Range<usize>,
    ) -> Result<()> {
        let Ticket { part, call, .. } = &*self.ticket;
        // Not before somebody receives it: a message, like the rest, is over when it
        // has been received. Exchanges tell that by what comes back.
        let meets = matches!(call.op, Op::Send(_) | Op::Broadcast { .. });
        let bytes = (at(call, call.input.1, range.start), size(call, range.len()));
        let (to, transfers) = (part.members[place], &mut self.transfers);
        // SAFETY: the caller's.
        unsafe { wire.send(bytes, to, self.tag, meets, transfers) }
    }
    /// Sends of the output.
    unsafe fn send_output(
        &mut self,
        wire: &Wire,
        place: usize,
        range: Range<usize>,
    ) -> Result<()> {
        let Ticket { part, call, .. } = &*self.ticket;
        let start = at(call, call.output.1.cast_const(), range.start);
        let bytes = (start, size(call, range.len()));
        let (to, transfers) = (part.members[place], &mut self.transfers);
        // SAFETY: the caller's.
        unsafe { wire.send(bytes, to, self.tag, false, transfers) }
    }
    /// Receives into the output.
    unsafe fn receive(&mut self, wire: &Wire, place: usize, range: Range<usize>) {
        let Ticket { part, call, .. } = &*self.ticket;
        let start = at(call, call.output.1.cast_const(), range.start).cast_mut();
        let bytes = (start, size(call, range.len()));
        let (from, transfers) = (part.members[place], &mut self.transfers);
        // SAFETY: the caller's.
        unsafe { wire.receive(bytes, from, self.tag, transfers) }
    }
    /// Has room for what each member sends to be summed.
    fn make_room(&mut self, len: usize) {
        let each = size(&self.ticket.call, len).div_ceil(8);
        self.scratch = vec![0; each * self.ticket.part.members.len()];
    }
    fn room(&mut self, place: usize, len: usize) -> *mut u8 {
        let each = size(&self.ticket.call, len).div_ceil(8);
        self.scratch.as_mut_ptr().wrapping_add(place * each).cast()
    }
    unsafe fn receive_to_sum(&mut self, wire: &Wire, place: usize, len: usize) {
        let bytes = (self.room(place, len), size(&self.ticket.call, len));
        let from = self.ticket.part.members[place];
        // SAFETY: the scratch is this job's, and stays where it is while it goes on.
        unsafe { wire.receive(bytes, from, self.tag, &mut self.transfers) }
    }
    /// Sums the own part `range` of the input and what the others have sent, in the
    /// order of the places, to the output from `to` on.
    unsafe fn sum(&mut self, how: Reduce, range: Range<usize>, to: usize) {
        let ticket = self.ticket.clone();
        let Ticket { part, call, .. } = &*ticket;
        let (len, me) = (range.len(), part.place);
        let own = at(call, call.input.1, range.start);
        let output = at(call, call.output.1.cast_const(), to).cast_mut();
        let parts = (0..part.members.len()).map(|place| {
            let theirs = self.room(place, len).cast_const();
            let input = (len, if place == me { own } else { theirs });
            let op = Op::ReduceScatter(how);
            Call { op, input, output: (len, output), ..call.clone() }
        });
        let parts: Vec<Call> = parts.collect();
        let parts: Vec<&Call> = parts.iter().collect();
        // SAFETY: each input has that length, and nobody else touches the output. It
        // may be the own input, which the kernel reads before it writes.
        unsafe { (call.merge)(&parts, 0) }
        self.scratch = vec![];
    }
    /// Copies what stays here from the input to the output.
    unsafe fn keep(&mut self, range: Range<usize>, to: usize) {
        let call = &self.ticket.call;
        let from = at(call, call.input.1, range.start);
        let to = at(call, call.output.1.cast_const(), to).cast_mut();
        // In place, it is there already.
        if from != to.cast_const() {
            // SAFETY: the caller's; input and output are different memory.
            unsafe { std::ptr::copy_nonoverlapping(from, to, size(call, range.len())) }
        }
    }
}

fn size(call: &Call, len: usize) -> usize {
    len * call.dtype.size_in_bytes()
}

fn at(call: &Call, start: *const u8, index: usize) -> *const u8 {
    start.wrapping_add(size(call, index))
}
