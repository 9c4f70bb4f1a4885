//! What a page refers to: other pages and their headings, images; and its blocks of
//! code.
use crate::book::Sources;
use crate::exercises::Exercise;
use crate::html::decoded;
use crate::listing;
use crate::problem::Problems;
use mdbook_driver::book::Book;
use pulldown_cmark::{
    BrokenLink, CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd,
};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

/// The pages of a book as they are written, each with the names that its headings have
/// as targets of links.
pub struct Pages<'a> {
    pages: BTreeMap<PathBuf, (&'a str, BTreeSet<String>)>,
}

/// What mdBook reads as markdown.
const OPTIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_FOOTNOTES)
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS)
    .union(Options::ENABLE_HEADING_ATTRIBUTES)
    .union(Options::ENABLE_SMART_PUNCTUATION)
    .union(Options::ENABLE_DEFINITION_LIST)
    .union(Options::ENABLE_GFM);

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, OPTIONS)
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

    /// Whether the book has a page.
    pub fn has(&self, page: &str) -> bool {
        self.pages.contains_key(Path::new(page))
    }

    /// Looks at every page, and at the exercises that it introduces; `src` is the
    /// folder that they lie in, as seen from the workspace's root, and `files` the same
    /// folder on disk.
    pub fn check(
        &self,
        src: &str,
        files: &Path,
        sources: &Sources,
        problems: &mut Problems,
    ) {
        for (page, (text, _)) in &self.pages {
            let place = format!("{src}/{}", page.display());
            self.check_text(page, files, text, &mut |line, what| {
                problems.add(&place, line, what);
            });
            for exercise in introduced(text, &sources.exercises) {
                let text = listing::exercise(exercise);
                self.check_text(page, files, &text, &mut |line, what| {
                    let root = &sources.house.root;
                    let line = listing::line_of_stub(root, exercise, &text, line);
                    problems.add(&exercise.path, line, what);
                });
            }
        }
    }

    /// Looks at a text that is shown on `page`.
    fn check_text(
        &self,
        page: &Path,
        files: &Path,
        text: &str,
        problem: &mut impl FnMut(usize, String),
    ) {
        let mut say = |at: usize, what: String| {
            problem(1 + text[..at].matches('\n').count(), what);
        };
        // `[text][name]` without a definition is shown as it is written.
        let mut undefined = vec![];
        let broken = |link: BrokenLink| {
            if link.link_type != LinkType::Shortcut {
                undefined.push(link.span.start);
            }
            None
        };
        let parser = Parser::new_with_broken_link_callback(text, OPTIONS, Some(broken));
        for (event, range) in parser.into_offset_iter() {
            // So is a footnote, in three pieces.
            if matches!(event, Event::Text(_))
                && text[..range.start].ends_with('[')
                && text[range.start..].starts_with('^')
            {
                say(range.start, "a footnote that is defined nowhere".into());
            }
            self.look(page, files, event, &text[range.clone()], &mut |what| {
                say(range.start, what);
            });
        }
        for at in undefined {
            say(at, "a link by reference that is defined nowhere".into());
        }
    }

    /// `text` is what is written there.
    fn look(
        &self,
        page: &Path,
        files: &Path,
        event: Event,
        text: &str,
        say: &mut impl FnMut(String),
    ) {
        let mut link =
            |url: &str| self.link(page, files, url).unwrap_or_else(&mut *say);
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(tag))) => {
                if tag.is_empty() || tag.starts_with(',') {
                    let what = "a block of code without a language: expected ```rust, \
                                ```sh, ```console or ```text";
                    say(what.into());
                }
                if !is_closed(text) {
                    say("a block of code that does not end".into());
                }
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => {
                let what = "an indented block of code: fence it, and name its language";
                say(what.into());
            }
            Event::Start(Tag::Link { link_type: LinkType::Email, .. }) => {}
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                link(&dest_url);
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                attributes(&html, &["href", "src"]).for_each(link);
            }
            _ => {}
        }
    }

    fn link(&self, page: &Path, files: &Path, url: &str) -> Result<(), String> {
        if has_scheme(url) {
            return Ok(());
        }
        let (file, heading) = match url.split_once('#') {
            Some((file, heading)) => (file, Some(decoded(heading))),
            None => (url, None),
        };
        let target = match file {
            "" => page.to_path_buf(),
            file => resolve(page, &decoded(file)).ok_or_else(|| {
                format!(
                    "link to `{url}`: expected a path inside the book, from this page"
                )
            })?,
        };
        let Some((_, headings)) = self.pages.get(&target) else {
            // What is no page is copied as it is.
            let is_page = target.extension().is_some_and(|e| e == "md");
            return match files.join(&target).is_file() && !is_page {
                true => Ok(()),
                false => Err(format!(
                    "link to `{url}`: SUMMARY.md has no page {}",
                    target.display()
                )),
            };
        };
        match heading {
            Some(heading) if !headings.contains(&heading) => Err(format!(
                "link to `{url}`: {} has no heading #{heading}",
                target.display()
            )),
            _ => Ok(()),
        }
    }
}

