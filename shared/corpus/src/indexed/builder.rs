//! Writing: megatron-core's `IndexedDatasetBuilder`, byte for byte.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{DType, MAGIC, VERSION, suffixed};

/// Writes `PREFIX.bin` as sequences are added, and `PREFIX.idx` at the end.
///
/// The index comes last and complete, so that an interrupted build is seen as one.
pub struct Builder {
    prefix: PathBuf,
    bin: BufWriter<File>,
    dtype: DType,

    /// Tokens of each sequence so far.
    lengths: Vec<i32>,

    /// The sequence at which each document starts, and the end of the last.
    boundaries: Vec<i64>,
}

impl Builder {
    /// Starts `PREFIX.bin`, replacing the pair that may be there. `dtype` holds every
    /// token id: [`DType::optimal`] says what Megatron would take.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn create(prefix: &Path, dtype: DType) -> Result<Builder> {
        let path = suffixed(prefix, "bin");
        let bin = File::create(&path).with_context(|| {
            format!(
                "cannot write `{}`; check the folder and permissions",
                path.display()
            )
        })?;
        // An index of an older build would describe other data.
        let idx = suffixed(prefix, "idx");
        if idx.exists() {
            std::fs::remove_file(&idx)
                .with_context(|| format!("cannot replace `{}`", idx.display()))?;
        }
        Ok(Builder {
            prefix: prefix.into(),
            bin: BufWriter::with_capacity(1 << 20, bin),
            dtype,
            lengths: Vec::new(),
            boundaries: vec![0],
        })
    }

    /// Adds one sequence to the document under way (Megatron's `add_item`).
    ///
    /// # Errors
    /// If an id does not fit the token type, or the file cannot be written.
    pub fn add_sequence(&mut self, tokens: &[u32]) -> Result<()> {
        let largest = self.dtype.largest();
        if let Some(id) = tokens.iter().find(|&&id| id > largest) {
            anyhow::bail!(
                "token id {id} does not fit {:?}, whose largest is {largest}; build \
                 with the type for your vocabulary (DType::optimal)",
                self.dtype
            );
        }
        let length = i32::try_from(tokens.len()).with_context(|| {
            format!(
                "a sequence of {} tokens, expected at most {}; split it",
                tokens.len(),
                i32::MAX
            )
        })?;
        let size = self.dtype.size();
        for &id in tokens {
            let bytes = u64::from(id).to_le_bytes();
            self.bin.write_all(&bytes[..size]).with_context(|| self.cannot_write())?;
        }
        self.lengths.push(length);
        Ok(())
    }

    /// Ends the document under way.
    pub fn end_document(&mut self) {
        self.boundaries.push(self.lengths.len() as i64);
    }

    /// Adds a whole document, one sequence (Megatron's `add_document`).
    ///
    /// # Errors
    /// As [`Builder::add_sequence`].
    pub fn add_document(&mut self, tokens: &[u32]) -> Result<()> {
        self.add_sequence(tokens)?;
        self.end_document();
        Ok(())
    }

    /// Writes the index; the pair is complete when this returns (`finalize`).
    ///
    /// # Errors
    /// If sequences were added after the last document's end, or a file cannot be
    /// written.
    pub fn finish(mut self) -> Result<()> {
        ensure!(
            self.boundaries.last() == Some(&(self.lengths.len() as i64)),
            "the last document of `{}` was not ended; call end_document before finish",
            self.prefix.display()
        );
        self.bin.flush().with_context(|| self.cannot_write())?;

        let path = suffixed(&self.prefix, "idx");
        let partial = suffixed(&self.prefix, "idx.partial");
        write_index(&partial, self.dtype, &self.lengths, &self.boundaries)
            .and_then(|()| std::fs::rename(&partial, &path))
            .with_context(|| {
                format!(
                    "cannot write `{}`; check permissions and space",
                    path.display()
                )
            })
    }

    fn cannot_write(&self) -> String {
        format!("cannot write `{}.bin`; is the disk full?", self.prefix.display())
    }
}

fn write_index(
    path: &Path,
    dtype: DType,
    lengths: &[i32],
    boundaries: &[i64],
) -> std::io::Result<()> {
    let mut idx = BufWriter::new(File::create(path)?);
    idx.write_all(MAGIC)?;
    idx.write_all(&VERSION.to_le_bytes())?;
    idx.write_all(&[dtype.code()])?;
    idx.write_all(&(lengths.len() as u64).to_le_bytes())?;
    idx.write_all(&(boundaries.len() as u64).to_le_bytes())?;
    for length in lengths {
        idx.write_all(&length.to_le_bytes())?;
    }
    let mut pointer = 0i64;
    for &length in lengths {
        idx.write_all(&pointer.to_le_bytes())?;
        pointer += i64::from(length) * dtype.size() as i64;
    }
    for boundary in boundaries {
        idx.write_all(&boundary.to_le_bytes())?;
    }
    idx.flush()
}
