//! The book as a whole: built, served, or preprocessed for mdBook.
use crate::exercises::{self, Exercise, Violations};
use crate::house::House;
use crate::links::Pages;
use crate::page;
use crate::problem::Problems;
use crate::runs::Runs;
use anyhow::{Context, Result, bail};
use mdbook_driver::MDBook;
use mdbook_driver::book::Book;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What to do about checked runs whose inputs have changed since they were captured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stale {
    /// Fail: what a build for others does.
    Refuse,
    /// Show a banner: while writing, or reading with changed code.
    Show,
}

/// Everything that pages are made from.
pub struct Sources {
    /// The chapters.
    pub house: House,
    /// The captured runs.
    pub runs: Runs,
    /// The exercises of all chapters.
    pub exercises: Vec<Exercise>,
}

impl Sources {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    /// What cannot be read; what is wrong with it goes to `problems`.
    pub fn load(root: &Path, stale: Stale, problems: &mut Problems) -> Result<Sources> {
        let house = House::load(root, problems)?;
        let runs = Runs::load(root)?;
        if stale == Stale::Refuse {
            for problem in runs.problems()? {
                problems.add(problem.file, problem.line, problem.message);
            }
        }
        let exercises = match exercises::list(root).map_err(|e| e.downcast()) {
            Ok(exercises) => exercises,
            Err(Ok(Violations(violations))) => {
                for violation in violations {
                    problems.add(violation.file, violation.line, violation.message);
                }
                vec![]
            }
            Err(Err(error)) => return Err(error),
        };
        Ok(Sources { house, runs, exercises })
    }
}

/// The preprocessor.
pub struct BookTool {
    /// What to do about stale runs.
    pub stale: Stale,
}

/// Its name in `book.toml`.
pub const NAME: &str = "book-tool";

impl Preprocessor for BookTool {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&self, context: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let root = root_of(&context.root)?;
        let src = context.root.join(&context.config.book.src);
        let shown = match src.strip_prefix(&root) {
            Ok(below) => below.display().to_string(),
            Err(_) => src.display().to_string(),
        };
        let mut problems = Problems::default();
        let sources = Sources::load(&root, self.stale, &mut problems)?;
        let written = book.clone();
        book.for_each_chapter_mut(|chapter| {
            if let Some(path) = &chapter.source_path {
                let place = format!("{shown}/{}", path.display());
                chapter.content =
                    page::expand(&chapter.content, &place, &sources, &mut problems);
            }
        });
        Pages::new(&written, &book).check(&shown, &src, &mut problems);
        problems.into_result()?;
        Ok(book)
    }
}

/// The workspace that a book's folder lies in.
fn root_of(book: &Path) -> Result<PathBuf> {
    let book = fs::canonicalize(book)
        .with_context(|| format!("cannot find the book's folder {}", book.display()))?;
    match book.parent() {
        Some(root) => Ok(root.to_path_buf()),
        None => bail!("{} is not inside a workspace", book.display()),
    }
}

/// Builds the book of the workspace at `root` into `dest`, or into `target/book`;
/// returns that folder.
///
/// # Errors
/// Everything that is wrong with the book, listed; nothing was written then.
pub fn build(root: &Path, dest: Option<&Path>, stale: Stale) -> Result<PathBuf> {
    let folder = root.join("book");
    check_summary(&folder)?;
    let mut book = MDBook::load(&folder)?;
    if let Some(dest) = dest {
        book.config.build.build_dir = std::path::absolute(dest)?;
    }
    book.with_preprocessor(BookTool { stale });
    let dest = clean(&book.build_dir_for("html"));
    let warnings = crate::warnings::during(|| book.build())?;
    if !warnings.is_empty() {
        bail!("mdBook warns:\n  {}", warnings.join("\n  "))
    }
    Ok(dest)
}

/// Without `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// Every page of SUMMARY.md exists, and every page is in SUMMARY.md.
fn check_summary(folder: &Path) -> Result<()> {
    let src = folder.join("src");
    let path = src.join("SUMMARY.md");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut problems = Problems::default();
    let mut named = vec![];
    for (at, line) in text.lines().enumerate() {
        let target = line.split_once("](").and_then(|(_, rest)| rest.split(')').next());
        let Some(target) = target.filter(|target| !target.is_empty()) else { continue };
        let target = target.trim_start_matches("./");
        named.push(target.to_string());
        if !src.join(target).is_file() {
            let what = format!("there is no page book/src/{target}");
            problems.add("book/src/SUMMARY.md", at + 1, what);
        }
    }
    for page in pages_below(&src)? {
        if page != "SUMMARY.md" && !named.contains(&page) {
            let what = "not in SUMMARY.md: nobody will find this page";
            problems.add(format!("book/src/{page}"), 1, what);
        }
    }
    problems.into_result()
}

fn pages_below(folder: &Path) -> Result<Vec<String>> {
    let mut found = vec![];
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = pages_below(&path)?;
            found.extend(below.into_iter().map(|page| format!("{name}/{page}")));
        } else if name.ends_with(".md") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}
