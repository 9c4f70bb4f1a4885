//! What ranks tell each other beside the data: NCCL itself says nothing of who failed,
//! or of what others call.
use super::seat::Seat;
use crate::call::Call;
use crate::engine::Part;
use crate::error::{Error, Result};
use crate::world::{Slot, World};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// One rank's view of it.
pub(super) trait Board: Send + Sync {
    /// As of an [`Engine`](crate::engine::Engine).
    ///
    /// # Errors
    /// Another group has that number.
    fn group(&self, words: String) -> Result<u64>;
    /// This rank makes its part of a call.
    ///
    /// # Errors
    /// It disagrees with what others have posted, or an earlier call has failed.
    fn post(&self, part: &Part, call: &Call) -> Result<Option<Arc<Slot>>>;
    /// Whether all members have posted theirs; of calls that are not compared, yes.
    fn has_agreed(&self, seat: &Seat) -> bool;
    /// The rank waits for that call: returns when all have posted theirs, if it is
    /// known; or will never.
    fn waits(&self, seat: &Seat);
    /// That call is over.
    fn over(&self, seat: &Seat);
    /// Whether that call will never be made, as far as is known.
    fn is_hopeless(&self, seat: &Seat) -> bool;
    /// Why no call can be made any more; or why this one will never be.
    fn failure(&self, seat: Option<&Seat>) -> Option<Error>;
    /// Fails all calls of all ranks; returns why the first failed.
    fn fail(&self, error: Error) -> Error;
    /// Lets all ranks know bytes under a name.
    ///
    /// # Errors
    /// They cannot be reached.
    fn tell(&self, name: String, bytes: Vec<u8>) -> Result<()>;
    /// What was told under that name, if it was.
    fn told(&self, name: &str) -> Option<Vec<u8>>;
}

/// All ranks are threads of this process: their calls are compared in any case.
pub(super) struct Local {
    pub world: Arc<World>,
    pub rank: usize,
    pub notes: Arc<Notes>,
}

/// What was told, for all ranks.
#[derive(Default)]
pub(super) struct Notes(Mutex<HashMap<String, Vec<u8>>>);

impl Notes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Board for Local {
    fn group(&self, words: String) -> Result<u64> {
        Ok(self.world.group(words))
    }
    fn post(&self, part: &Part, call: &Call) -> Result<Option<Arc<Slot>>> {
        let (slot, _) = self.world.post(part.clone(), call.clone())?;
        Ok(Some(slot))
    }
    fn has_agreed(&self, seat: &Seat) -> bool {
        seat.slot.as_ref().is_none_or(|slot| slot.is_ready())
    }
    fn waits(&self, seat: &Seat) {
        if let Some(slot) = &seat.slot {
            // That it is in vain is a failure, of which the lane hears as well.
            let _ = self.world.wait(slot, Some(self.rank), Slot::is_ready);
        }
    }
    fn over(&self, _: &Seat) {}
    fn is_hopeless(&self, seat: &Seat) -> bool {
        seat.slot.as_ref().is_some_and(|slot| self.world.is_hopeless(slot))
    }
    fn failure(&self, seat: Option<&Seat>) -> Option<Error> {
        self.world.failure().or_else(|| {
            // Nobody will wait for it, and find that out: its rank has forgotten it.
            let gone = self.world.has_returned(self.rank);
            let seat = seat.filter(|seat| gone && self.is_hopeless(seat))?;
            Some(Error::new(format!("{}: not all have made it", seat.name())))
        })
    }
    fn fail(&self, error: Error) -> Error {
        self.world.give_up(error.clone());
        self.world.failure().unwrap_or(error)
    }
    fn tell(&self, name: String, bytes: Vec<u8>) -> Result<()> {
        self.notes.lock().insert(name, bytes);
        Ok(())
    }
    fn told(&self, name: &str) -> Option<Vec<u8>> {
        self.notes.lock().get(name).cloned()
    }
}
