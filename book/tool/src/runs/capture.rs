//! What is kept of a run: `book/runs/ID.json`.
use super::machine::Machine;
use anyhow::{Context, Result, anyhow};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// A run that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The command as one would type it; several are lines, a sweep is a shell's loop.
    pub command: String,
    /// When it began, in UTC: `2026-11-22T01:02:03Z`.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// The commit that was checked out, if git knew.
    pub commit: Option<String>,
    /// Whether the inputs had changes that were not committed.
    pub uncommitted_changes: bool,
    /// What compiled it: `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub rustc: String,
    /// Wall-clock time of all commands together, without building them.
    pub seconds: f64,
    /// The exit status of the last command.
    pub exit: i32,
    /// Hashes of what it depended on, by name.
    pub inputs: BTreeMap<String, String>,
    /// Files from outside the workspace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<String, External>,
    /// What was measured.
    pub metrics: BTreeMap<String, Metric>,
    /// What each command said, in order.
    pub sessions: Vec<Session>,
}

/// A file from outside the workspace, to be recognized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// Its size.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
}

/// One command and what it said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// As one would type it.
    pub command: String,
    /// Lines of stdout and stderr, as a terminal shows them at the end.
    pub output: Vec<String>,
}

/// A measured value. In JSON a number is its text, and a series a table from x to y: a
/// line for each point.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// One number.
    Number {
        /// As it was printed.
        text: String,
        /// The same as a number.
        value: f64,
    },
    /// Points (x, y) in the order in which they were measured, such as a value for
    /// each step.
    Series(Vec<(f64, f64)>),
}

impl Metric {
    /// A number with its text.
    ///
    /// # Errors
    /// The text is not a finite number.
    pub fn number(text: &str) -> Result<Metric> {
        Ok(Metric::Number { text: text.to_string(), value: number(text)? })
    }
}

/// A text that must be a number.
pub fn number(text: &str) -> Result<f64> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| anyhow!("`{text}` is not a finite number"))
}

impl Capture {
    /// A metric by its name.
    ///
    /// # Errors
    /// There is none of that name; lists those there are.
    pub fn metric(&self, name: &str) -> Result<&Metric> {
        self.metrics.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.metrics.keys().map(String::as_str).collect();
            anyhow!("there is no metric `{name}`, only: {}", names.join(", "))
        })
    }

    /// Reads a capture; none if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Capture>> {
        match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => Ok(Some(serde_json::from_str(&text?)?)),
        }
    }

    /// Writes it whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let cannot = || format!("cannot write {}", path.display());
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let temporary = path.with_extension(format!("json.{}", std::process::id()));
        fs::write(&temporary, text).with_context(cannot)?;
        fs::rename(&temporary, path).with_context(cannot)
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Metric::Number { text, .. } => serializer.serialize_str(text),
            Metric::Series(points) => {
                serializer.collect_map(points.iter().map(|(x, y)| (x.to_string(), y)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metric, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Metric;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number's text, or a table of numbers")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Metric, E> {
                Metric::number(text).map_err(E::custom)
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<Metric, M::Error> {
                let mut points = vec![];
                while let Some((x, y)) = map.next_entry::<String, f64>()? {
                    points.push((number(&x).map_err(M::Error::custom)?, y));
                }
                Ok(Metric::Series(points))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
