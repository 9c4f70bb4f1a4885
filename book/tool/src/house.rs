//! The house: which chapter tells which file, read from the chapters' `lib.rs`.
use crate::problem::Problems;
use crate::source;
use anyhow::{Context, Result, anyhow};
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
    /// The line of `lib.rs` that names it, or the file it is below.
    pub line: usize,
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
                Err((line, what)) => problems.add(lib_rs(&name), line, what),
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
        source::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The rules of the house: nothing is retold without a change, and whatever is
    /// named elsewhere is named where it was last told, in an earlier chapter.
    fn check(&self, problems: &mut Problems) {
        for (at, chapter) in self.chapters.iter().enumerate() {
            for telling in &chapter.files {
                let mut before = self.chapters[..at].iter().rev();
                let last = before.find_map(|c| c.telling(&telling.file));
                let here = telling.told_in == chapter.name;
                if telling.told_in > chapter.name {
                    problems.add(
                        lib_rs(&chapter.name),
                        telling.line,
                        format!(
                            "{} is named as told in {}, which comes later",
                            telling.file, telling.told_in
                        ),
                    );
                }
                if let Some(last) = last
                    && !here
                    && last.told_in != telling.told_in
                {
                    problems.add(
                        lib_rs(&chapter.name),
                        telling.line,
                        format!(
                            "{} is named as told in {}, but {} told it last: name that",
                            telling.file, telling.told_in, last.told_in
                        ),
                    );
                }
                if let Some(last) = last
                    && here
                    && last.told_in != chapter.name
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

/// A chapter, or what is wrong with its `lib.rs`, and in which line.
fn read_chapter(
    folder: &Path,
    name: &str,
    problems: &mut Problems,
) -> Result<Chapter, (usize, String)> {
    let src = folder.join(name).join("src");
    let text = source::read(&src.join("lib.rs"))
        .map_err(|error| (1, format!("cannot be read: {error}")))?;
    let parsed = source::parse(&text)?;
    let here = |file: String, line| Telling { file, told_in: name.to_string(), line };
    let mut files = vec![here("lib.rs".into(), 1)];
    for item in &parsed.items {
        let syn::Item::Mod(module) = item else { continue };
        if module.content.is_some() {
            continue;
        }
        let line = module.span().start().line;
        match named_elsewhere(module) {
            None => {
                let module = module.ident.to_string();
                let told = told_here(&src, &module);
                if told.is_empty() {
                    let what = format!("there is no {module}.rs here, and no #[path]");
                    problems.add(lib_rs(name), line, what);
                }
                files.extend(told.into_iter().map(|file| here(file, line)));
            }
            Some(named) => match read_path(&src, &named) {
                Ok((told_in, told)) => {
                    files.extend(told.into_iter().map(|file| Telling {
                        file,
                        told_in: told_in.clone(),
                        line,
                    }))
                }
                Err(error) => problems.add(lib_rs(name), line, error),
            },
        }
    }
    if src.join("main.rs").is_file() {
        files.push(here("main.rs".into(), 1));
    }
    for file in rust_files(&src).map_err(|error| (1, format!("{error:#}")))? {
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
fn told_here(src: &Path, module: &str) -> Vec<String> {
    let file = format!("{module}.rs");
    let own = src.join(&file).is_file().then_some(file);
    own.into_iter().chain(files_below(src, module)).collect()
}

/// The files of a folder, as seen from `src`.
fn files_below(src: &Path, folder: &str) -> impl Iterator<Item = String> {
    let below = rust_files(&src.join(folder)).unwrap_or_default();
    below.into_iter().map(move |file| format!("{folder}/{file}"))
}

/// `../../ch07_pipeline_parallel/src/pipeline.rs`: the chapter, and its files that come
/// with this one. Those are all of a folder whose `mod.rs` is named.
fn read_path(src: &Path, named: &str) -> Result<(String, Vec<String>), String> {
    let expected = "expected \"../../chNN_name/src/file.rs\"";
    let path = named.strip_prefix("../../").and_then(|path| path.split_once("/src/"));
    let Some((chapter, file)) = path.filter(|(chapter, _)| !chapter.contains('/'))
    else {
        return Err(format!("#[path = \"{named}\"]: {expected}"));
    };
    if !src.join(named).is_file() {
        return Err(format!("#[path]: there is no chapters/{chapter}/src/{file}"));
    }
    let files = match file.strip_suffix("/mod.rs") {
        Some(folder) => {
            let src = src.join("../..").join(chapter).join("src");
            files_below(&src, folder).collect()
        }
        None => vec![file.to_string()],
    };
    Ok((chapter.to_string(), files))
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
    let mut docs = vec![];
    for attr in
        attrs.iter().filter(|attr| matches!(attr.style, syn::AttrStyle::Inner(_)))
    {
        if let syn::Meta::NameValue(pair) = &attr.meta
            && pair.path.is_ident("doc")
            && let Some(text) = literal(&pair.value)
        {
            docs.push(text.trim().to_string());
        }
    }
    docs.join("\n")
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

#[cfg(test)]
mod tests {
    use super::first_sentence;

    #[test]
    fn a_sentence_ends_with_its_paragraph() {
        assert_eq!(first_sentence("\n# A b\nc. D.\n\nE."), "A b c.");
        assert_eq!(first_sentence("A b\nof ch1.rs\n\nC. D."), "A b of ch1.rs");
    }
}
