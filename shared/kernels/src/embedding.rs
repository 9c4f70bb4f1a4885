//! The embedding: rows of a table.
use crate::launch::{Launch, Number, Ptr};
use crate::source::EMBEDDING;
use crate::spans::spans;
use std::ops::Range;

#[derive(Clone, Copy)]
#[repr(C)]
struct Embedding {
    tokens: Ptr,
    table: Ptr,
    y: Ptr,
    first: u32,
    held: u32,
    width: u32,
}

/// `y [tokens, width]`: of each of `tokens [n]`, which are u32, its row of the `table
/// [held, width]`. Of a table of which only the rows `held` are here, tokens of other
/// rows give zeros. Whether a token is in the vocabulary at all, the caller checks.
pub fn forward(
    number: Number,
    (tokens, n): (Ptr, u32),
    (table, held): (Ptr, Range<u32>),
    width: u32,
    y: Ptr,
) -> Launch {
    let (first, held) = (held.start, held.end - held.start);
    let (spans, threads) = spans(number, width, 256);
    let blocks = u64::from(n) * u64::from(spans);
    let args = Embedding { tokens, table, y, first, held, width };
    Launch::new(EMBEDDING, "embedding", number, blocks, threads, args)
}

/// Where each row of a table occurs among tokens: so that its gradient can be summed by
/// one block, in one order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The rows that occur, each once, in ascending order, counted from the first that
    /// is held.
    pub rows: Vec<u32>,
    /// `[rows + 1]`: where in `places` those of each row begin, and where the last end.
    pub starts: Vec<u32>,
    /// The tokens' indices by row, and for a row in ascending order.
    pub places: Vec<u32>,
}

impl Places {
    /// Of `tokens` that are among the rows `held`: others are left out.
    pub fn of(tokens: &[u32], held: Range<u32>) -> Places {
        // The row above, the place below: these keys differ, so any sort will do.
        let mut keys: Vec<u64> = (0..)
            .zip(tokens)
            .filter(|(_, token)| held.contains(token))
            .map(|(place, token)| u64::from(token - held.start) << 32 | place)
            .collect();
        keys.sort_unstable();
        let row = |key: &u64| (key >> 32) as u32;
        let mut rows: Vec<u32> = vec![];
        let mut starts = vec![0];
        for same in keys.chunk_by(|a, b| row(a) == row(b)) {
            rows.push(row(&same[0]));
            starts.push(starts[starts.len() - 1] + same.len() as u32);
        }
        Places { rows, starts, places: keys.iter().map(|key| *key as u32).collect() }
    }
}

/// The addresses of [`Places`], and of how many rows.
#[derive(Clone, Copy, Debug)]
pub struct PlacesAt {
    /// Rows that occur.
    pub count: u32,
    /// Of [`Places::rows`].
    pub rows: Ptr,
    /// Of [`Places::starts`].
    pub starts: Ptr,
    /// Of [`Places::places`].
    pub places: Ptr,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct EmbeddingBackward {
    dy: Ptr,
    rows: Ptr,
    starts: Ptr,
    places: Ptr,
    grad: Ptr,
    width: u32,
}

/// Adds the rows of `dy [tokens, width]` to the table's gradient `grad [held, width]`,
/// which is in fp32. Rows that do not occur are left as they are.
pub fn backward(
    number: Number,
    places: PlacesAt,
    width: u32,
    dy: Ptr,
    grad: Ptr,
) -> Launch {
    let PlacesAt { count, rows, starts, places } = places;
    // Narrow spans: a frequent token's rows, which may be most of a batch, are summed
    // by several blocks.
    let (spans, threads) = spans(number, width, 64);
    let blocks = u64::from(count) * u64::from(spans);
    let args = EmbeddingBackward { dy, rows, starts, places, grad, width };
    Launch::new(EMBEDDING, "embedding_backward", number, blocks, threads, args)
}
