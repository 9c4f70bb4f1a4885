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
use mdbook_driver::config::Config;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use mdbook_summary::{SummaryItem, parse_summary};
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
        let wrong = match stale {
            Stale::Refuse => runs.problems()?,
            Stale::Show => runs.wrong()?,
        };
        for problem in wrong {
            problems.add(problem.file, problem.line, problem.message);
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
    stale: Stale,
    /// What was found wrong before the pages were read.
    found: Problems,
}

/// Its name in `book.toml`.
pub const NAME: &str = "book-tool";

impl BookTool {
    /// As mdBook calls it.
    pub fn new(stale: Stale) -> BookTool {
        BookTool { stale, found: Problems::default() }
    }
}

impl Preprocessor for BookTool {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&self, context: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let folder = fs::canonicalize(&context.root).with_context(|| {
            format!("cannot find the book's folder {}", context.root.display())
        })?;
        let Some(root) = folder.parent() else {
            bail!("{} is not inside a workspace", folder.display())
        };
        let src = folder.join(&context.config.book.src);
        let shown = src.strip_prefix(root).unwrap_or(&src).display().to_string();
        let mut problems = self.found.clone();
        let sources = Sources::load(root, self.stale, &mut problems)?;
        let written = book.clone();
        book.for_each_chapter_mut(|chapter| {
            if let Some(path) = &chapter.source_path {
                let place = format!("{shown}/{}", path.display());
                chapter.content =
                    page::expand(&chapter.content, &place, &sources, &mut problems);
            }
        });
        let pages = Pages::new(&written, &book);
        pages.check(&shown, &src, &sources, &mut problems);
        for page in pages_below(&src)? {
            if page != "SUMMARY.md" && !pages.has(&page) {
                let what = "not in SUMMARY.md: nobody will find this page";
                problems.add(format!("{shown}/{page}"), 1, what);
            }
        }
        problems.into_result()?;
        Ok(book)
    }
}

/// Builds the book of the workspace at `root` into `dest`, or into `target/book`;
/// returns that folder.
///
/// # Errors
/// Everything that is wrong with the book, listed; nothing was written then. Or what
/// mdBook warned of, after it has written the pages.
pub fn build(root: &Path, dest: Option<&Path>, stale: Stale) -> Result<PathBuf> {
    let mut problems = Problems::default();
    let mut book = load(&root.join("book"), &mut problems)?;
    if let Some(dest) = dest {
        book.config.build.build_dir = std::path::absolute(dest)?;
    }
    book.with_preprocessor(BookTool { stale, found: problems });
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

/// Reads the book in `folder`. Pages of SUMMARY.md that there are not go to `problems`.
fn load(folder: &Path, problems: &mut Problems) -> Result<MDBook> {
    let config = folder.join("book.toml");
    let mut config = Config::from_disk(&config)
        .with_context(|| format!("cannot read {}", config.display()))?;
    config.update_from_env()?;
    let src = folder.join(&config.book.src);
    let path = src.join("SUMMARY.md");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut summary =
        parse_summary(&text).with_context(|| format!("in {}", path.display()))?;
    let mut missing = vec![];
    for part in [
        &mut summary.prefix_chapters,
        &mut summary.numbered_chapters,
        &mut summary.suffix_chapters,
    ] {
        take_missing(part, &src, &mut missing);
    }
    for page in missing {
        let line = text.lines().position(|line| line.contains(&page)).unwrap_or(0);
        let what = format!("there is no page book/src/{page}");
        problems.add("book/src/SUMMARY.md", line + 1, what);
    }
    MDBook::load_with_config_and_summary(folder, config, summary)
}

/// Makes pages that there are not drafts, so that all others can be looked at.
fn take_missing(items: &mut [SummaryItem], src: &Path, missing: &mut Vec<String>) {
    for item in items {
        let SummaryItem::Link(link) = item else { continue };
        if let Some(page) = link.location.take_if(|page| !src.join(page).is_file()) {
            missing.push(page.display().to_string());
        }
        take_missing(&mut link.nested_items, src, missing);
    }
}

/// All `.md` files below a folder, sorted.
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
