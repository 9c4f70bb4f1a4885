//! What processes tell each other beside data.
use crate::call::{At, Call, Op};
use crate::engine::{Key, Part};
use crate::error::{Error, Result};
use candle_core::DType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Calls of one kind, in order: a group's, or messages between two of its places.
pub(crate) type Stream = (u64, Option<[usize; 2]>);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Letter {
    /// To rank 0, when it watches all calls: I have made my part of this one.
    Posts(Description),
    /// To rank 0, when it watches: I wait for this one.
    Waits(Key),
    /// From rank 0: who has not made its part; when it is nobody, go.
    Missing(Key, Vec<usize>),
    /// To rank 0: no call can be made any more.
    GivesUp(String),
    /// To rank 0: I make no more calls; why, if I failed; and how many I made of each
    /// kind.
    Returns { why: Option<String>, posted: Vec<(Stream, u64)> },
    /// From rank 0: that rank makes no more calls.
    Returned { rank: usize, posted: Vec<(Stream, u64)> },
    /// From rank 0: no call can be made any more, because of what this rank said.
    Fails { origin: usize, why: String },
    /// To rank 0, after that: I receive nothing any more.
    Quiet,
    /// From rank 0: nobody does, so nobody reads what is still being sent.
    AllQuiet,
    /// To all: my process ends, and this was its last launch.
    Leaves,
}

/// One rank's part of a call, without its memory.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    key: Key,
    title: String,
    members: Vec<usize>,
    place: usize,
    op: Op,
    dtype: String,
    lengths: [usize; 2],
    counts: [Vec<usize>; 2],
    family: String,
    file: String,
    line: u32,
    column: u32,
}

impl Description {
    pub fn new(part: &Part, call: &Call) -> Description {
        Description {
            key: part.key,
            title: part.title.to_string(),
            members: part.members.to_vec(),
            place: part.place,
            op: call.op,
            dtype: call.dtype.as_str().to_string(),
            lengths: [call.input.0, call.output.0],
            counts: call.counts.clone(),
            family: call.family.to_string(),
            file: call.at.file.to_string(),
            line: call.at.line,
            column: call.at.column,
        }
    }
    /// # Errors
    /// There is no such type of numbers.
    pub fn read(self) -> Result<(Part, Call)> {
        let Description { key, title, members, place, op, dtype, .. } = self;
        let (title, members) = (title.into(), members.into());
        let dtype: DType = dtype
            .parse()
            .map_err(|_| Error::new(format!("numbers of type {dtype}: unknown")))?;
        let at = At { file: lasting(&self.file), line: self.line, column: self.column };
        let family = lasting(&self.family);
        let call = Call::of_others(op, dtype, self.lengths, self.counts, family, at);
        Ok((Part { key, title, members, place }, call))
    }
}

/// The same text, for as long as the program runs: of the few that are written in it.
fn lasting(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let text = Box::leak(text.to_string().into_boxed_str());
    texts.insert(text);
    text
}
