//! The figures of the book, drawn when it is built.
use crate::book::Sources;
use anyhow::{Result, bail};

/// `{{#figure id caption="…"}}`.
///
/// # Errors
/// There is no such figure.
pub fn figure(_sources: &Sources, id: &str, _caption: &str) -> Result<String> {
    bail!("no figure `{id}`")
}
