//! The packages of the workspace, as their manifests tell of them.
use super::tokens;
use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use toml::{Table, Value};

/// A package of the workspace, its paths as seen from the workspace's root.
pub struct Package {
    /// Its name.
    pub name: String,
    /// What decides what it builds; `[dev-dependencies]`, tests and lints do not.
    pub manifest: Table,
    /// The folders of the packages that it depends on and that are ours.
    pub dependencies: Vec<PathBuf>,
    /// Every file that its library and programs are built from, but perhaps those of
    /// features.
    pub files: BTreeSet<PathBuf>,
}

/// The packages by folder, read when they are asked for.
pub struct Packages {
    root: PathBuf,
    workspace: Table,
    folders: BTreeMap<String, PathBuf>,
}

impl Packages {
    /// Reads the workspace's manifest and the names of its members.
    pub fn open(root: &Path) -> Result<Packages> {
        let manifest = read(&root.join("Cargo.toml"))?;
        let workspace = table(&manifest, "workspace").cloned().unwrap_or_default();
        let mut folders = BTreeMap::new();
        let members = workspace.get("members").and_then(Value::as_array);
        let members = members.into_iter().flatten().filter_map(Value::as_str);
        for member in members.chain(["."]) {
            for folder in super::inputs::matching(root, member)? {
                let path = root.join(&folder).join("Cargo.toml");
                if path.is_file()
                    && let Some(name) = name(&read(&path)?)
                {
                    folders.insert(name, clean(&folder));
                }
            }
        }
        Ok(Packages { root: root.to_path_buf(), workspace, folders })
    }

    /// The folder of a package.
    pub fn folder(&self, name: &str) -> Result<&Path> {
        let folder = self.folders.get(name).map(PathBuf::as_path);
        folder.ok_or_else(|| {
            let near = super::near(name, self.folders.keys());
            anyhow!("the workspace has no package `{name}`{near}")
        })
    }

    /// Reads the package of a folder, with the modules of its features or without.
    pub fn read(&self, folder: &Path, features: bool) -> Result<Package> {
        let mut manifest = read(&self.root.join(folder).join("Cargo.toml"))?;
        let name = name(&manifest)
            .with_context(|| format!("{}/Cargo.toml has no name", folder.display()))?;
        let files = self.files(folder, &manifest, features)?;
        let dependencies = self.dependencies(folder, &manifest);
        for other in ["dev-dependencies", "test", "bench", "example", "lints"] {
            manifest.remove(other);
        }
        Ok(Package { name, manifest, dependencies, files })
    }

    fn dependencies(&self, folder: &Path, manifest: &Table) -> Vec<PathBuf> {
        let mut tables = vec![manifest];
        let targets = table(manifest, "target").into_iter().flatten();
        tables.extend(targets.filter_map(|(_, target)| target.as_table()));
        let mut folders = vec![];
        for owner in tables {
            for kind in ["dependencies", "build-dependencies"] {
                for (name, wanted) in table(owner, kind).into_iter().flatten() {
                    let path = wanted.get("path").and_then(Value::as_str);
                    let shared = || {
                        let all = table(&self.workspace, "dependencies")?;
                        let path = all.get(name)?.get("path")?.as_str()?;
                        wanted.get("workspace")?.as_bool()?.then(|| PathBuf::from(path))
                    };
                    let path = path.map(|path| folder.join(path)).or_else(shared);
                    folders.extend(path.map(|path| clean(&path)));
                }
            }
        }
        folders
    }

