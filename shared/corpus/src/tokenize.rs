//! Text to tokens on several threads, the same whatever their number.
//!
//! Documents are read one after the other and gathered to lots of about a megabyte; the
//! texts of a lot are worked on in parallel and their results taken in order. A long
//! document is cut first, where the tokenizer shows that the cut changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Tokenizer;
use crate::documents::{self, Document};
use crate::progress::Progress;

/// Bytes of text worked on at once.
const LOT: usize = 1 << 20;

/// Bytes of a piece of a long document.
const PIECE: usize = 128 << 10;

/// A pool of our own: a rank's threads are never blocked by another's work.
pub(crate) fn pool(workers: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|i| format!("corpus-{i}"))
        .build()
        .with_context(|| {
            format!("cannot start {workers} threads; ask for fewer workers")
        })
}

/// The tokens of the text file at `path`, an end-of-document token after each document
/// that has any and does not end in one already.
pub(crate) fn tokenize(
    path: &Path,
    tokenizer: &Tokenizer,
    pool: &ThreadPool,
    progress: &mut Progress,
) -> Result<Vec<u32>> {
    let cut = |text: &str| match tokenizer {
        Tokenizer::Bytes => vec![0, text.len()],
        Tokenizer::HuggingFace(_) => cuts(text, &|text| tokenizer.encode(text)),
    };
    let end = tokenizer.end_of_document();
    let mut tokens: Vec<u32> = Vec::new();
    let mut document = 0; // where in `tokens` the current document starts
    for_each_piece(
        path,
        pool,
        progress,
        &cut,
        &|text| tokenizer.encode(text),
        &mut |ids, last| {
            tokens.extend(ids);
            if last {
                if tokens[document..].last().is_some_and(|&id| id != end) {
                    tokens.push(end);
                }
                document = tokens.len();
            }
        },
    )?;
    if tokens.is_empty() {
        bail!(
            "`{}` holds no text: it makes no tokens; name another file",
            path.display()
        );
    }
    Ok(tokens)
}

/// How often each word (as `words_of` cuts them) occurs in the text `files`.
pub(crate) fn count_words(
    files: &[PathBuf],
    workers: usize,
    quiet: bool,
    words_of: &(dyn Fn(&str) -> Result<Vec<String>> + Sync),
) -> Result<BTreeMap<String, u64>> {
    let mut total = 0;
    for file in files {
        total += documents::size(file)?;
    }
    let pool = pool(workers)?;
    let mut progress = Progress::new("counting words", total, quiet);
    let mut words = BTreeMap::new();
    for file in files {
        let cut = |text: &str| {
            // Hashes of words stand for ids here: only their being equal matters.
            let ids = |text: &str| {
                Ok(words_of(text)?.iter().map(|word| fingerprint(word)).collect())
            };
            cuts(text, &ids)
        };
        let count = |text: &str| {
            let mut counts: HashMap<String, u64> = HashMap::new();
            for word in words_of(text)? {
                *counts.entry(word).or_default() += 1;
            }
            Ok(counts)
        };
        for_each_piece(file, &pool, &mut progress, &cut, &count, &mut |counts, _| {
            for (word, count) in counts {
                *words.entry(word).or_default() += count;
            }
        })?;
    }
    if words.is_empty() {
        bail!("there is no text in the {} files to train a tokenizer on", files.len());
    }
    Ok(words)
}

fn fingerprint(word: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    word.hash(&mut hasher);
    hasher.finish() as u32
}

/// Runs `work` on every piece of every document of a file, in parallel, and hands the
/// results to `take` in order, with whether the piece is the last of its document.
fn for_each_piece<T: Send>(
    path: &Path,
    pool: &ThreadPool,
    progress: &mut Progress,
    cut: &(dyn Fn(&str) -> Vec<usize> + Sync),
    work: &(dyn Fn(&str) -> Result<T> + Sync),
    take: &mut dyn FnMut(T, bool),
) -> Result<()> {
    let mut lot: Vec<Document> = Vec::new();
    let mut size = 0;
    let mut flush = |lot: &mut Vec<Document>| -> Result<()> {
        let pieces: Vec<(&Document, &str, bool)> = lot
            .iter()
            .flat_map(|document| {
                let cuts = cut(&document.text);
                let last = cuts.len() - 2;
                cuts.windows(2)
                    .enumerate()
                    .map(|(i, w)| (document, &document.text[w[0]..w[1]], i == last))
                    .collect::<Vec<_>>()
            })
            .collect();
        let results: Vec<Result<T>> = pool.install(|| {
            pieces
                .par_iter()
                .map(|(document, text, _)| {
                    work(text).with_context(|| format!("in {}", document.origin))
                })
                .collect()
        });
        for (result, (_, _, last)) in results.into_iter().zip(&pieces) {
            take(result?, *last);
        }
        progress.advance(lot.iter().map(|document| document.bytes).sum());
        lot.clear();
        Ok(())
    };
    documents::read(path, &mut |document| {
        size += document.text.len();
        lot.push(document);
        if size >= LOT {
            size = 0;
            flush(&mut lot)?;
        }
        Ok(())
    })?;
    flush(&mut lot)
}

/// Where to cut `text` so that the pieces tokenize as the whole does: offsets from 0 to
/// its length, at least two.
///
/// Candidates are line starts that begin with something visible. A candidate is good if
/// the text around it tokenizes to the same ids whole and in two parts. That is so
/// for the byte-level tokenizers of today; it is not for one that puts a space in front
/// of every text, and then the document stays whole.
fn cuts(text: &str, encode: &dyn Fn(&str) -> Result<Vec<u32>>) -> Vec<usize> {
    /// Bytes on each side of a candidate that are tried.
    const AROUND: usize = 256;
    /// Candidates to try before the document is left whole from there on.
    const TRIES: usize = 16;

    let mut cuts = vec![0];
    let mut from = 0;
    while text.len() - from > 2 * PIECE {
        let start = text.floor_char_boundary(from + PIECE);
        let good = |&at: &usize| {
            let low = text.floor_char_boundary(at.saturating_sub(AROUND));
            let high = text.floor_char_boundary((at + AROUND).min(text.len()));
            let ids = |range: &str| encode(range).ok();
            match (ids(&text[low..high]), ids(&text[low..at]), ids(&text[at..high])) {
                (Some(whole), Some(mut left), Some(right)) => {
                    left.extend(right);
                    whole == left
                }
                _ => false,
            }
        };
        let lines = text[start..].match_indices('\n').map(|(i, _)| start + i + 1);
        let visible =
            |at: &usize| text[*at..].chars().next().is_some_and(|c| !c.is_whitespace());
        match lines.filter(visible).take(TRIES).find(good) {
            Some(at) => {
                cuts.push(at);
                from = at;
            }
            None => break,
        }
    }
    cuts.push(text.len());
    cuts
}
