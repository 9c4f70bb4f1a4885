//! A safetensors file, mapped into memory, its header checked against its bytes.
//!
//! The format: 8 bytes of header length (little-endian), that many bytes of JSON naming
//! each tensor's dtype, shape and byte range, then the bytes. The safetensors crate
//! checks that ranges are contiguous and agree with shapes. What it lets through is
//! checked here: repeated names, of which it would keep the last, and lengths, for
//! which a clear sentence is worth more than an error code.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// As the safetensors crate: no honest header is larger.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// One mapped file.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// Its bytes, paged in as they are read.
    map: Mmap,
    /// What the header says.
    metadata: Metadata,
    /// Where the tensors' bytes start.
    start: usize,
}

impl SafetensorsFile {
    /// Maps the file and checks its header; no tensor's bytes are read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::check(path).with_context(|| {
            format!("{} is not a sound safetensors file", path.display())
        })
    }

    fn check(path: &Path) -> Result<Self> {
        let file = File::open(path).context("it cannot be opened")?;
        ensure!(file.metadata()?.is_file(), "it is not a regular file");
        let length = file.metadata()?.len();
        ensure!(
            length >= 8,
            "it has {length} bytes, fewer than the 8 of the header's length: was the \
             download cut short?"
        );
        // SAFETY: the map is only read. Another process that truncates the file while
        // it is mapped would kill this one with SIGBUS, as with every memory-mapped
        // loader; `save` never does that: it renames a new file over the old one.
        let map = unsafe { Mmap::map(&file) }.context("it cannot be memory-mapped")?;

        let mut header_bytes = [0; 8];
        header_bytes.copy_from_slice(&map[..8]);
        let header_bytes = u64::from_le_bytes(header_bytes);
        let rest = map.len() as u64 - 8;
        if header_bytes > rest {
            // A Git LFS pointer or a web page in place of the file is a common
            // accident.
            ensure!(
                !map[..8]
                    .iter()
                    .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()),
                "it begins with the text {:?}: a Git LFS pointer or a web page in \
                 place of the weights? Download the file itself",
                String::from_utf8_lossy(&map[..map.len().min(40)])
            );
            bail!(
                "its header is said to have {header_bytes} bytes, but only {rest} \
                 follow: the file is cut short or damaged; download or save it again"
            );
        }
        ensure!(
            header_bytes <= MAX_HEADER_BYTES,
            "its header is said to have {header_bytes} bytes, more than the \
             {MAX_HEADER_BYTES} that the format allows"
        );
        let start = 8 + header_bytes as usize;

        let header = std::str::from_utf8(&map[8..start])
            .context("its header is not UTF-8: the file is damaged")?;
        refuse_repeated_names(header)?;
        let metadata: Metadata = serde_json::from_str(header).context(
            "its header is not what the format asks for: the file is damaged",
        )?;
        let (expected, found) =
            (metadata.data_len() as u64, (map.len() - start) as u64);
        ensure!(
            expected <= found,
            "its tensors need {expected} bytes after the header, but only {found} are \
             there: the file is cut short; download or save it again"
        );
        ensure!(
            expected == found,
            "its tensors take {expected} bytes after the header, but {found} are \
             there: {} bytes belong to no tensor",
            found - expected
        );
        Ok(Self { path: path.to_owned(), map, metadata, start })
    }

    /// The tensors' names, in the order of their bytes.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// A tensor's dtype, shape and byte range.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// `range` of the tensor's bytes. `None` if it is not within the tensor.
    pub fn bytes(&self, info: &TensorInfo, range: Range<usize>) -> Option<&[u8]> {
        let (from, to) = info.data_offsets;
        self.map.get(self.start..)?.get(from..to)?.get(range)
    }
}

/// Refuses a header that names a tensor twice: the crate would silently keep one of
/// them.
fn refuse_repeated_names(header: &str) -> Result<()> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "an object of tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = HashSet::new();
            while let Some(name) = map.next_key::<String>()? {
                map.next_value::<IgnoredAny>()?;
                if seen.contains(&name) {
                    let message = format!("it names `{name}` twice");
                    return Err(serde::de::Error::custom(message));
                }
                seen.insert(name);
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(header)
        .deserialize_map(Names)
        .context("its header is not sound JSON")
}
