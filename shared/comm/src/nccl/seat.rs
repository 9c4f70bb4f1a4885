//! A call that a rank has posted, as its rank and its lane see it.
use crate::call::{Call, Op};
use crate::engine::Part;
use crate::error::Result;
use crate::gpu::{Event, Gpu, Outcome};
use crate::world::Slot;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

pub(super) struct Seat {
    pub part: Part,
    /// Its memory is lent until the seat says that the call is over; or has started, if
    /// it is the GPU's, which from then on keeps the order.
    pub call: Call,
    /// Of calls that are compared.
    pub slot: Option<Arc<Slot>>,
    /// What the GPU's memory waits for: that kernels have made what the call reads.
    pub ready: Option<Arc<dyn Event>>,
    /// Input and output are in the processor's memory.
    pub of_host: [bool; 2],
    state: Mutex<State>,
    bell: Condvar,
}

enum State {
    Posted,
    /// The GPU has it; the event is its end.
    Started(Arc<dyn Event>),
    Over(Instant, Result<()>),
}

impl Seat {
    /// # Errors
    /// The GPU's.
    pub fn new(
        part: Part,
        call: Call,
        slot: Option<Arc<Slot>>,
        gpu: &dyn Gpu,
    ) -> Outcome<Seat> {
        let of_host = |len: usize, at: usize| len > 0 && !gpu.holds(at);
        let input = of_host(call.input.0, call.input.1.addr());
        // In place, it is the same answer.
        let output = match call.output.1.addr() == call.input.1.addr() {
            true => input && call.output.0 > 0,
            false => of_host(call.output.0, call.output.1.addr()),
        };
        let on_gpu = (call.input.0 > 0 && !input) || (call.output.0 > 0 && !output);
        let ready = on_gpu.then(|| gpu.kernels().mark()).transpose()?;
        let (state, bell) = (Mutex::new(State::Posted), Condvar::new());
        Ok(Seat { part, call, slot, ready, of_host: [input, output], state, bell })
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Of this rank nothing is sent, and nothing comes. Others see the same lengths,
    /// but of an all-to-all.
    pub fn is_empty(&self) -> bool {
        self.call.input.0 == 0 && self.call.output.0 == 0 && !self.is_barrier()
    }
    pub fn is_barrier(&self) -> bool {
        self.call.op == Op::Barrier
    }
    /// The rank goes on only when it is over: what follows is done by the processor,
    /// which no stream holds back.
    pub fn is_of_host(&self) -> bool {
        self.of_host != [false; 2] || self.is_barrier()
    }
    pub fn input_bytes(&self) -> usize {
        self.call.input.0 * self.call.dtype.size_in_bytes()
    }
    pub fn output_bytes(&self) -> usize {
        self.call.output.0 * self.call.dtype.size_in_bytes()
    }
    pub fn start(&self, end: Arc<dyn Event>) {
        *self.state() = State::Started(end);
        self.bell.notify_all();
    }
    pub fn end(&self, outcome: Result<()>) {
        *self.state() = State::Over(Instant::now(), outcome);
        self.bell.notify_all();
    }
    pub fn over_at(&self) -> Option<Instant> {
        match &*self.state() {
            State::Over(at, _) => Some(*at),
            State::Posted | State::Started(_) => None,
        }
    }
    /// Whether it has started, and is over for the GPU.
    ///
    /// # Errors
    /// The GPU's.
    pub fn has_ended(&self) -> Outcome<bool> {
        match &*self.state() {
            State::Posted => Ok(false),
            State::Started(end) => end.is_over(),
            State::Over(..) => Ok(true),
        }
    }
    /// Waits until the GPU has it, or it is over; returns its end if that is to come.
    ///
    /// # Errors
    /// It failed.
    pub fn wait(&self) -> Result<Option<Arc<dyn Event>>> {
        let mut state = self.state();
        loop {
            match &*state {
                State::Started(end) => return Ok(Some(end.clone())),
                State::Over(_, outcome) => return outcome.clone().map(|()| None),
                State::Posted => {}
            }
            state = self.bell.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }
    /// `all_reduce (Sum) of 4 f32 for ..., at ...: call 3 of group dp [0, 1]`
    pub fn name(&self) -> String {
        format!("{}: {}", self.call, self.part.name())
    }
}
