//! The house: which chapter tells which file, read from the chapters' `lib.rs`.
use crate::problem::Problems;
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;

/// All chapters, in order.
pub struct House {
    /// The workspace's root.
    pub root: PathBuf,
    /// By their number.
    pub chapters: Vec<Chapter>,
}

/// A chapter's crate.
pub struct Chapter {
    /// The name of the crate and of its folder: `ch05_tensor_parallel`.
    pub name: String,
    /// What its `lib.rs` says it is, in one sentence.
    pub about: String,
    /// Every file that its program is made of, in the order in which `lib.rs` names
    /// them, `lib.rs` first and `main.rs` last.
    pub files: Vec<Telling>,
}

/// A file of a chapter, and where it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// `train.rs`, or `engine/queue.rs` for a file of a folder.
    pub file: String,
    /// The chapter in whose folder the file lies: this one, or an earlier one.
    pub told_in: String,
}

/// A file that a chapter tells, against the one it takes the place of.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `train.rs`.
    pub file: String,
    /// The chapter that told it before; none if it is new.
    pub from: Option<String>,
}

impl House {
    /// Reads the chapters below `root/chapters`; what is wrong with them goes to
    /// `problems`.
    ///
    /// # Errors
    /// A folder or file that cannot be read.
    pub fn load(root: &Path, problems: &mut Problems) -> Result<House> {
        let folder = root.join("chapters");
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        let mut names = vec![];
        for entry in entries {
            let path = entry?.path();
            if path.join("Cargo.toml").is_file() {
                names
                    .extend(path.file_name().map(|n| n.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        let mut house = House { root: root.to_path_buf(), chapters: vec![] };
        for name in names {
            match read_chapter(&folder, &name, problems) {
                Ok(chapter) => house.chapters.push(chapter),
                Err(error) => problems.add(lib_rs(&name), 1, format!("{error:#}")),
            }
        }
        house.check(problems);
        Ok(house)
    }

    /// The chapter that is called `name`, or by its number alone (`ch05`).
    ///
    /// # Errors
    /// There is none.
    pub fn chapter(&self, name: &str) -> Result<&Chapter> {
        Ok(&self.chapters[self.position(name)?])
    }

    fn position(&self, name: &str) -> Result<usize> {
        let is = |chapter: &Chapter| {
            chapter.name == name
                || chapter
                    .name
                    .split_once('_')
                    .is_some_and(|(number, _)| number == name)
        };
        self.chapters.iter().position(is).ok_or_else(|| {
            let names: Vec<_> = self.chapters.iter().map(|c| c.name.as_str()).collect();
            anyhow!("no chapter `{name}`; there are {}", names.join(", "))
        })
    }

    /// The files that a chapter tells itself, each with who told it before.
    ///
    /// A chapter's `main.rs` is left out where only the crate's name differs.
    ///
    /// # Errors
    /// There is no such chapter.
    pub fn step(&self, chapter: &str) -> Result<Vec<Change>> {
        let at = self.position(chapter)?;
        let chapter = &self.chapters[at];
        let told = chapter.files.iter().filter(|t| t.told_in == chapter.name);
        let mut changes = vec![];
        for telling in told {
            let before = self.chapters[..at].iter().rev();
            let from = before
                .filter_map(|c| c.telling(&telling.file))
                .map(|before| before.told_in.clone())
                .next();
            if let Some(from) = &from
                && telling.file == "main.rs"
                && self.renamed(from, &chapter.name)?
            {
                continue;
            }
            changes.push(Change { file: telling.file.clone(), from });
        }
        Ok(changes)
    }

    /// Whether the programs of two chapters differ in the crate's name alone.
    fn renamed(&self, old: &str, new: &str) -> Result<bool> {
        let [a, b] = [self.text(old, "main.rs")?, self.text(new, "main.rs")?];
        let number = |name: &str| -> String {
            let digits = name.trim_start_matches("ch").split('_').next();
            digits.unwrap_or_default().trim_start_matches('0').into()
        };
        // Its first line says "The program of chapter 5."
        let [from, to] = [old, new].map(|name| format!("chapter {}.", number(name)));
        Ok(a.replace(old, new).replace(&from, &to) == b)
    }

    /// What a file of a chapter's folder holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text(&self, chapter: &str, file: &str) -> Result<String> {
        let path = self.root.join("chapters").join(chapter).join("src").join(file);
        fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))
    }

    /// The rules of the house: nothing is retold without a change, and whatever is
    /// named elsewhere is named where it was last told.
    fn check(&self, problems: &mut Problems) {
        for (at, chapter) in self.chapters.iter().enumerate() {
            for telling in &chapter.files {
                let mut before = self.chapters[..at].iter().rev();
                let last = before.find_map(|c| c.telling(&telling.file));
                let here = telling.told_in == chapter.name;
                if let Some(last) = last
                    && !here
                    && last.told_in != telling.told_in
                {
                    problems.add(
                        lib_rs(&chapter.name),
                        1,
                        format!(
                            "{} is named as told in {}, but {} told it last: name that",
                            telling.file, telling.told_in, last.told_in
                        ),
                    );
                }
                if let Some(last) = last
                    && here
                    && self.equal(&chapter.name, &last.told_in, &telling.file)
                {
                    problems.add(
                        format!("chapters/{}/src/{}", chapter.name, telling.file),
                        1,
                        format!(
                            "retold, but equal to {}'s: delete it and name that one in \
                             lib.rs by #[path]",
                            last.told_in
                        ),
                    );
                }
            }
        }
    }

    fn equal(&self, a: &str, b: &str, file: &str) -> bool {
        match (self.text(a, file), self.text(b, file)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
    }
}

impl Chapter {
    /// Where a file is told, if the chapter has it.
    pub fn telling(&self, file: &str) -> Option<&Telling> {
        self.files.iter().find(|telling| telling.file == file)
    }
    /// Its number: 5 of `ch05_tensor_parallel`.
    pub fn number(&self) -> Option<u32> {
        self.name.strip_prefix("ch")?.split('_').next()?.parse().ok()
    }
}

fn lib_rs(chapter: &str) -> String {
    format!("chapters/{chapter}/src/lib.rs")
}

fn read_chapter(folder: &Path, name: &str, problems: &mut Problems) -> Result<Chapter> {
    let src = folder.join(name).join("src");
    let path = src.join("lib.rs");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let parsed = syn::parse_file(&text).context("this is not Rust")?;
    let here = |file: String| Telling { file, told_in: name.to_string() };
    let mut files = vec![here("lib.rs".into())];
    for item in &parsed.items {
        let syn::Item::Mod(module) = item else { continue };
        if module.content.is_some() {
            continue;
        }
        let line = module.span().start().line;
        match named_elsewhere(module) {
            None => files.extend(told_here(&src, &module.ident.to_string()).map(here)),
            Some(named) => match read_path(folder, &src, &named) {
                Ok(telling) => files.push(telling),
                Err(error) => problems.add(lib_rs(name), line, format!("{error:#}")),
            },
        }
    }
    if src.join("main.rs").is_file() {
        files.push(here("main.rs".into()));
    }
    for file in rust_files(&src)? {
        let known = files.iter().any(|t| t.told_in == name && t.file == file);
        if !known {
            let place = format!("chapters/{name}/src/{file}");
            problems.add(place, 1, "no `mod` in lib.rs leads here: name or delete it");
        }
    }
    let about = first_sentence(&module_docs(&parsed.attrs));
    if about.is_empty() {
        problems.add(lib_rs(name), 1, "no `//!` that says what the chapter is");
    }
    Ok(Chapter { name: name.to_string(), about, files })
}

/// What `#[path = "…"]` says.
fn named_elsewhere(module: &syn::ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attr| match &attr.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => {
            literal(&pair.value)
        }
        _ => None,
    })
}

