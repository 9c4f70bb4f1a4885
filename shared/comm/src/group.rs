//! Some of the ranks, and their calls.
use crate::call::{Call, Op, Reduce};
use crate::engine::{Engine, Flight, Key, Part};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::number::Number;
use crate::pending::{Lease, Pending};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};

/// One rank's handle on a group of ranks. Clones are the same handle.
///
/// Every member makes the same collective calls in the same order, each with a label of
/// what it is for (its *family*, in the [`Ledger`]); calls of different groups may
/// overtake each other. In a group of one, nothing is sent and nothing is booked.
///
/// A handle stays in the thread of its rank, of which it is known at any time whether
/// it computes or waits.
#[derive(Clone)]
pub struct Group(Arc<Inner>, PhantomData<*const ()>);

struct Inner {
    engine: Arc<dyn Engine>,
    /// The number of the group, the same for all members.
    id: u64,
    /// `dp`.
    name: Arc<str>,
    /// `dp [0, 2]`.
    title: Arc<str>,
    /// Ranks of the world, in the order of their places.
    members: Arc<[usize]>,
    /// Which of them this is.
    place: usize,
    ledger: Ledger,
    order: Mutex<Order>,
}

/// What came before.
#[derive(Default)]
struct Order {
    calls: u64,
    /// Messages, by their ends.
    messages: HashMap<[usize; 2], u64>,
    /// Subgroups, by what makes them different.
    subgroups: HashMap<String, u64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.left(self.id);
    }
}

impl Group {
    /// Of all ranks; `words` make it another one than that of any other launch.
    pub(crate) fn world(
        engine: Arc<dyn Engine>,
        words: String,
        ranks: usize,
        rank: usize,
    ) -> Result<Group> {
        let id = engine.group(words)?;
        let members = (0..ranks).collect();
        Ok(Group::new(engine, id, "world", members, rank, Ledger::default()))
    }
    fn new(
        engine: Arc<dyn Engine>,
        id: u64,
        name: &str,
        members: Arc<[usize]>,
        place: usize,
        ledger: Ledger,
    ) -> Group {
        let title = format!("{name} {members:?}").into();
        let (name, order) = (name.into(), Mutex::default());
        let inner = Inner { engine, id, name, title, members, place, ledger, order };
        Group(Arc::new(inner), PhantomData)
    }
    fn order(&self) -> MutexGuard<'_, Order> {
        self.0.order.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// This rank's place in the group.
    pub fn rank(&self) -> usize {
        self.0.place
    }
    /// The number of members.
    pub fn size(&self) -> usize {
        self.0.members.len()
    }
    /// The members' ranks in the world, in the order of their places.
    pub fn members(&self) -> &[usize] {
        &self.0.members
    }
    /// What it was named.
    pub fn name(&self) -> &str {
        &self.0.name
    }
    /// This rank's ledger, the same for all of its groups.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The group of those `places` of this one, in that order, of which this rank's is
    /// one. Nothing is sent: each of its members makes it by itself.
    ///
    /// # Errors
    /// A place is named twice, or is none, or this rank's is not among them.
    pub fn subgroup(&self, name: &str, places: &[usize]) -> Result<Group> {
        let wrong = |why: String| {
            Error::new(format!(
                "group {name} of places {places:?} of {}: {why}",
                self.0.title
            ))
        };
        for (i, place) in places.iter().enumerate() {
            if *place >= self.size() {
                let last = self.size() - 1;
                return Err(wrong(format!("there is no {place}, but 0 to {last}")));
            }
            if places[..i].contains(place) {
                return Err(wrong(format!("{place} is named twice")));
            }
        }
        let Some(place) = places.iter().position(|place| *place == self.rank()) else {
            return Err(wrong(format!("{}, who makes it, is not in it", self.rank())));
        };
        let members: Arc<[usize]> =
            places.iter().map(|place| self.0.members[*place]).collect();
        let words = format!("{} of {}: {members:?}", name, self.0.id);
        let mut order = self.order();
        let before = order.subgroups.entry(words.clone()).or_default();
        let words = format!("{words}, {before}");
        *before += 1;
        drop(order);
        let (engine, ledger) = (self.0.engine.clone(), self.0.ledger.clone());
        let id = engine.group(words)?;
        Ok(Group::new(engine, id, name, members, place, ledger))
    }
    /// The groups of those with the same `color`, in the order of `key`, and of places
    /// where keys are equal. Every member makes this call.
    ///
    /// # Errors
    /// As for every collective.
    #[track_caller]
    pub fn split(&self, name: &str, color: i64, key: i64) -> Result<Group> {
        let mut all = vec![0; 2 * self.size()];
        self.all_gather("split", &[color, key], &mut all)?;
        let mut places: Vec<usize> =
            (0..self.size()).filter(|i| all[2 * i] == color).collect();
        places.sort_by_key(|place| all[2 * place + 1]);
        self.subgroup(name, &places)
    }

