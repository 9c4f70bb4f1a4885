//! What the rest of the house relies on, tried from outside.

mod batches;
mod documents;
mod megatron;
mod tokenizers;

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use corpus::{Corpus, Options, Tokenizer};
use tempfile::TempDir;

/// A folder of files that goes away.
struct Folder(TempDir);

impl Folder {
    /// Empty, in the system's folder for such.
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// The path of the file `name` in it.
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the file `name`; returns its path.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

/// The house's own data folder.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data")
}

/// The tokenizer that ships with the house: 2048 ids, 0 ends a document.
fn stories_tokenizer() -> Tokenizer {
    Tokenizer::open(data().to_str().unwrap()).unwrap()
}

/// Options to read `files` in rows of `seq_len`, the others by default.
fn options(files: &[&Path], seq_len: usize) -> Options {
    let files = files.iter().map(|&file| file.to_path_buf()).collect();
    Options { files, seq_len, quiet: true, ..Options::default() }
}

/// All tokens of `files`, in order: as one row.
fn stream(
    files: &[&Path],
    workers: usize,
    tokenizer: &Tokenizer,
) -> anyhow::Result<Vec<u32>> {
    let options = Options { validation_fraction: 0.0, workers, ..options(files, 1) };
    let total = Corpus::open(&options, tokenizer)?.train.tokens();
    let options = Options { seq_len: total as usize - 1, ..options };
    let batch = Corpus::open(&options, tokenizer)?.train.batch(0, 1)?;
    let mut tokens = batch.tokens;
    tokens.push(batch.targets[batch.targets.len() - 1]);
    Ok(tokens)
}

/// That `result` is an error whose message has each of `parts`.
#[track_caller]
fn assert_error<T>(result: anyhow::Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error; expected one with {parts:?}") };
    let message = format!("{error:#}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

/// As `assert_eq`, without printing thousands of tokens.
#[track_caller]
fn assert_same<T: PartialEq + Debug>(a: &[T], b: &[T]) {
    let differ = a.iter().zip(b).position(|(a, b)| a != b);
    assert!(differ.is_none(), "differ at {differ:?}");
    assert_eq!(a.len(), b.len());
}
