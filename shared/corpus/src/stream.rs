//! The joined documents of all files: one long stream of tokens, read by position.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::indexed::Dataset;
use crate::shuffle::random_below;

/// Documents of a dataset that are looked at to learn whether it ends them itself.
const SAMPLE: usize = 1024;

/// Tokens of a dataset that are checked when it is opened; the others when read.
const CHECKED: u64 = 1 << 22;

/// All tokens, in order.
pub(crate) struct Stream {
    /// Position of the first token of each source, and the number of tokens.
    starts: Vec<u64>,
    sources: Vec<Source>,
}

/// Where tokens come from.
pub(crate) enum Source {
    /// Tokenized text.
    Memory(Vec<u32>),
    /// A Megatron dataset.
    Mapped(Mapped),
    /// Uniform random tokens, made when they are read.
    Random { vocab_size: u64, seed: u64, tokens: u64 },
}

impl Stream {
    pub(crate) fn new(sources: Vec<Source>) -> Stream {
        let mut starts = vec![0];
        let mut total = 0;
        for source in &sources {
            total += source.len();
            starts.push(total);
        }
        Stream { starts, sources }
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> u64 {
        self.starts[self.sources.len()]
    }

    /// Fills `out` with the tokens from position `from` on, all of which exist.
    pub(crate) fn read(&self, from: u64, out: &mut [u32]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let at = from + done as u64;
            let index = self.starts.partition_point(|&start| start <= at) - 1;
            let count = (self.starts[index + 1] - at).min((out.len() - done) as u64);
            let part = &mut out[done..done + count as usize];
            self.sources[index].read(at - self.starts[index], part)?;
            done += count as usize;
        }
        Ok(())
    }
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Source::Memory(tokens) => tokens.len() as u64,
            Source::Mapped(mapped) => mapped.len(),
            Source::Random { tokens, .. } => *tokens,
        }
    }

    fn read(&self, from: u64, out: &mut [u32]) -> Result<()> {
        match self {
            Source::Memory(tokens) => {
                let from = from as usize;
                out.copy_from_slice(&tokens[from..from + out.len()]);
            }
            Source::Mapped(mapped) => mapped.read(from, out)?,
            Source::Random { vocab_size, seed, .. } => {
                for (at, id) in (from..).zip(out) {
                    *id = random_below(*seed, RANDOM_TOKENS, at, *vocab_size) as u32;
                }
            }
        }
        Ok(())
    }
}

/// Keeps random tokens apart from other uses of the seed.
const RANDOM_TOKENS: u64 = 0x746f_6b65_6e73;

/// A dataset whose documents each end in an end-of-document token, put there by its
/// builder (Megatron's `--append-eod`) or, where that is missing, here.
pub(crate) struct Mapped {
    dataset: Dataset,

    /// Position of the first token of each sequence, and the number of tokens. A
    /// sequence is one longer here than in the file if an end was added to it.
    starts: Vec<u64>,

    vocab_size: usize,
    end: u32,
}

impl Mapped {
    /// Lays out `dataset`, checking the ids at its start against `vocab_size`.
    pub(crate) fn new(dataset: Dataset, vocab_size: usize, end: u32) -> Result<Mapped> {
        let sequences = dataset.sequences();
        let mut lengths: Vec<u64> =
            (0..sequences).map(|i| dataset.sequence_len(i) as u64).collect();

        // The last sequence that has tokens, of each document that has any.
        let lasts: Vec<usize> = (0..dataset.documents())
            .filter_map(|document| {
                dataset.document(document).rev().find(|&sequence| lengths[sequence] > 0)
            })
            .collect();
        ensure!(
            !lasts.is_empty(),
            "`{}` holds no tokens; name another file",
            dataset.path().display()
        );
        let ended = |&sequence: &usize| -> Result<bool> {
            let mut id = [0];
            dataset.read(sequence, dataset.sequence_len(sequence) - 1, &mut id)?;
            Ok(id[0] == end)
        };
        // To look at every document would read the whole file: look at the first ones.
        let mut sample_ended = 0;
        for sequence in lasts.iter().take(SAMPLE) {
            sample_ended += usize::from(ended(sequence)?);
        }
        if sample_ended < lasts.len().min(SAMPLE) {
            for sequence in &lasts {
                if sample_ended == 0 || !ended(sequence)? {
                    lengths[*sequence] += 1;
                }
            }
        }

        let mut starts = vec![0];
        let mut total = 0;
        for length in lengths {
            total += length;
            starts.push(total);
        }
        let mapped = Mapped { dataset, starts, vocab_size, end };
        let mut buffer = vec![0; 1 << 16];
        let checked = mapped.len().min(CHECKED);
        let mut at = 0;
        while at < checked {
            let count = (checked - at).min(buffer.len() as u64);
            mapped.read(at, &mut buffer[..count as usize])?;
            at += count;
        }
        Ok(mapped)
    }

    fn len(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    fn read(&self, from: u64, out: &mut [u32]) -> Result<()> {
        let mut done = 0;
        // Of several that start here, the last: the others are empty.
        let mut sequence = self.starts.partition_point(|&start| start <= from) - 1;
        let mut skip = (from - self.starts[sequence]) as usize;
        while done < out.len() {
            let stored = self.dataset.sequence_len(sequence);
            let count = stored.saturating_sub(skip).min(out.len() - done);
            let part = &mut out[done..done + count];
            self.dataset.read(sequence, skip, part)?;
            if let Some(i) = part.iter().position(|&id| id as usize >= self.vocab_size)
            {
                bail!(
                    "the token at index {} of sequence {sequence} of `{}` is {}, but \
                     the tokenizer has only {} ids; use the tokenizer that the dataset \
                     was built with",
                    skip + i,
                    self.dataset.path().display(),
                    part[i],
                    self.vocab_size
                );
            }
            done += count;
            let laid_out = self.starts[sequence + 1] - self.starts[sequence];
            if done < out.len() && laid_out > stored as u64 {
                out[done] = self.end;
                done += 1;
            }
            sequence += 1;
            skip = 0;
        }
        Ok(())
    }
}

/// The dataset at `path`, laid out for a tokenizer.
pub(crate) fn mapped(path: &Path, vocab_size: usize, end: u32) -> Result<Source> {
    let dataset = Dataset::open(path)
        .with_context(|| format!("cannot use `{}` as data", path.display()))?;
    Ok(Source::Mapped(Mapped::new(dataset, vocab_size, end)?))
}