    /// Makes a call, and waits for it.
    pub(crate) fn collective(&self, call: Call) -> Result<()> {
        if self.size() == 1 {
            // In place, what one member's data becomes is there already.
            if call.input.1 != call.output.1.cast_const() {
                // SAFETY: the call's memory is lent to it; there is no other member.
                unsafe { (call.work)(&[&call], 0) }
            }
            return Ok(());
        }
        let stopwatch = self.book(&call);
        self.post(call, false)?.wait()?;
        stopwatch.stop();
        Ok(())
    }
    pub(crate) fn message(&self, call: Call, other: usize) -> Result<()> {
        let stopwatch = self.book(&call);
        self.post_message(call, other)?.wait()?;
        stopwatch.stop();
        Ok(())
    }
    #[track_caller]
    pub(crate) fn start<L>(
        &self,
        mut call: Call,
        lease: Lease<L>,
    ) -> Result<Pending<L>> {
        call.at = Location::caller().into();
        // If anything fails before the call is posted, the lease ends here.
        let mut pending = Pending::new(lease);
        if self.size() == 1 {
            self.collective(call)?;
            return Ok(pending);
        }
        let stopwatch = self.book(&call);
        let flight = self.post(call, true)?;
        pending.fly(self.clone(), flight, stopwatch);
        Ok(pending)
    }
    #[track_caller]
    pub(crate) fn start_message<L>(
        &self,
        mut call: Call,
        other: usize,
        lease: Lease<L>,
    ) -> Result<Pending<L>> {
        call.at = Location::caller().into();
        let mut pending = Pending::new(lease);
        let stopwatch = self.book(&call);
        let flight = self.post_message(call, other)?;
        pending.fly(self.clone(), flight, stopwatch);
        Ok(pending)
    }
    fn post(&self, call: Call, started: bool) -> Result<Box<dyn Flight>> {
        let mut order = self.order();
        let key = Key { group: self.0.id, ends: None, ordinal: order.calls };
        order.calls += 1;
        drop(order);
        let Inner { engine, title, members, place, .. } = &*self.0;
        let (title, members) = (title.clone(), members.clone());
        engine.post(Part { key, title, members, place: *place }, call, started)
    }
    /// Posts one end of a message.
    pub(crate) fn post_message(
        &self,
        call: Call,
        other: usize,
    ) -> Result<Box<dyn Flight>> {
        let sends = matches!(call.op, Op::Send(_));
        let ends = if sends { [self.rank(), other] } else { [other, self.rank()] };
        let mut order = self.order();
        let ordinal = order.messages.entry(ends).or_default();
        let key = Key { group: self.0.id, ends: Some(ends), ordinal: *ordinal };
        *ordinal += 1;
        drop(order);
        let Inner { engine, title, members, .. } = &*self.0;
        let (title, members) = (title.clone(), ends.map(|place| members[place]).into());
        let place = usize::from(!sends);
        engine.post(Part { key, title, members, place }, call, true)
    }
    pub(crate) fn give_up(&self) {
        let why = format!("rank {} panicked with a call in flight", self.world_rank());
        self.0.engine.give_up(Error::new(why));
    }
    fn world_rank(&self) -> usize {
        self.0.members[self.0.place]
    }
    pub(crate) fn book(&self, call: &Call) -> crate::ledger::Stopwatch {
        let bytes = call.bytes(self.size(), self.rank());
        self.0.ledger.call(call.family, &self.0.name, call.op.name(), bytes)
    }
    #[track_caller]
    pub(crate) fn check_length(
        &self,
        op: &str,
        what: &str,
        n: usize,
        want: usize,
    ) -> Result<()> {
        if n == want {
            return Ok(());
        }
        Err(Error::new(format!(
            "rank {}: {op} in group {}: {what} has {n} elements, expected {want}, at \
             {}",
            self.world_rank(),
            self.0.title,
            Location::caller()
        )))
    }
    #[track_caller]
    pub(crate) fn check_place(&self, op: &str, place: usize) -> Result<()> {
        if place < self.size() {
            return Ok(());
        }
        Err(Error::new(format!(
            "rank {}: {op} in group {}: place {place}, expected 0 to {}, at {}",
            self.world_rank(),
            self.0.title,
            self.size() - 1,
            Location::caller()
        )))
    }
    #[track_caller]
    pub(crate) fn check_other(&self, op: &str, place: usize) -> Result<()> {
        self.check_place(op, place)?;
        if place != self.rank() {
            return Ok(());
        }
        Err(Error::new(format!(
            "rank {}: {op} in group {}: place {place} is this rank itself, at {}",
            self.world_rank(),
            self.0.title,
            Location::caller()
        )))
    }
    #[track_caller]
    pub(crate) fn check_average<T: Number>(&self, reduce: Reduce) -> Result<()> {
        let none = T::average(T::zero().widen(), 1).is_none();
        if reduce != Reduce::Average || !none {
            return Ok(());
        }
        Err(Error::new(format!(
            "rank {}: an average in group {}: {} numbers have no average: sum them, \
             at {}",
            self.world_rank(),
            self.0.title,
            T::DTYPE.as_str(),
            Location::caller()
        )))
    }
}
