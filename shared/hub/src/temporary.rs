//! Files that appear under their final name only when they are complete.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use crate::weights::{INDEX, SINGLE};

/// A file being written under a temporary name beside its final one. Dropped before
/// [`Temporary::publish`], it is removed.
pub(crate) struct Temporary {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl Temporary {
    pub fn create(path: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary =
            path.with_file_name(format!(".{name}.{}-{unique}.tmp", process::id()));
        let file = File::create(&temporary)
            .with_context(|| format!("cannot create {}", temporary.display()))?;
        Ok(Self { file: Some(file), temporary, path: path.to_owned() })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).with_context(|| {
            format!("cannot write {} (is the disk full?)", self.temporary.display())
        })
    }

    /// Brings what was written to the disk and lets go of the handle, so that many
    /// finished files do not keep as many open.
    pub fn finish(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_all().with_context(|| {
            format!("cannot write {} (is the disk full?)", self.temporary.display())
        })
    }

    /// Gives the file its final name, in place of whatever had it.
    pub fn publish(mut self) -> Result<()> {
        self.finish()?;
        fs::rename(&self.temporary, &self.path).with_context(|| {
            format!(
                "cannot rename {} to {}",
                self.temporary.display(),
                self.path.display()
            )
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After `publish` there is nothing under this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Creates the folder if need be and proves that a file can be written into it.
///
/// Meant to be called before training: a run that cannot save should not start.
///
/// # Errors
/// What stands in the way: no permission, a file in place of the folder, a full disk.
pub fn check_writable(folder: &Path) -> Result<()> {
    let advice = || {
        format!(
            "{} cannot be written to; choose another folder or change its permissions",
            folder.display()
        )
    };
    fs::create_dir_all(folder).with_context(advice)?;
    for name in
        [SINGLE, INDEX, "config.json", "tokenizer.json", "tokenizer_config.json"]
    {
        let path = folder.join(name);
        ensure!(
            !path.is_dir(),
            "{} is a folder, where a file is to be saved: remove it, or choose another \
             folder",
            path.display()
        );
    }
    let mut probe = Temporary::create(&folder.join("probe")).with_context(advice)?;
    probe.write(b"can this folder be written to?").with_context(advice)?;
    probe.finish().with_context(advice)
}
