//! What a run's result depends on, as hashes by name.
use super::packages::Packages;
use super::tokens;
use anyhow::{Context, Result, bail};
use regex::Regex;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's files, each hashed once.
pub struct Sources {
    root: PathBuf,
    packages: Packages,
    /// By folder, and whether with the modules of features.
    read: RefCell<BTreeMap<(PathBuf, bool), Read>>,
    hashes: RefCell<BTreeMap<PathBuf, String>>,
}

#[derive(Clone)]
struct Read {
    name: String,
    hash: String,
    dependencies: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// What was found of a run's inputs.
#[derive(Default)]
pub struct Inputs {
    /// Hashes by name: `package ops`, `file data/tokenizer.json`.
    pub hashes: BTreeMap<String, String>,
    /// The files themselves, seen from the workspace's root.
    pub files: BTreeSet<PathBuf>,
}

impl Sources {
    /// Of the workspace at `root`.
    pub fn open(root: &Path) -> Result<Sources> {
        Ok(Sources {
            root: root.to_path_buf(),
            packages: Packages::open(root)?,
            read: RefCell::default(),
            hashes: RefCell::default(),
        })
    }

    /// The inputs that packages, with all of ours they depend on, and files are; with
    /// `features`, also the modules of these.
    pub fn inputs(
        &self,
        packages: &[String],
        files: &[String],
        features: bool,
    ) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        let mut waiting = vec![];
        for name in packages {
            waiting.push(self.packages.folder(name)?.to_path_buf());
        }
        let mut seen = BTreeSet::new();
        while let Some(folder) = waiting.pop() {
            if !seen.insert(folder.clone()) {
                continue;
            }
            let package = self.package(&folder, features)?;
            inputs.hashes.insert(format!("package {}", package.name), package.hash);
            inputs.files.extend(package.files.iter().cloned());
            inputs.files.insert(folder.join("Cargo.toml"));
            waiting.extend(package.dependencies);
        }
        for pattern in files {
            let found = matching(&self.root, pattern)?;
            if found.is_empty() {
                bail!("there is no file `{pattern}` in the workspace");
            }
            for path in found {
                let files = match self.root.join(&path).is_dir() {
                    true => all_in(&self.root, &path)?,
                    false => vec![path],
                };
                for file in files {
                    let name = format!("file {}", file.display());
                    inputs.hashes.insert(name, self.file(&file)?);
                    inputs.files.insert(file);
                }
            }
        }
        Ok(inputs)
    }

    fn package(&self, folder: &Path, features: bool) -> Result<Read> {
        let key = (folder.to_path_buf(), features);
        if let Some(known) = self.read.borrow().get(&key) {
            return Ok(known.clone());
        }
        let package = self.packages.read(folder, features)?;
        let mut hasher = Sha256::new();
        canonical(&toml::Value::Table(package.manifest), &mut hasher);
        for file in &package.files {
            hasher.update(format!("\0{}\0", file.display()));
            hasher.update(self.file(file)?);
        }
        let read = Read {
            name: package.name,
            hash: hex(hasher),
            dependencies: package.dependencies,
            files: package.files.into_iter().collect(),
        };
        self.read.borrow_mut().insert(key, read.clone());
        Ok(read)
    }

    /// A Rust file by its tokens, any other by its bytes.
    fn file(&self, file: &Path) -> Result<String> {
        if let Some(known) = self.hashes.borrow().get(file) {
            return Ok(known.clone());
        }
        let mut hasher = Sha256::new();
        match file.extension().is_some_and(|extension| extension == "rs") {
            true => tokens::hash(&text(&self.root, file)?, &mut hasher),
            false => hasher.update(bytes(&self.root.join(file))?),
        }
        let hash = hex(hasher);
        self.hashes.borrow_mut().insert(file.to_path_buf(), hash.clone());
        Ok(hash)
    }
}

/// Enters a value into a hash, a table by its keys in alphabetical order.
fn canonical(value: &toml::Value, hasher: &mut Sha256) {
    match value {
        toml::Value::Table(table) => {
            hasher.update("{");
            for (key, value) in table.iter().collect::<BTreeMap<_, _>>() {
                hasher.update(format!("{key:?}="));
                canonical(value, hasher);
            }
            hasher.update("}");
        }
        toml::Value::Array(values) => {
            hasher.update("[");
            values.iter().for_each(|value| canonical(value, hasher));
            hasher.update("]");
        }
        plain => hasher.update(format!("{plain},")),
    }
}

/// The hash of some bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// A finished hash in hexadecimal digits.
pub fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of the workspace as text.
pub fn text(root: &Path, file: &Path) -> Result<String> {
    String::from_utf8(bytes(&root.join(file))?)
        .with_context(|| format!("{} is not UTF-8", file.display()))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// All files in a folder and the folders in it, but for hidden ones and what Python
/// leaves behind; in order, seen from the workspace's root as `folder` is.
pub fn all_in(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for name in names(&root.join(folder))? {
        let path = folder.join(&name);
        if root.join(&path).is_dir() {
            files.extend(all_in(root, &path)?);
        } else if !name.ends_with(".pyc") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files and folders that a path names, in which each `*` stands for any part of
/// a name; in order.
pub fn matching(root: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if !part.contains('*') {
            found.iter_mut().for_each(|path| path.push(part));
            found.retain(|path| root.join(path).exists());
            continue;
        }
        let name = regex::escape(part).replace(r"\*", ".*");
        let name = Regex::new(&format!("^{name}$"))?;
        let mut longer = vec![];
        for path in found.iter().filter(|path| root.join(path).is_dir()) {
            let names = names(&root.join(path))?.into_iter();
            let names = names.filter(|found| name.is_match(found));
            longer.extend(names.map(|name| path.join(name)));
        }
        found = longer;
    }
    Ok(found)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    let mut names = vec![];
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "__pycache__" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
