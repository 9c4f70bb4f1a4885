//! A model's folder on disk, and the spec by which a user names it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::config::ModelConfig;
use crate::environment::Hub;
use crate::weights::Weights;

/// No honest config.json is larger.
const MAX_CONFIG_BYTES: u64 = 16_000_000;

/// A local folder that holds a model in Hugging Face form.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens a local folder, or a hub id `org/name[@revision]`, which is fetched into
    /// the cache first ([`Hub::from_env`] says which environment variables count).
    ///
    /// # Errors
    /// Neither a folder nor an id, or the hub's refusal, in words.
    pub fn open(spec: &str) -> Result<Folder> {
        match Spec::parse(spec)? {
            Spec::Local(path) => Ok(Folder { path }),
            Spec::Hub { id, revision } => Hub::from_env()?.fetch(&id, &revision),
        }
    }

    /// A folder that is known to be one.
    pub(crate) fn at(path: PathBuf) -> Folder {
        Folder { path }
    }

    /// Where it is; for a hub id, its snapshot in the cache.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks `config.json`.
    pub fn config(&self) -> Result<ModelConfig> {
        let path = self.path.join("config.json");
        ensure!(
            path.exists(),
            "{} has no config.json; it holds {}. A model folder in Hugging Face form \
             is expected",
            self.path.display(),
            listing(&self.path)
        );
        ModelConfig::from_json(&read_small(&path, MAX_CONFIG_BYTES)?, &path)
    }

    /// `tokenizer.json`, if there is one.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        let path = self.path.join("tokenizer.json");
        path.is_file().then_some(path)
    }

    /// Maps `model.safetensors`, or the shards its index names.
    pub fn weights(&self) -> Result<Weights> {
        Weights::open(&self.path)
    }
}

/// What a user's spec means.
#[derive(Debug, PartialEq)]
pub(crate) enum Spec {
    /// A folder that exists.
    Local(PathBuf),
    /// `org/name`, and the revision (a branch, tag or commit).
    Hub { id: String, revision: String },
}

impl Spec {
    pub(crate) fn parse(spec: &str) -> Result<Spec> {
        let path = Path::new(spec);
        if path.is_dir() {
            return Ok(Spec::Local(path.to_owned()));
        }
        ensure!(
            !path.exists(),
            "{spec} is a file; the folder that holds config.json is expected"
        );
        let looks_local = [".", "/", "~", "\\"].iter().any(|p| spec.starts_with(p));
        ensure!(!looks_local, "there is no folder {spec}");

        let (id, revision) = spec.split_once('@').unwrap_or((spec, "main"));
        let named = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !part.starts_with(['-', '.'])
                && !part.contains("..")
                && !part.contains("--") // how the cache writes the slash
        };
        match id.split_once('/') {
            Some((org, name)) if named(org) && named(name) => {}
            _ => bail!(
                "`{spec}` is neither a folder here nor a Hugging Face id: an id has \
                 the form org/name or org/name@revision, as in Qwen/Qwen3-0.6B"
            ),
        }
        let sound = !revision.is_empty()
            && revision.split('/').all(|p| named(&p.replace("--", "-")));
        ensure!(
            sound,
            "`{revision}` in `{spec}` is no revision: a branch, a tag or a commit is \
             expected after the @"
        );
        Ok(Spec::Hub { id: id.to_owned(), revision: revision.to_owned() })
    }
}

/// Reads a text file of at most `limit` bytes; broken UTF-8 is reported by position.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<String> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut bytes = vec![];
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(
        bytes.len() as u64 <= limit,
        "{name} is larger than {limit} bytes; a text file is expected"
    );
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..at];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
        anyhow!(
            "{name}, line {line} column {column}: byte {:#04x} is not UTF-8; the file \
             is damaged or in another encoding",
            error.as_bytes().get(at).copied().unwrap_or(0)
        )
    })
}

/// What a folder holds, in a few words, for messages.
pub(crate) fn listing(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return "nothing that can be read".to_string();
    };
    let mut names: Vec<String> = entries
        .take(10_000)
        .filter_map(|entry| {
            Some(entry.ok()?.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    match names.len() {
        0 => "nothing".to_string(),
        1..=6 => names.join(", "),
        more => format!("{} and {} more", names[..5].join(", "), more - 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(id: &str, revision: &str) -> Spec {
        Spec::Hub { id: id.into(), revision: revision.into() }
    }

    #[test]
    fn ids_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(Spec::parse(path).unwrap(), Spec::Local(path.into()));
        assert_eq!(Spec::parse("a/b").unwrap(), hub("a/b", "main"));
        assert_eq!(Spec::parse("Qw/Q3-0.6B@v1").unwrap(), hub("Qw/Q3-0.6B", "v1"));
        assert_eq!(Spec::parse("a/b@refs/pr/3").unwrap(), hub("a/b", "refs/pr/3"));
    }

    #[test]
    fn neither() {
        let error = |spec: &str| format!("{:#}", Spec::parse(spec).unwrap_err());
        for spec in ["foo", "a/b/c", "", "a/..", "a/b c", "a--b/c", "-a/b", "a/"] {
            assert!(error(spec).contains("neither a folder here nor"), "{spec}");
        }
        assert!(error("./foo").contains("there is no folder ./foo"));
        assert!(error("/nowhere/at/all").contains("there is no folder"));
        assert!(error("a/b@").contains("no revision"));
        assert!(error("a/b@../../x").contains("no revision"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(error(file.path().to_str().unwrap()).contains("is a file"));
    }
}
