//! Text to tokens to batches: the house's data pipeline.
//!
//! ```text
//! .txt .jsonl ─► documents ─► tokens ─┐
//!               (streamed)  (workers) ├─► one stream ─► train | validation ─► Batch
//! .bin + .idx ─► memory map ──────────┘   d0 EOD d1 EOD …       (last 10 %)
//! ```
//!
//! A [`Tokenizer`] turns text into token ids: raw bytes, or any Hugging Face
//! `tokenizer.json`, or one trained here. [`Corpus::open`] reads the files, puts an
//! end-of-document token after each document and joins everything to one stream, whose
//! last part is the validation [`Split`]. A split is cut into rows of `seq_len + 1`
//! tokens, neighbours sharing one, so that every row has `seq_len` inputs and as many
//! targets.
//!
//! Two properties carry the rest of the house. **A batch is a pure function**:
//! [`Split::batch`]`(first, rows)` depends on the seed and its arguments alone, so any
//! rank can draw any row without asking another, and a run resumes from one number
//! ([`Position`]). **The number of workers changes nothing** but the time it takes.
//!
//! Modules: `documents` reads text files; `tokenizer` makes token ids, `tokenize` does
//! it in parallel, `train` and `bpe` make a tokenizer; [`indexed`] is Megatron's binary
//! format; `stream` is the joined documents, `shuffle` the order of rows, `split` cuts
//! them; `open` puts it all together.

#![warn(missing_docs)]

mod batch;
mod bpe;
mod documents;
pub mod indexed;
mod open;
mod progress;
mod shuffle;
mod split;
mod stream;
mod tokenize;
mod tokenizer;
mod train;

pub use batch::{Batch, IGNORE};
pub use open::{Corpus, Options};
pub use split::{Batches, Position, Split};
pub use tokenizer::{HuggingFace, Tokenizer};
