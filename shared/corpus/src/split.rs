//! Rows of a stream: cut, shuffled, and drawn by number.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::shuffle::{permute, random, random_below};
use crate::stream::Stream;
use crate::{Batch, IGNORE};

/// Keep the two uses of the seed apart.
const ORDER: u64 = 1;
const OFFSET: u64 = 2;

/// A part of a corpus, for training or for validation. Cheap to clone and to share.
///
/// Its tokens are cut in rows of `seq_len + 1`, each beginning with the last token of
/// the one before: `seq_len` inputs and their targets. In training each *epoch* visits
/// the rows in an order of its own and, so that the cuts do not always fall at the same
/// place, shifts them by an offset of its own (one row per epoch is given up for that).
/// Validation rows are never shuffled or shifted.
#[derive(Clone)]
pub struct Split {
    pub(crate) stream: Arc<Stream>,

    /// Position in the stream of the first token, and how many there are.
    pub(crate) start: u64,
    pub(crate) tokens: u64,

    pub(crate) seq_len: usize,

    /// The seed of order and offset; `None` for validation.
    pub(crate) shuffle: Option<u64>,

    /// How attention is kept within documents.
    pub(crate) isolate: Isolate,
}

/// Whether a token may attend to documents before its own.
#[derive(Clone, Copy)]
pub(crate) enum Isolate {
    /// It may: plain causal attention.
    No,
    /// It may not; this token ends a document.
    At(u32),
    /// It may not; each row is a document (random tokens).
    Rows,
}

impl Split {
    /// Number of tokens, an end-of-document token after each document included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Rows of `seq_len` tokens in one epoch; 0 for a validation split that was not
    /// asked for.
    pub fn sequences(&self) -> u64 {
        let rows = self.tokens.saturating_sub(1) / self.seq_len as u64;
        // The row given up leaves room for the offset.
        if self.shuffle.is_some() && rows > 1 { rows - 1 } else { rows }
    }

    /// Tokens per row.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Rows `first .. first + rows` of the endless stream of epochs: a pure function of
    /// the seed and these two numbers, so that ranks may draw their rows apart.
    ///
    /// # Errors
    /// If the split is empty, or a token read is not one (a damaged `.bin`).
    pub fn batch(&self, first: u64, rows: usize) -> Result<Batch> {
        let per_epoch = self.sequences();
        ensure!(
            per_epoch > 0 || rows == 0,
            "a batch was asked of a split without rows ({} tokens, rows of {}); set \
             the validation fraction above 0 or give more text",
            self.tokens,
            self.seq_len
        );
        first.checked_add(rows as u64).with_context(|| {
            format!("rows {first} + {rows} are past the end of a 64-bit count")
        })?;

        let seq_len = self.seq_len;
        let isolated = !matches!(self.isolate, Isolate::No);
        let mut tokens = Vec::with_capacity(rows * seq_len);
        let mut targets = Vec::with_capacity(rows * seq_len);
        let mut starts = isolated.then(|| Vec::with_capacity(rows * seq_len));
        let mut row = vec![0; seq_len + 1];
        for index in first..first + rows as u64 {
            self.stream
                .read(self.start + self.row_start(index, per_epoch), &mut row)?;
            tokens.extend_from_slice(&row[..seq_len]);
            let at = targets.len();
            targets.extend_from_slice(&row[1..]);
            if let Some(starts) = &mut starts {
                self.isolate_row(&row[..seq_len], &mut targets[at..], starts);
            }
        }
        Ok(Batch { rows, seq_len, tokens, targets, document_starts: starts })
    }

    /// Batches from `position` on, which [`Batches::position`] gave before.
    pub fn iter_from(&self, position: Position) -> Batches {
        Batches { split: self.clone(), position }
    }

    /// Where in the split row `index` of the endless stream starts.
    fn row_start(&self, index: u64, per_epoch: u64) -> u64 {
        let (epoch, index) = (index / per_epoch, index % per_epoch);
        let Some(seed) = self.shuffle else { return index * self.seq_len as u64 };
        let spare = self.tokens - 1 - per_epoch * self.seq_len as u64;
        let offset = random_below(seed, OFFSET, epoch, spare + 1);
        let row = permute(index, per_epoch, random(seed, ORDER, epoch));
        offset + row * self.seq_len as u64
    }

    /// Adds where the document of each token of `row` starts, and drops the target of
    /// a token that ends one: it belongs to the next.
    fn isolate_row(&self, row: &[u32], targets: &mut [u32], starts: &mut Vec<u32>) {
        let mut start = 0;
        for (at, (&token, target)) in row.iter().zip(targets).enumerate() {
            starts.push(start);
            if let Isolate::At(end) = self.isolate
                && token == end
            {
                *target = IGNORE;
                start = at as u32 + 1;
            }
        }
    }
}

/// A place in the endless stream of rows: all that a checkpoint needs to go on exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The number of the next row.
    pub next: u64,
}

/// Batches one after the other, never ending.
#[derive(Clone)]
pub struct Batches {
    split: Split,
    position: Position,
}

impl Batches {
    /// The next `rows` rows.
    ///
    /// # Errors
    /// As [`Split::batch`]; the position then stays.
    pub fn next_batch(&mut self, rows: usize) -> Result<Batch> {
        let batch = self.split.batch(self.position.next, rows)?;
        self.position.next += rows as u64;
        Ok(batch)
    }

    /// Where the next batch starts: save it, and [`Split::iter_from`] goes on there.
    pub fn position(&self) -> Position {
        self.position
    }
}
