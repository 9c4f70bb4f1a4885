//! Text files as documents: a plain file is one, a `.jsonl` line is one.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One document and where it came from, for errors.
pub(crate) struct Document {
    /// Its text, never changed on the way.
    pub(crate) text: String,

    /// What to call it in an error.
    pub(crate) origin: Origin,

    /// Bytes of the file that it took up, for progress.
    pub(crate) bytes: u64,
}

/// The place of a document: `stories.jsonl:17`, or `poem.txt`.
#[derive(Clone)]
pub(crate) struct Origin {
    file: PathBuf,
    line: Option<u64>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// Calls `visit` with each document of the file at `path`, in order.
///
/// A name ending in `.jsonl` is read line by line, one JSON object with a string
/// `"text"` on each; blank lines are skipped and other keys ignored. Any other file is
/// one document. Errors name the file and, in a `.jsonl`, the line.
pub(crate) fn read(
    path: &Path,
    visit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<()> {
    let file = open(path)?;
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl")) {
        read_lines(path, BufReader::with_capacity(1 << 20, file), visit)
    } else {
        read_whole(path, file, visit)
    }
}

/// Size in bytes of the file at `path`, which must be one and hold something.
pub(crate) fn size(path: &Path) -> Result<u64> {
    let size = open(path)?.metadata()?.len();
    if size == 0 {
        bail!(
            "`{}` is empty: there is no text in it to train on; name another file",
            path.display()
        );
    }
    Ok(size)
}

fn open(path: &Path) -> Result<File> {
    let name = path.display();
    let cannot = || {
        format!("cannot open the data file `{name}`; check the path and permissions")
    };
    // Before it is opened: that waits for whoever is to fill a pipe.
    let kind = std::fs::metadata(path).with_context(cannot)?;
    if kind.is_dir() {
        bail!("`{name}` is a folder, expected a file; name the files in it");
    }
    ensure!(
        kind.is_file(),
        "`{name}` is a pipe or a device, expected a file: data is read more than once"
    );
    File::open(path).with_context(cannot)
}

fn read_whole(
    path: &Path,
    mut file: File,
    visit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<()> {
    let name = path.display();
    let mut raw = Vec::new();
    file.read_to_end(&mut raw).with_context(|| format!("cannot read `{name}`"))?;
    let bytes = raw.len() as u64;
    let text = String::from_utf8(raw).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        anyhow::anyhow!(
            "`{name}` is not UTF-8 text: the byte at offset {offset} is {:#04x}; \
             convert the file (iconv -t UTF-8) or remove that byte",
            error.as_bytes()[offset]
        )
    })?;
    visit(Document { text, origin: Origin { file: path.into(), line: None }, bytes })
}

fn read_lines(
    path: &Path,
    mut reader: impl BufRead,
    visit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<()> {
    let mut raw = Vec::new();
    for line in 1.. {
        let origin = Origin { file: path.into(), line: Some(line) };
        raw.clear();
        let bytes = reader
            .read_until(b'\n', &mut raw)
            .with_context(|| format!("cannot read {origin}"))?
            as u64;
        if bytes == 0 {
            break;
        }
        // Some editors put a byte order mark in front of the first line.
        let start = if line == 1 && raw.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        if raw[start..].iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let text = text_of(&raw[start..]).with_context(|| format!("{origin}"))?;
        visit(Document { text, origin, bytes })?;
    }
    Ok(())
}

/// The `"text"` of one line.
fn text_of(line: &[u8]) -> Result<String> {
    let line = std::str::from_utf8(line).map_err(|error| {
        let offset = error.valid_up_to();
        anyhow::anyhow!(
            "not UTF-8: byte {offset} of the line is {:#04x}; convert the file \
             (iconv -t UTF-8) or remove the line",
            line[offset]
        )
    })?;
    let value: Value = serde_json::from_str(line).context(
        "not valid JSON; expected one object per line, such as {\"text\": \"…\"}",
    )?;
    let kind = kind_of(&value);
    let Value::Object(mut object) = value else {
        bail!("the line is {kind}, expected an object such as {{\"text\": \"…\"}}");
    };
    match object.remove("text") {
        Some(Value::String(text)) => Ok(text),
        Some(other) => bail!("\"text\" is {}, expected a string", kind_of(&other)),
        None => {
            let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
            keys.truncate(8);
            bail!(
                "the object has no \"text\"; it has [{}]; rename the key that holds \
                 the document to \"text\"",
                keys.join(", ")
            )
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
