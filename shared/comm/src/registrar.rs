//! What rank 0 keeps for all: who has failed or returned and, if it watches, who has
//! called what and who waits for whom.
use crate::engine::Key;
use crate::error::Error;
use crate::letters::Letter;
use crate::world::{Slot, World};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) struct Registrar {
    /// As between threads; but that nobody works in it.
    world: Arc<World>,
    /// Calls that not all have posted.
    slots: HashMap<Key, Arc<Slot>>,
    ranks: usize,
    quiet: usize,
    /// All know that no call can be made any more.
    told: bool,
}

/// What to say, and to whom.
pub(crate) type Mail = Vec<(usize, Letter)>;

impl Registrar {
    pub fn new(ranks: usize) -> Registrar {
        let world = World::new(ranks);
        Registrar { world, slots: HashMap::new(), ranks, quiet: 0, told: false }
    }
    /// What follows from what a rank says.
    pub fn hear(&mut self, from: usize, letter: Letter) -> Mail {
        let mut mail = vec![];
        // Whose doing it would be.
        let mut origin = 0;
        match letter {
            Letter::Posts(description) => {
                match description.read().and_then(|(part, call)| {
                    let key = part.key;
                    let (slot, _) = self.world.post(part, call)?;
                    Ok((key, slot))
                }) {
                    Ok((key, slot)) => {
                        mail = missing(key, &slot);
                        self.slots.insert(key, slot.clone());
                        if slot.is_ready() {
                            self.slots.remove(&key);
                        }
                    }
                    Err(error) => self.world.give_up(error),
                }
            }
            // What is ready is over soon.
            Letter::Waits(key) => {
                if let Some(slot) = self.slots.get(&key) {
                    self.world.lock().waits(from, slot);
                }
            }
            Letter::GivesUp(why) => {
                origin = from;
                self.world.give_up(Error::new(why));
            }
            Letter::Returns { why, posted } => {
                // That others wait for it is rank 0's finding.
                if why.is_some() {
                    origin = from;
                }
                self.world.returned(from, why.map(Error::new));
                mail = self.all(Letter::Returned { rank: from, posted });
            }
            Letter::Quiet => {
                self.quiet += 1;
                if self.quiet == self.ranks {
                    mail = self.all(Letter::AllQuiet);
                }
            }
            // From here.
            Letter::Missing(..)
            | Letter::Returned { .. }
            | Letter::Fails { .. }
            | Letter::AllQuiet
            | Letter::Leaves => {}
        }
        if let Some(error) = self.world.failure().filter(|_| !self.told) {
            self.told = true;
            // Before anything else: whoever returned did so for a reason.
            let why = error.to_string();
            mail.splice(0..0, self.all(Letter::Fails { origin, why }));
        }
        mail
    }
    fn all(&self, letter: Letter) -> Mail {
        (0..self.ranks).map(|rank| (rank, letter.clone())).collect()
    }
}

/// Tells those who have posted whom they wait for.
fn missing(key: Key, slot: &Slot) -> Mail {
    let missing: Vec<usize> = slot.missing().collect();
    let posted = slot.part.members.iter().filter(|rank| !missing.contains(rank));
    posted.map(|rank| (*rank, Letter::Missing(key, missing.clone()))).collect()
}
