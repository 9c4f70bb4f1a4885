//! The file of records: never overwritten, one writer, whole lines only.

use crate::record::{self, Step};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Appends records to a file of its own.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    moved: Option<PathBuf>,
}

impl Writer {
    /// Makes the file, and its folder if need be. A file of that name that holds
    /// anything is moved aside first.
    pub fn create(path: PathBuf) -> Result<Writer> {
        let cannot = || format!("cannot write the records to `{}`", path.display());
        if path.is_dir() {
            return Err(anyhow::anyhow!("it is a folder; give the name of a file"))
                .with_context(cannot);
        }
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .with_context(|| {
                    let folder = folder.display();
                    format!("cannot make its folder `{folder}`; choose another place")
                })
                .with_context(cannot)?;
        }
        let mut moved = None;
        if let Ok(old) = fs::metadata(&path)
            && old.is_file()
            && old.len() > 0
        {
            // Opened for writing: moving a file is no way around its permissions.
            let file = OpenOptions::new().append(true).open(&path);
            lock(&file.with_context(cannot)?).with_context(cannot)?;
            moved = Some(move_aside(&path).with_context(cannot)?);
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(cannot)?;
        lock(&file).with_context(cannot)?;
        Ok(Writer { path, file, moved })
    }

    /// What to tell the user about an older file.
    pub fn moved(&self) -> Option<String> {
        let moved = self.moved.as_ref()?.display();
        Some(format!("`{}` existed: it is now `{moved}`", self.path.display()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one record, in one piece.
    pub fn write(&mut self, record: &impl Serialize) -> Result<()> {
        let cannot =
            || format!("cannot write to the records `{}`", self.path.display());
        let mut line = serde_json::to_vec(record).with_context(cannot)?;
        line.push(b'\n');
        self.file.write_all(&line).with_context(cannot)
    }

    /// Waits until the file is on the disk, where that means something.
    pub fn sync(&mut self) -> Result<()> {
        if !self.file.metadata().is_ok_and(|file| file.is_file()) {
            return Ok(());
        }
        let cannot = || format!("cannot store the records `{}`", self.path.display());
        self.file.sync_all().with_context(cannot)
    }
}

/// Refuses a file that another run holds. The lock goes when the file is closed.
fn lock(file: &File) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("another run is writing it; give this run a file of its own")
        }
        // Some file systems have no locks; then two runs are the user's to keep apart.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(()),
    }
}

/// Renames to the first of `NAME.1`, `NAME.2`, … that is free.
fn move_aside(path: &Path) -> Result<PathBuf> {
    let numbered = |n: u32| {
        let mut name = OsString::from(path);
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let taken = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    let Some(free) = (1..=u32::MAX).map(numbered).find(|name| !taken(name)) else {
        bail!("every name from `{}` on is taken", numbered(1).display());
    };
    fs::rename(path, &free).with_context(|| {
        format!("it exists and cannot be moved to `{}`", free.display())
    })?;
    Ok(free)
}

/// A file of records, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The first record.
    pub header: Value,
    /// The records of the steps.
    pub steps: Vec<Step>,
    /// The last record; none if the run was killed.
    pub last: Option<Value>,
}

/// Reads what a [`RunLog`](crate::RunLog) wrote. A last line without its end, which a
/// full disk may leave, is skipped.
///
/// # Errors
/// A file that cannot be read, or a line that is no record, with its number.
pub fn read(path: &Path) -> Result<Log> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the records `{}`", path.display()))?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let mut log = Log { header: Value::Null, steps: Vec::new(), last: None };
    for (number, line) in whole.lines().enumerate() {
        let at = || format!("`{}`, line {}: no record", path.display(), number + 1);
        let value: Value = serde_json::from_str(line).with_context(at)?;
        if value.get("run").is_some() {
            log.header = value;
        } else if value.get("last").is_some() {
            log.last = Some(value);
        } else {
            let step = serde_json::from_str(line).with_context(at)?;
            log.steps.push(record::restore(step));
        }
    }
    Ok(log)
}