    /// Everything in `src/` (but without `features`, their modules), `build.rs`, roots
    /// that the manifest names, and whatever these take in from elsewhere.
    fn files(
        &self,
        folder: &Path,
        manifest: &Table,
        features: bool,
    ) -> Result<BTreeSet<PathBuf>> {
        let mut waiting: Vec<PathBuf> = vec![];
        if self.root.join(folder).join("src").is_dir() {
            waiting.extend(super::inputs::all_in(&self.root, &folder.join("src"))?);
        }
        let mut left_out = vec![];
        for file in waiting.iter().filter(|file| !features && is_rust(file)) {
            let source = super::inputs::text(&self.root, file)?;
            left_out.extend(of_features(file, &source));
        }
        waiting.retain(|file| !left_out.iter().any(|module| file.starts_with(module)));
        let library = manifest.get("lib").into_iter();
        let programs = manifest.get("bin").and_then(Value::as_array);
        let roots = library.chain(programs.into_iter().flatten());
        let roots = roots.filter_map(|root| root.get("path")?.as_str());
        let build = manifest.get("package").and_then(|package| package.get("build"));
        let build = build.and_then(Value::as_str).unwrap_or("build.rs");
        for path in roots.chain([build]) {
            waiting.extend(self.existing(clean(&folder.join(path))));
        }
        let mut files = BTreeSet::new();
        while let Some(file) = waiting.pop() {
            if files.insert(file.clone()) && is_rust(&file) {
                let source = super::inputs::text(&self.root, &file)?;
                let inside = file.starts_with(folder.join("src"));
                waiting.extend(self.taken_in(&file, &source, inside));
            }
        }
        Ok(files)
    }

    fn existing(&self, file: PathBuf) -> Option<PathBuf> {
        self.root.join(&file).is_file().then_some(file)
    }

    /// The files that a Rust file takes in: by `#[path = "…"] mod x;`, `include!` and
    /// its kin, and, where the file itself lies outside its package's `src/`, by
    /// `mod x;`.
    fn taken_in(&self, file: &Path, source: &str, inside: bool) -> Vec<PathBuf> {
        let parent = file.parent().unwrap_or(Path::new(""));
        let own = file.with_extension("");
        let tokens: Vec<&str> = tokens::tokens(source).iter().map(|t| t.text).collect();
        let mut found = vec![];
        for at in 0..tokens.len() {
            let named = match &tokens[at..] {
                ["#", "[", "path", "=", name, "]", ..] => {
                    string(name).map(PathBuf::from)
                }
                ["include" | "include_str" | "include_bytes", "!", "(", name, ..] => {
                    string(name).map(PathBuf::from)
                }
                ["mod", name, ";", ..] if !inside => {
                    // Beside the file if a #[path] or a mod.rs made it its folder's
                    // root, else in the folder of its name.
                    for place in [parent, &own] {
                        found.push(place.join(format!("{name}.rs")));
                        found.push(place.join(name).join("mod.rs"));
                    }
                    None
                }
                _ => None,
            };
            found.extend(named.map(|name| parent.join(name)));
        }
        found.iter().filter_map(|path| self.existing(clean(path))).collect()
    }
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

/// The modules that a file in `src/` has only with a feature: their file and folder.
fn of_features(file: &Path, source: &str) -> Vec<PathBuf> {
    let root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
    let parent = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let folder = if root { parent } else { file.with_extension("") };
    let tokens: Vec<&str> = tokens::tokens(source).iter().map(|t| t.text).collect();
    let mut found = vec![];
    for at in 0..tokens.len() {
        let ["#", "[", "cfg", "(", "feature", "=", _, ")", "]", after @ ..] =
            &tokens[at..]
        else {
            continue;
        };
        let name = match after {
            ["mod", name, ";", ..]
            | ["pub", "mod", name, ";", ..]
            | ["pub", "(", _, ")", "mod", name, ";", ..] => name,
            _ => continue,
        };
        found.extend([folder.join(format!("{name}.rs")), folder.join(name)]);
    }
    found
}

fn string(token: &str) -> Option<&str> {
    token.strip_prefix('"')?.strip_suffix('"')
}

fn read(path: &Path) -> Result<Table> {
    let cannot = || format!("cannot read {}", path.display());
    fs::read_to_string(path).with_context(cannot)?.parse().with_context(cannot)
}

fn table<'a>(of: &'a Table, key: &str) -> Option<&'a Table> {
    of.get(key)?.as_table()
}

fn name(manifest: &Table) -> Option<String> {
    Some(table(manifest, "package")?.get("name")?.as_str()?.to_string())
}

/// A path without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}
