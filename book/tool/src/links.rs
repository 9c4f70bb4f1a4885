//! What a page refers to: other pages and their headings, images; and its blocks of
//! code.
use crate::problem::Problems;
use mdbook_driver::book::Book;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// The pages of a book as they are written, each with the names that its headings have
/// as targets of links.
pub struct Pages<'a> {
    pages: BTreeMap<PathBuf, (&'a str, BTreeSet<String>)>,
}

/// As mdBook reads markdown.
fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(
        text,
        Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_HEADING_ATTRIBUTES
            | Options::ENABLE_SMART_PUNCTUATION
            | Options::ENABLE_DEFINITION_LIST
            | Options::ENABLE_GFM,
    )
}

/// The bytes of each fenced block of code.
pub fn code_blocks(text: &str) -> Vec<Range<usize>> {
    let fenced = |(event, range): (Event, Range<usize>)| match event {
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => Some(range),
        _ => None,
    };
    parser(text).into_offset_iter().filter_map(fenced).collect()
}

impl<'a> Pages<'a> {
    /// `written` are the pages as they are in their files, `expanded` what the reader
    /// sees: headings are taken from there.
    pub fn new(written: &'a Book, expanded: &Book) -> Pages<'a> {
        let mut pages = BTreeMap::new();
        for chapter in written.chapters() {
            if let Some(path) = &chapter.source_path {
                pages.insert(path.clone(), (chapter.content.as_str(), BTreeSet::new()));
            }
        }
        for chapter in expanded.chapters() {
            let page =
                chapter.source_path.as_ref().and_then(|path| pages.get_mut(path));
            if let Some((_, headings)) = page {
                *headings = targets(&chapter.content);
            }
        }
        Pages { pages }
    }

    /// Looks at every page; `src` is the folder that they lie in, as seen from the
    /// workspace's root, and `files` the same folder on disk.
    pub fn check(&self, src: &str, files: &Path, problems: &mut Problems) {
        for (path, (text, _)) in &self.pages {
            let place = format!("{src}/{}", path.display());
            let mut say = |at: usize, what: String| {
                let line = 1 + text[..at].matches('\n').count();
                problems.add(&place, line, what);
            };
            for (event, range) in parser(text).into_offset_iter() {
                self.look(path, files, text, event, range, &mut say);
            }
        }
    }

    fn look(
        &self,
        page: &Path,
        files: &Path,
        text: &str,
        event: Event,
        range: Range<usize>,
        say: &mut impl FnMut(usize, String),
    ) {
        let at = range.start;
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(tag)))
                if tag.is_empty() =>
            {
                let what = "a block of code without a language: expected ```rust, ```sh, \
                            ```console or ```text";
                say(at, what.into());
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => {
                say(
                    at,
                    "an indented block of code: fence it, and name its language".into(),
                );
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                self.link(page, files, &dest_url).unwrap_or_else(|e| say(at, e));
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                self.link(page, files, &dest_url).unwrap_or_else(|e| say(at, e));
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                for url in attributes(&html) {
                    self.link(page, files, url).unwrap_or_else(|e| say(at, e));
                }
            }
            // `[text][name]` without a definition is shown as it is written.
            Event::Text(_) if text[range.clone()].starts_with("][") => {
                say(at, "a link by reference that is defined nowhere".into());
            }
            _ => {}
        }
    }

    fn link(&self, page: &Path, files: &Path, url: &str) -> Result<(), String> {
        if url.contains("://") || url.starts_with("mailto:") {
            return Ok(());
        }
        let (file, heading) = match url.split_once('#') {
            Some((file, heading)) => (file, Some(heading)),
            None => (url, None),
        };
        let target = match file {
            "" => page.to_path_buf(),
            file => resolve(page, file),
        };
        let Some((_, headings)) = self.pages.get(&target) else {
            let is_page = target.extension().is_some_and(|e| e == "md" || e == "html");
            return match files.join(&target).is_file() && !is_page {
                true => Ok(()),
                false => Err(format!(
                    "link to `{url}`: SUMMARY.md has no page {}",
                    target.display()
                )),
            };
        };
        match heading {
            Some(heading) if !headings.contains(heading) => Err(format!(
                "link to `{url}`: {} has no heading #{heading}",
                target.display()
            )),
            _ => Ok(()),
        }
    }
}

/// `file` as named on `page`.
fn resolve(page: &Path, file: &str) -> PathBuf {
    let mut target = page.parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => {
                target.pop();
            }
            Component::CurDir => {}
            part => target.push(part),
        }
    }
    target
}

/// What the `href` and `src` of a piece of HTML say.
fn attributes(html: &str) -> Vec<&str> {
    let mut found = vec![];
    for name in [" href=\"", " src=\""] {
        for after in html.split(name).skip(1) {
            found.extend(after.split('"').next());
        }
    }
    found
}

/// The names that can follow `#`: those that mdBook makes of headings, and explicit
/// ids.
fn targets(text: &str) -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    let mut heading: Option<(Option<String>, String)> = None;
    for event in parser(text) {
        match event {
            Event::Start(Tag::Heading { id, .. }) => {
                heading = Some((id.map(|id| id.to_string()), String::new()));
            }
            Event::End(TagEnd::Heading(_)) => {
                if let Some((id, text)) = heading.take() {
                    targets.insert(id.unwrap_or_else(|| unique(&text, &targets)));
                }
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, heading)) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                for after in html.split(" id=\"").skip(1) {
                    targets.extend(after.split('"').next().map(String::from));
                }
            }
            _ => {}
        }
    }
    targets
}

/// As mdBook names headings (mdbook-html 0.5, `id_from_content` and `unique_id`).
fn unique(text: &str, used: &BTreeSet<String>) -> String {
    let keep = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    let id: String = text.trim().to_lowercase().chars().filter_map(keep).collect();
    let numbered = (1..).map(|i| format!("{id}-{i}"));
    let mut candidates = std::iter::once(id.clone()).chain(numbered);
    candidates.find(|id| !used.contains(id)).unwrap_or(id)
}
