//! A call that a rank has posted, as its rank, the thread that carries it and the one
//! that reports at the end see it.
use crate::call::Call;
use crate::engine::Part;
use crate::error::Result;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

pub(super) struct Ticket {
    pub part: Part,
    /// Its memory is lent until the ticket says that it is over.
    pub call: Call,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    /// The rank sleeps until it is over.
    waits: bool,
    /// Ranks without which it does not go on.
    awaits: Vec<usize>,
    /// One of them has returned.
    hopeless: bool,
    over: Option<(Instant, Result<()>)>,
}

impl Ticket {
    pub fn new(part: Part, call: Call) -> Ticket {
        let all = part.members.iter().enumerate();
        let others = all.filter(|(place, _)| *place != part.place);
        let awaits = others.map(|(_, rank)| *rank).collect();
        let state = Mutex::new(State { awaits, ..State::default() });
        Ticket { part, call, state, bell: Condvar::new() }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// It does not go on without these.
    pub fn awaits(&self, ranks: impl Iterator<Item = usize>) {
        let mut state = self.state();
        state.awaits.clear();
        state.awaits.extend(ranks);
        state.awaits.sort();
        state.awaits.dedup();
    }
    pub fn awaited(&self) -> Vec<usize> {
        self.state().awaits.clone()
    }
    pub fn lose_hope(&self) {
        self.state().hopeless = true;
    }
    /// It is over: the memory is the rank's again.
    pub fn end(&self, outcome: Result<()>) {
        let mut state = self.state();
        state.over.get_or_insert((Instant::now(), outcome));
        self.bell.notify_all();
    }
    pub fn is_over(&self) -> bool {
        self.state().over.is_some()
    }
    /// It is, or will never be.
    pub fn is_settled(&self) -> bool {
        let state = self.state();
        state.over.is_some() || state.hopeless
    }
    pub fn over_at(&self) -> Option<Instant> {
        self.state().over.as_ref().map(|(at, _)| *at)
    }
    pub fn is_waited_for(&self) -> bool {
        self.state().waits
    }
    /// # Errors
    /// It failed.
    pub fn wait(&self) -> Result<()> {
        let mut state = self.state();
        state.waits = true;
        loop {
            if let Some((_, outcome)) = &state.over {
                return outcome.clone();
            }
            state = self.bell.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }
    /// `all_reduce (Sum) of 4 f32 for ..., at ...: call 3 of group dp [0, 1]`
    pub fn name(&self) -> String {
        format!("{}: {}", self.call, self.part.name())
    }
}
