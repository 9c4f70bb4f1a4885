//! Reading: every number of the index is checked before it is used.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;

use super::{DType, HEADER, MAGIC, VERSION, pair};

/// An open pair of `.bin` and `.idx`. Tokens are read from the map when asked for.
#[derive(Debug)]
pub struct Dataset {
    bin_path: PathBuf,
    bin: Mmap,
    idx: Mmap,
    dtype: DType,
    sequences: usize,
    boundaries: usize,
}

impl Dataset {
    /// Opens the pair that `name` means: either file, or the part before `.bin`.
    ///
    /// # Errors
    /// If a file is missing, or the index is truncated, has numbers that contradict
    /// each other, or points outside `.bin`. Nothing is allocated by what a header
    /// claims.
    pub fn open(name: &Path) -> Result<Dataset> {
        let Some((bin_path, idx_path)) = pair(name) else {
            bail!(
                "`{0}` is not a Megatron dataset: expected `{0}.bin` and `{0}.idx`",
                name.display()
            );
        };
        let bin = map(&bin_path)?;
        let idx = map(&idx_path)?;
        let header = parse_header(&idx)
            .with_context(|| format!("in the index `{}`", idx_path.display()))?;
        let (dtype, sequences, boundaries) = header;
        let dataset = Dataset { bin_path, bin, idx, dtype, sequences, boundaries };
        dataset
            .check()
            .with_context(|| format!("in the index `{}`", idx_path.display()))?;
        Ok(dataset)
    }

    /// Where the tokens are, for messages.
    pub fn path(&self) -> &Path {
        &self.bin_path
    }

    /// The type of a token.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.boundaries - 1
    }

    /// Number of tokens of sequence `sequence` (`< self.sequences()`).
    pub fn sequence_len(&self, sequence: usize) -> usize {
        self.length(sequence) as usize
    }

    /// The sequences of document `document` (`< self.documents()`).
    pub fn document(&self, document: usize) -> std::ops::Range<usize> {
        self.boundary(document) as usize..self.boundary(document + 1) as usize
    }

    /// Copies the tokens of `sequence`, from its token `from` on, to `out`, which must
    /// not be longer than what is left of the sequence.
    ///
    /// # Errors
    /// If a token is negative or too large for an id.
    pub fn read(&self, sequence: usize, from: usize, out: &mut [u32]) -> Result<()> {
        let size = self.dtype.size();
        let start = self.pointer(sequence) as usize + from * size;
        let bytes = &self.bin[start..start + out.len() * size];
        for (i, (id, bytes)) in out.iter_mut().zip(bytes.chunks_exact(size)).enumerate()
        {
            let value = self.dtype.value(bytes);
            *id = match u32::try_from(value) {
                Ok(value) if value != u32::MAX => value,
                _ => bail!(
                    "the token at index {} of sequence {sequence} of `{}` is {value}, \
                     which is not a token id; the data is damaged or not text",
                    from + i,
                    self.bin_path.display()
                ),
            };
        }
        Ok(())
    }

    fn length(&self, sequence: usize) -> i32 {
        let at = HEADER + 4 * sequence;
        i32::from_le_bytes(array(&self.idx[at..at + 4]))
    }

    fn pointer(&self, sequence: usize) -> i64 {
        let at = HEADER + 4 * self.sequences + 8 * sequence;
        i64::from_le_bytes(array(&self.idx[at..at + 8]))
    }

    fn boundary(&self, document: usize) -> i64 {
        let at = HEADER + 12 * self.sequences + 8 * document;
        i64::from_le_bytes(array(&self.idx[at..at + 8]))
    }

    /// Every sequence lies within `.bin`, and the documents tile the sequences.
    fn check(&self) -> Result<()> {
        let size = self.dtype.size() as i64;
        for sequence in 0..self.sequences {
            let (length, pointer) = (self.length(sequence), self.pointer(sequence));
            let end = pointer.checked_add(i64::from(length) * size);
            let inside = length >= 0
                && pointer >= 0
                && end.is_some_and(|end| end as u64 <= self.bin.len() as u64);
            ensure!(
                inside,
                "sequence {sequence} has {length} tokens from byte {pointer}, but \
                 `{}` has {} bytes; one of the two files is truncated, damaged or \
                 not the other's: copy or build both again",
                self.bin_path.display(),
                self.bin.len()
            );
        }
        let mut previous = 0;
        for document in 0..self.boundaries {
            let boundary = self.boundary(document);
            let rises = boundary >= previous && (document > 0 || boundary == 0);
            ensure!(
                rises && boundary <= self.sequences as i64,
                "document {document} starts at sequence {boundary}, expected {} to {}; \
                 the file is damaged: build it again",
                previous,
                if document == 0 { 0 } else { self.sequences }
            );
            previous = boundary;
        }
        ensure!(
            previous == self.sequences as i64,
            "the last document ends at sequence {previous} of {}; the file was not \
             finished: build it again (Megatron: call end_document before finalize)",
            self.sequences
        );
        Ok(())
    }
}

/// Token type, number of sequences and of document boundaries, all consistent with the
/// length of the index.
fn parse_header(idx: &[u8]) -> Result<(DType, usize, usize)> {
    ensure!(
        idx.len() >= HEADER,
        "it has {} bytes, expected at least the {HEADER} of a header; it is truncated",
        idx.len()
    );
    ensure!(
        &idx[..9] == MAGIC,
        "it starts with {:?}, expected {:?}; it is not a Megatron index",
        idx[..9].escape_ascii().to_string(),
        MAGIC.escape_ascii().to_string()
    );
    let number = |at: usize| u64::from_le_bytes(array(&idx[at..at + 8]));
    let version = number(9);
    ensure!(
        version == VERSION,
        "its format version is {version}, expected {VERSION}; build it again with a \
         current Megatron"
    );
    let dtype = DType::from_code(idx[17])?;
    let (sequences, boundaries) = (number(18), number(26));
    ensure!(
        boundaries >= 1,
        "it has no document boundaries, expected at least one; it is damaged"
    );
    let expected = sequences
        .checked_mul(12)
        .and_then(|bytes| bytes.checked_add(boundaries.checked_mul(8)?))
        .and_then(|bytes| bytes.checked_add(HEADER as u64));
    let actual = idx.len() as u64;
    if let Some(expected) = expected {
        ensure!(
            sequences == 0 || actual.checked_sub(expected) != Some(sequences),
            "it has a mode for each sequence: a multimodal dataset, which is not \
             supported; build it from text alone"
        );
    }
    ensure!(
        expected == Some(actual),
        "it has {actual} bytes, but its header announces {sequences} sequences and \
         {boundaries} document boundaries, which take {}; it is truncated or damaged",
        expected.map_or("more than 2^64".into(), |bytes| bytes.to_string())
    );
    Ok((dtype, sequences as usize, boundaries as usize))
}

fn map(path: &Path) -> Result<Mmap> {
    let name = path.display();
    let file = File::open(path).with_context(|| {
        format!("cannot open `{name}`; a Megatron dataset is a .bin and an .idx")
    })?;
    ensure!(
        file.metadata().with_context(|| format!("cannot examine `{name}`"))?.is_file(),
        "`{name}` is not a regular file, so that it cannot be mapped; copy it to one"
    );
    // SAFETY: the map is read-only and private to this process. As with every mapped
    // file, nobody may truncate it meanwhile; data files are written once.
    unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map `{name}`"))
}

/// A slice as the array that it is (the callers slice exactly `N` bytes).
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
