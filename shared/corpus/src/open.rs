//! From options to a corpus: read, tokenize, join, split.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::progress::Progress;
use crate::split::{Isolate, Split};
use crate::stream::{Source, Stream, mapped};
use crate::{Tokenizer, documents, indexed, tokenize};

/// Rows of validation in a random corpus: enough for a mean, quick to pass.
const RANDOM_VALIDATION_ROWS: u64 = 64;

/// Tokens of training in a random corpus: more than any benchmark reads.
const RANDOM_TOKENS: u64 = 1 << 48;

/// What to read and how to cut it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Text files (`.jsonl` or plain) and Megatron datasets (`.bin`, `.idx` or the
    /// name before them), joined in this order.
    pub files: Vec<PathBuf>,

    /// Tokens per row.
    pub seq_len: usize,

    /// Decides the order of rows, and the tokens of a random corpus.
    pub seed: u64,

    /// Threads that tokenize; 0 for one per core. Changes nothing but the time.
    pub workers: usize,

    /// The part of the tokens, at the end, that is kept for validation: 0 for none, and
    /// below 1.
    pub validation_fraction: f64,

    /// Whether a token is kept from attending to documents before its own.
    pub isolate_documents: bool,

    /// Whether to show no progress bar.
    pub quiet: bool,
}

impl Default for Options {
    /// No files, rows of 256, seed 0, all cores, a tenth for validation.
    fn default() -> Options {
        Options {
            files: Vec::new(),
            seq_len: 256,
            seed: 0,
            workers: 0,
            validation_fraction: 0.1,
            isolate_documents: false,
            quiet: false,
        }
    }
}

/// Text as tokens, in two parts.
#[derive(Clone)]
pub struct Corpus {
    /// What the model learns from.
    pub train: Split,

    /// What it is judged by: the end of the text, which training never sees.
    pub validation: Split,
}

impl Corpus {
    /// Reads `options.files`, tokenizing what is text.
    ///
    /// # Errors
    /// If there are no files, one cannot be read or is empty, a `.jsonl` line is
    /// broken, an index is damaged, a `.bin` holds ids that `tokenizer` does not have,
    /// or either split is too short for one row of `seq_len + 1` tokens.
    pub fn open(options: &Options, tokenizer: &Tokenizer) -> Result<Corpus> {
        ensure!(
            !options.files.is_empty(),
            "no data files were named; name text files, .jsonl files or Megatron \
             datasets"
        );
        options.check()?;

        // Look at all files first: a typing error should not cost minutes.
        let mut bytes = 0;
        for file in &options.files {
            if indexed::pair(file).is_none() {
                bytes += documents::size(file)?;
            }
        }
        let (vocab_size, end) = (tokenizer.vocab_size(), tokenizer.end_of_document());
        let pool = tokenize::pool(options.workers)?;
        let mut progress = Progress::new("tokenizing", bytes, options.quiet);
        let mut sources = Vec::new();
        for file in &options.files {
            sources.push(if indexed::pair(file).is_some() {
                mapped(file, vocab_size, end)?
            } else {
                let tokens = tokenize::tokenize(file, tokenizer, &pool, &mut progress)
                    .with_context(|| format!("cannot use `{}`", file.display()))?;
                Source::Memory(tokens)
            });
        }

        let stream = Arc::new(Stream::new(sources));
        let total = stream.len();
        // Not `total - total * fraction`: this is how nanoGPT rounds.
        let train = (total as f64 * (1.0 - options.validation_fraction)) as u64;
        let isolate =
            if options.isolate_documents { Isolate::At(end) } else { Isolate::No };
        let corpus = options.split(stream, train, total - train, isolate);
        options.check_length("training", &corpus.train)?;
        if options.validation_fraction > 0.0 {
            options.check_length("validation", &corpus.validation)?;
        }
        Ok(corpus)
    }

    /// Uniform random tokens below `vocab_size`, as many as one may want: for
    /// benchmarks without data. The validation split has 64 rows. Where documents are
    /// isolated, each row is one.
    ///
    /// # Errors
    /// If `vocab_size` is 0 or no u32, or an option is out of its range.
    pub fn random(vocab_size: usize, options: &Options) -> Result<Corpus> {
        options.check()?;
        ensure!(
            vocab_size > 0 && vocab_size <= u32::MAX as usize,
            "random tokens of a vocabulary of {vocab_size}; expected 1 to 2^32 - 1"
        );
        let validation = RANDOM_VALIDATION_ROWS * options.seq_len as u64 + 1;
        let (vocab_size, seed) = (vocab_size as u64, options.seed);
        let tokens = RANDOM_TOKENS + validation;
        let stream = Stream::new(vec![Source::Random { vocab_size, seed, tokens }]);
        let isolate =
            if options.isolate_documents { Isolate::Rows } else { Isolate::No };
        Ok(options.split(Arc::new(stream), RANDOM_TOKENS, validation, isolate))
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let fraction = self.validation_fraction;
        // `document_starts` counts in u32, and no row comes near it.
        ensure!(
            (1..=1 << 31).contains(&self.seq_len),
            "rows of {} tokens were asked for; expected 1 to 2^31",
            self.seq_len
        );
        ensure!(
            (0.0..1.0).contains(&fraction),
            "a validation fraction of {fraction} was asked for; expected 0 (none) to \
             below 1, such as 0.1"
        );
        Ok(())
    }

    fn check_length(&self, name: &str, split: &Split) -> Result<()> {
        ensure!(
            split.sequences() > 0,
            "the {name} split has {} tokens, fewer than the {} of one row (seq_len {} \
             + 1 target); give more text, a shorter seq_len or another validation \
             fraction (now {})",
            split.tokens(),
            self.seq_len + 1,
            self.seq_len,
            self.validation_fraction
        );
        Ok(())
    }

    /// The first `train` tokens of `stream`, and the `validation` after them.
    fn split(
        &self,
        stream: Arc<Stream>,
        train: u64,
        validation: u64,
        isolate: Isolate,
    ) -> Corpus {
        let split = |start, tokens, shuffle| Split {
            stream: stream.clone(),
            start,
            tokens,
            seq_len: self.seq_len,
            shuffle,
            isolate,
        };
        Corpus {
            train: split(0, train, Some(self.seed)),
            validation: split(train, validation, None),
        }
    }
}
