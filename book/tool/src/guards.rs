//! Which technique each test guards: a chapter's tests guard the chapter's, a shared
//! crate's that crate's, and each file says in its first line what it is about.
use crate::house::{first_sentence, module_docs, rust_files};
use crate::problem::Problems;
use crate::source;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// The tests of a package.
pub struct Package {
    /// Its folder, from the workspace's root: `chapters/ch01_single_gpu`.
    pub name: String,
    /// What its `lib.rs` or `main.rs` says it is: the technique.
    pub about: String,
    /// Its files with tests.
    pub files: Vec<Guard>,
}

/// A file with tests.
pub struct Guard {
    /// From the package's folder.
    pub file: String,
    /// What it guards, in its own words.
    pub guards: String,
    /// The names of its tests.
    pub tests: Vec<String>,
}

/// Chapters first: their tests guard techniques.
const FOLDERS: [&str; 4] = ["chapters", "tests", "shared", "data"];

/// All packages that have tests. That a file with tests does not say in a `//!` what
/// they guard goes to `problems`.
///
/// # Errors
/// A file cannot be read.
pub fn read(root: &Path, problems: &mut Problems) -> Result<Vec<Package>> {
    let mut packages = vec![];
    for folder in FOLDERS {
        for package in packages_below(root, folder)? {
            packages.push(read_package(root, &package, problems)?);
        }
    }
    let tool = Path::new("book/tool");
    if root.join(tool).is_dir() {
        packages.push(read_package(root, tool, problems)?);
    }
    packages.retain(|package| !package.files.is_empty());
    Ok(packages)
}

fn packages_below(root: &Path, folder: &str) -> Result<Vec<PathBuf>> {
    let path = root.join(folder);
    let mut found = vec![];
    if !path.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(&path).with_context(|| format!("cannot list {path:?}"))? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            let name = path.file_name().unwrap_or_default();
            found.push(Path::new(folder).join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn read_package(
    root: &Path,
    package: &Path,
    problems: &mut Problems,
) -> Result<Package> {
    let folder = root.join(package);
    let mut about = String::new();
    for file in ["src/lib.rs", "src/main.rs"] {
        if about.is_empty() && folder.join(file).is_file() {
            let place = package.join(file);
            if let Some(parsed) = parse(root, &place, problems)? {
                about = first_sentence(&module_docs(&parsed.attrs));
            }
        }
    }
    let mut files = vec![];
    for part in ["src", "tests"] {
        for file in rust_files(&folder.join(part))? {
            // What a test works on is no test of ours.
            if file.split('/').any(|part| part == "fixtures") {
                continue;
            }
            let path = format!("{part}/{file}");
            let place = package.join(&path);
            let Some(parsed) = parse(root, &place, problems)? else { continue };
            let mut tests = Tests::default();
            tests.visit_file(&parsed);
            if tests.0.is_empty() {
                continue;
            }
            let guards = first_sentence(&module_docs(&parsed.attrs));
            if guards.is_empty() {
                let what = "tests without a `//!` at the top that says what they guard";
                problems.add(place.display(), 1, what);
            }
            files.push(Guard { file: path, guards, tests: tests.0 });
        }
    }
    Ok(Package { name: package.display().to_string(), about, files })
}

/// A file as seen from the workspace's root; nothing if it is not Rust.
fn parse(
    root: &Path,
    path: &Path,
    problems: &mut Problems,
) -> Result<Option<syn::File>> {
    let text = source::read(&root.join(path))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let parsed = source::parse(&text);
    Ok(parsed.map_err(|(line, what)| problems.add(path.display(), line, what)).ok())
}

/// The names of functions marked `#[test]`.
#[derive(Default)]
struct Tests(Vec<String>);

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.attrs.iter().any(|attr| attr.path().is_ident("test")) {
            self.0.push(function.sig.ident.to_string());
        }
        visit::visit_item_fn(self, function);
    }
}