fn literal(expr: &syn::Expr) -> Option<String> {
    match expr {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
            Some(text.value())
        }
        _ => None,
    }
}

/// The files of a module that is told in this folder: its own, and those below it.
fn told_here(src: &Path, module: &str) -> impl Iterator<Item = String> {
    let file = format!("{module}.rs");
    let below = rust_files(&src.join(module)).unwrap_or_default();
    let own = src.join(&file).is_file().then_some(file);
    let module = module.to_string();
    own.into_iter().chain(below.into_iter().map(move |f| format!("{module}/{f}")))
}

/// `../../ch07_pipeline_parallel/src/pipeline.rs`.
fn read_path(folder: &Path, src: &Path, named: &str) -> Result<Telling> {
    let parts: Vec<_> = named.split('/').collect();
    let ["..", "..", chapter, "src", file @ ..] = &parts[..] else {
        return Err(anyhow!(
            "#[path = \"{named}\"]: expected \"../../chNN_name/src/file.rs\""
        ));
    };
    if !src.join(named).is_file() {
        let path = folder.join(chapter).join("src").join(file.join("/"));
        return Err(anyhow!("#[path]: there is no {}", path.display()));
    }
    Ok(Telling { file: file.join("/"), told_in: chapter.to_string() })
}

/// All `.rs` files below a folder, sorted; none if there is no folder.
pub fn rust_files(folder: &Path) -> Result<Vec<String>> {
    let mut found = vec![];
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = rust_files(&path)?;
            found.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else if name.ends_with(".rs") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// The text of `//!` comments, a line each.
pub fn module_docs(attrs: &[syn::Attribute]) -> String {
    let mut docs = BTreeMap::new();
    for attr in
        attrs.iter().filter(|attr| matches!(attr.style, syn::AttrStyle::Inner(_)))
    {
        if let syn::Meta::NameValue(pair) = &attr.meta
            && pair.path.is_ident("doc")
            && let Some(text) = literal(&pair.value)
        {
            docs.insert(attr.span().start().line, text);
        }
    }
    let lines: Vec<_> = docs.values().map(|line| line.trim()).collect();
    lines.join("\n")
}

/// Up to the first full stop or the end of the paragraph.
pub fn first_sentence(docs: &str) -> String {
    let paragraph = docs.trim().split("\n\n").next().unwrap_or_default();
    let line = paragraph.replace('\n', " ");
    let line = line.trim_start_matches('#').trim();
    match line.find(". ") {
        Some(end) => line[..=end].to_string(),
        None => line.to_string(),
    }
}
