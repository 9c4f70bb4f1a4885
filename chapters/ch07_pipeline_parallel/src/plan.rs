//! What becomes of a schedule: whether it can be carried out, how long it takes, and
//! what it holds in memory. All of this is known before anything is computed.
use crate::schedule::{Action, Pass};
use anyhow::{Result, bail, ensure};
use std::collections::{HashMap, HashSet};

/// A schedule for some number of micro-batches that can be carried out: every action
/// happens once, on the stage that has its chunk, and what it needs arrives.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For each stage its actions, in order.
    pub stages: Vec<Vec<Action>>,
    /// For each chunk the stage that has it.
    pub places: Vec<usize>,
    /// The micro-batches of a step.
    pub micros: usize,
}

/// When a stage does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What.
    pub action: Action,
    /// From when.
    pub start: u64,
    /// Until when.
    pub end: u64,
}

/// What the passes through a chunk take, in any unit of time.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Forward.
    pub forward: u64,
    /// Of backward, the gradient of the input.
    pub input: u64,
    /// Of backward, those of the weights.
    pub weight: u64,
}

impl Costs {
    /// All the same: each is a matrix product for each matrix.
    pub const EQUAL: Costs = Costs { forward: 1, input: 1, weight: 1 };

    fn of(&self, pass: Pass) -> u64 {
        match pass {
            Pass::Forward => self.forward,
            Pass::Backward => self.input + self.weight,
            Pass::Input => self.input,
            Pass::Weight => self.weight,
        }
    }
}

