//! Megatron's indexed dataset, `NAME.bin` and `NAME.idx`: read by memory map, and
//! written byte for byte as megatron-core writes it.
//!
//! `.bin` is token ids one after the other, of one integer type. `.idx` says where they
//! start and end (all little-endian; megatron/core/datasets/indexed_dataset.py):
//!
//! ```text
//! bytes                what
//! 9                    magic: "MMIDIDX\0\0"
//! 8                    version: u64 = 1
//! 1                    type of a token: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 8 u16
//! 8                    number of sequences S: u64
//! 8                    number of document boundaries D: u64 (documents + 1)
//! 4 S                  length of each sequence in tokens: i32
//! 8 S                  where each starts in .bin, in bytes: i64
//! 8 D                  sequence at which each document starts, and S: i64
//! (S)                  mode of each sequence: i8; multimodal data only, refused here
//! ```
//!
//! A document is one or more sequences (Megatron's `--split-sentences` makes several).

mod builder;
mod reader;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

pub use builder::Builder;
pub use reader::Dataset;

const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";
const VERSION: u64 = 1;

/// Bytes before the sequence lengths.
const HEADER: usize = 9 + 8 + 1 + 8 + 8;

/// The integer type that holds a token id in `.bin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// Code 1.
    U8,
    /// Code 2.
    I8,
    /// Code 3.
    I16,
    /// Code 4.
    I32,
    /// Code 5.
    I64,
    /// Code 8.
    U16,
}

impl DType {
    /// What Megatron writes for a vocabulary of `vocab_size` (`DType.optimal_dtype`).
    pub fn optimal(vocab_size: usize) -> DType {
        if vocab_size < 65500 { DType::U16 } else { DType::I32 }
    }

    /// Bytes of one token.
    pub fn size(self) -> usize {
        match self {
            DType::U8 | DType::I8 => 1,
            DType::I16 | DType::U16 => 2,
            DType::I32 => 4,
            DType::I64 => 8,
        }
    }

    /// The code that stands for it in `.idx`.
    pub fn code(self) -> u8 {
        match self {
            DType::U8 => 1,
            DType::I8 => 2,
            DType::I16 => 3,
            DType::I32 => 4,
            DType::I64 => 5,
            DType::U16 => 8,
        }
    }

    /// Largest token id it can hold, as far as ids go (u32, less `IGNORE`).
    fn largest(self) -> u32 {
        match self {
            DType::U8 => u8::MAX.into(),
            DType::I8 => i8::MAX as u32,
            DType::I16 => i16::MAX as u32,
            DType::I32 => i32::MAX as u32,
            DType::I64 => u32::MAX - 1,
            DType::U16 => u16::MAX.into(),
        }
    }

    fn from_code(code: u8) -> Result<DType> {
        Ok(match code {
            1 => DType::U8,
            2 => DType::I8,
            3 => DType::I16,
            4 => DType::I32,
            5 => DType::I64,
            8 => DType::U16,
            6 | 7 => bail!(
                "its tokens are floating-point numbers (type code {code}), expected \
                 an integer type; build it again from token ids"
            ),
            _ => bail!(
                "its token type has the unknown code {code}, expected 1 to 5 or 8; \
                 the file is damaged or not Megatron's"
            ),
        })
    }

    /// The value of a token of this type (`bytes.len() == self.size()`).
    fn value(self, bytes: &[u8]) -> i64 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let raw = i64::from_le_bytes(wide);
        match self {
            DType::U8 | DType::U16 | DType::I64 => raw,
            DType::I8 => i64::from(raw as i8),
            DType::I16 => i64::from(raw as i16),
            DType::I32 => i64::from(raw as i32),
        }
    }
}

/// The `.bin` and `.idx` that `name` means, if it means such a pair: it ends in one of
/// the two, or is no file itself but the part before them.
pub fn pair(name: &Path) -> Option<(PathBuf, PathBuf)> {
    let prefix = match name.extension().and_then(|e| e.to_str()) {
        Some("bin" | "idx") => name.with_extension(""),
        _ if !name.exists() && suffixed(name, "idx").exists() => name.to_path_buf(),
        _ => return None,
    };
    Some((suffixed(&prefix, "bin"), suffixed(&prefix, "idx")))
}

/// `prefix` with `.suffix` after it, whatever dots it has.
fn suffixed(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
