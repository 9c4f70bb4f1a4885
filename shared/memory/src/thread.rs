//! What the current thread is working for: a rank and a family.

use crate::account::{Family, Place, RANKS};
use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    // Constant and without a destructor: the allocator may read it at any time, also
    // while a thread starts or ends.
    static HERE: Cell<Place> = const { Cell::new(Place::START) };
}

/// The place that this thread's next allocation is booked to.
pub(crate) fn here() -> Place {
    HERE.try_with(Cell::get).unwrap_or(Place::START)
}

/// Until it is dropped, this thread's allocations belong to a family; then the family
/// set before is back. Tags nest: drop the inner one first.
#[derive(Debug)]
#[must_use = "the tag ends when it is dropped: bind it to a name, `let _tag = …`"]
pub struct Tag {
    before: Family,
    /// Bound to its thread.
    _not_send: PhantomData<*const ()>,
}

/// Books what this thread allocates from now on to `family`, until the [`Tag`] is
/// dropped. A block stays in its family until it is freed, whoever frees it; growing
/// it (`Vec::push`) does not change its family either.
pub fn tag(family: Family) -> Tag {
    let place = here();
    HERE.set(Place { family, ..place });
    Tag { before: place.family, _not_send: PhantomData }
}

impl Drop for Tag {
    fn drop(&mut self) {
        HERE.set(Place { family: self.before, ..here() });
    }
}

/// Books what this thread allocates from now on to `rank`'s account. Ranks from
/// [`RANKS`](crate::RANKS)` - 1` on share the last account.
pub fn set_rank(rank: usize) {
    HERE.set(Place::new(rank, here().family));
}

/// Until it is dropped, this thread's allocations are no rank's; see [`nobody`].
#[derive(Debug)]
#[must_use = "this ends when it is dropped: bind it to a name, `let _nobody = …`"]
pub struct Nobody {
    before: Place,
    /// Bound to its thread.
    _not_send: PhantomData<*const ()>,
}

/// Books what this thread allocates from now on to the last account, which is no
/// rank's, until the [`Nobody`] is dropped: for what a process keeps whichever rank
/// needed it first. Another rank may replace it, and a rank's own account would lose
/// bytes while it frees nothing.
pub fn nobody() -> Nobody {
    let before = HERE.replace(Place::new(RANKS - 1, Family::Other));
    Nobody { before, _not_send: PhantomData }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        HERE.set(self.before);
    }
}

/// The account this thread's allocations go to, as set by [`set_rank`]; 0 at first.
pub fn rank() -> usize {
    here().rank as usize
}