/// The exercises that a page asks for.
fn introduced<'a>(text: &str, all: &'a [Exercise]) -> Vec<&'a Exercise> {
    let named = |line: &str| {
        let inside =
            line.trim_end().strip_prefix("{{#exercise ")?.strip_suffix("}}")?;
        let (chapter, name) = inside.trim().split_once(' ')?;
        listing::find_exercise(all, chapter, name.trim()).ok()
    };
    text.lines().filter_map(named).collect()
}

/// Whether a fenced block of code has its last fence.
fn is_closed(block: &str) -> bool {
    let mark = block.chars().next().unwrap_or_default();
    let fence = block.len() - block.trim_start_matches(mark).len();
    let last = block.trim_end().lines().skip(1).last().unwrap_or_default();
    // A block in a quotation has its signs.
    let last = last.trim_start_matches(['>', ' ']);
    last.len() >= fence && last.chars().all(|c| c == mark)
}

/// Whether it leads out of the book: `https:`, `mailto:`.
fn has_scheme(url: &str) -> bool {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// `file` as named on `page`; nothing if that is outside the book.
fn resolve(page: &Path, file: &str) -> Option<PathBuf> {
    let mut target = page.parent()?.to_path_buf();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => target.pop().then_some(())?,
            Component::CurDir => {}
            Component::Normal(part) => target.push(part),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(target)
}

/// What attributes of these names say in a piece of HTML.
fn attributes<'a>(html: &'a str, names: &[&str]) -> impl Iterator<Item = &'a str> {
    static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?:^|\s)([A-Za-z]+)\s*=\s*(?:"([^"]*)"|'([^']*)')"#)
            .expect("a fixed pattern")
    });
    ATTRIBUTE.captures_iter(html).filter_map(|found| {
        let value = found.get(2).or(found.get(3))?.as_str();
        names.iter().any(|name| found[1].eq_ignore_ascii_case(name)).then_some(value)
    })
}

/// The names that can follow `#`: those that mdBook makes of headings and of terms that
/// are defined, and explicit ids.
fn targets(text: &str) -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    // Those made of text: they are numbered among themselves.
    let mut made = BTreeSet::new();
    let mut heading: Option<(Option<String>, String)> = None;
    for event in parser(text) {
        match event {
            Event::Start(Tag::Heading { id, .. }) => {
                heading = Some((id.map(|id| id.to_string()), String::new()));
            }
            Event::Start(Tag::DefinitionListTitle) => {
                heading = Some((None, String::new()));
            }
            Event::End(TagEnd::Heading(_) | TagEnd::DefinitionListTitle) => {
                if let Some((id, text)) = heading.take() {
                    targets.insert(id.unwrap_or_else(|| unique(&text, &mut made)));
                }
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, heading)) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::SoftBreak => {
                if let Some((_, heading)) = &mut heading {
                    heading.push('\n');
                }
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                targets.extend(attributes(&html, &["id"]).map(String::from));
            }
            _ => {}
        }
    }
    targets
}

/// As mdBook names headings (mdbook-html 0.5, `id_from_content` and `unique_id`).
fn unique(text: &str, used: &mut BTreeSet<String>) -> String {
    let keep = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    let id: String = text.trim().to_lowercase().chars().filter_map(keep).collect();
    let mut name = id.clone();
    for number in 1.. {
        if used.insert(name.clone()) {
            break;
        }
        name = format!("{id}-{number}");
    }
    name
}