impl Plan {
    /// Of `chunks` chunks and `micros` micro-batches.
    ///
    /// # Errors
    /// A stage has none, or an action is missing, is there twice or comes too early; a
    /// chunk is on no stage or on two; or the stages wait for each other for ever: says
    /// who for what.
    pub fn new(stages: Vec<Vec<Action>>, chunks: usize, micros: usize) -> Result<Plan> {
        let mut places = vec![None; chunks];
        for (stage, actions) in stages.iter().enumerate() {
            let mut seen = HashSet::new();
            for action in actions {
                let Action { pass, chunk, micro } = *action;
                ensure!(
                    chunk < chunks && micro < micros,
                    "stage {stage}: {action}, of {chunks} chunks and {micros} \
                     micro-batches, counted from 0"
                );
                let place = *places[chunk].get_or_insert(stage);
                ensure!(
                    place == stage,
                    "chunk {chunk} is on stages {place} and {stage}"
                );
                ensure!(seen.insert(*action), "stage {stage}: {action} comes twice");
                let needs = match pass {
                    Pass::Forward => continue,
                    Pass::Backward | Pass::Input => Pass::Forward,
                    Pass::Weight => Pass::Input,
                };
                let needs = Action { pass: needs, ..*action };
                ensure!(
                    seen.contains(&needs),
                    "stage {stage}: {action} comes before {needs}"
                );
                let whole = Action { pass: Pass::Backward, ..*action };
                let half = Action { pass: Pass::Input, ..*action };
                ensure!(
                    !seen.contains(&whole) || !seen.contains(&half),
                    "stage {stage}: both {whole} and {half}: expected one of them"
                );
            }
            for action in actions {
                let after = match action.pass {
                    Pass::Forward => [Pass::Backward, Pass::Input],
                    Pass::Input => [Pass::Weight; 2],
                    _ => continue,
                };
                let after = after.map(|pass| Action { pass, ..*action });
                ensure!(
                    after.iter().any(|action| seen.contains(action)),
                    "stage {stage}: {action}, but no {} after it",
                    after[0]
                );
            }
        }
        for (chunk, place) in places.iter().enumerate() {
            let Some(stage) = place else { bail!("chunk {chunk} is on no stage") };
            let here = |action: &&Action| {
                (action.pass, action.chunk) == (Pass::Forward, chunk)
            };
            let n = stages[*stage].iter().filter(here).count();
            ensure!(n == micros, "chunk {chunk}: {n} of {micros} micro-batches");
        }
        if let Some(stage) = stages.iter().position(Vec::is_empty) {
            bail!("stage {stage} has nothing to do");
        }
        let places = places.into_iter().flatten().collect();
        let plan = Plan { stages, places, micros };
        plan.timeline(Costs::EQUAL)?;
        Ok(plan)
    }
    /// The chunks of a stage, in order.
    pub fn chunks_of(&self, stage: usize) -> Vec<usize> {
        (0..self.places.len()).filter(|chunk| self.places[*chunk] == stage).collect()
    }
    /// What an action cannot begin without, if that is not in its own chunk: what is
    /// done in the chunk before, or behind.
    fn needs(&self, action: Action) -> Option<(usize, Action)> {
        let Action { pass, chunk, .. } = action;
        let other = match pass {
            Pass::Forward => chunk.checked_sub(1)?,
            _ if pass.goes_back() && chunk + 1 < self.places.len() => chunk + 1,
            _ => return None,
        };
        let is_it = |a: &&Action| {
            let same = if pass == Pass::Forward {
                a.pass == Pass::Forward
            } else {
                a.pass.goes_back()
            };
            same && (a.chunk, a.micro) == (other, action.micro)
        };
        let place = self.places[other];
        Some((place, *self.stages[place].iter().find(is_it)?))
    }
    /// Who does what when, where all chunks take as long and messages take no time.
    ///
    /// # Errors
    /// The stages wait for each other for ever.
    pub fn timeline(&self, costs: Costs) -> Result<Vec<Vec<Slot>>> {
        let mut ends: HashMap<Action, u64> = HashMap::new();
        let mut slots: Vec<Vec<Slot>> = vec![vec![]; self.stages.len()];
        loop {
            let mut moved = false;
            for (actions, slots) in self.stages.iter().zip(&mut slots) {
                while let Some(action) = actions.get(slots.len()) {
                    let arrives = match self.needs(*action) {
                        None => 0,
                        Some((_, needs)) => match ends.get(&needs) {
                            Some(end) => *end,
                            None => break,
                        },
                    };
                    let free = slots.last().map_or(0, |slot| slot.end);
                    let start = free.max(arrives);
                    let end = start + costs.of(action.pass);
                    slots.push(Slot { action: *action, start, end });
                    ends.insert(*action, end);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        let mut stuck = vec![];
        for (stage, (actions, slots)) in self.stages.iter().zip(&slots).enumerate() {
            if let Some(action) = actions.get(slots.len())
                && let Some((place, needs)) = self.needs(*action)
            {
                stuck.push(format!(
                    "stage {stage}, before {action}, for {needs} of stage {place}"
                ));
            }
        }
        let who = stuck.join("; ");
        ensure!(stuck.is_empty(), "the stages wait for each other for ever: {who}");
        Ok(slots)
    }
    /// The largest number of chunks' activations that a stage holds at any time: from a
    /// micro-batch's forward until its backward, or where that is in halves, until the
    /// second.
    pub fn most_held(&self, stage: usize) -> usize {
        let (mut held, mut most) = (0, 0);
        for action in &self.stages[stage] {
            match action.pass {
                Pass::Forward => held += 1,
                Pass::Backward | Pass::Weight => held -= 1,
                Pass::Input => {}
            }
            most = most.max(held);
        }
        most
    }
    /// What `from` sends to `to`, in the order in which it does: each as the action
    /// that waits for it.
    pub fn messages(&self, from: usize, to: usize) -> Vec<(Pass, usize, usize)> {
        let mut found = vec![];
        for Action { pass, chunk, micro } in &self.stages[from] {
            let (kind, next) = match pass {
                Pass::Forward => (Pass::Forward, chunk + 1),
                Pass::Backward | Pass::Input => match chunk.checked_sub(1) {
                    Some(before) => (Pass::Backward, before),
                    None => continue,
                },
                Pass::Weight => continue,
            };
            if self.places.get(next) == Some(&to) && from != to {
                found.push((kind, next, *micro));
            }
        }
        found
    }
}

/// The time in which a stage does nothing, and all the time until the last stage is
/// done, of a timeline.
pub fn idle(timeline: &[Vec<Slot>], stage: usize) -> (u64, u64) {
    let ends = timeline.iter().flatten().map(|slot| slot.end);
    let total = ends.max().unwrap_or(0);
    let busy: u64 = timeline[stage].iter().map(|slot| slot.end - slot.start).sum();
    (total - busy, total)
}

/// A line for each stage, a character for each unit of time: micro-batch 0 goes forward
/// as `0` and backward as `a`; the gradients of its weights, where they go alone, as
/// `A`.
pub fn draw(timeline: &[Vec<Slot>]) -> Vec<String> {
    let line = |slots: &Vec<Slot>| {
        let mut line = String::new();
        for slot in slots {
            let micro = (slot.action.micro % 130) as u8;
            let letter = match slot.action.pass {
                Pass::Forward => b'0' + micro % 10,
                Pass::Backward | Pass::Input => b'a' + micro % 26,
                Pass::Weight => b'A' + micro % 26,
            };
            line.extend(std::iter::repeat_n('.', slot.start as usize - line.len()));
            let time = (slot.end - slot.start) as usize;
            line.extend(std::iter::repeat_n(char::from(letter), time));
        }
        line
    };
    timeline.iter().map(line).collect()
}
