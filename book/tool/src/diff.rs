//! Differences between files, as HTML.
use crate::highlight;
use crate::house::{Change, House};
use crate::html::escape;
use crate::source::{self, Source};
use crate::words;
use anyhow::{Result, bail};
use regex::Regex;
use similar::{Algorithm, ChangeTag, DiffOp, DiffTag, TextDiff};
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::LazyLock;

/// Unchanged lines shown around changed ones.
const CONTEXT: usize = 3;

/// Lines added and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// In the new file only.
    pub added: usize,
    /// In the old one only.
    pub removed: usize,
}

/// How many lines differ.
pub fn count(old: &str, new: &str) -> Counts {
    let mut counts = Counts::default();
    for change in lines(old, new).iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => counts.added += 1,
            ChangeTag::Delete => counts.removed += 1,
            ChangeTag::Equal => {}
        }
    }
    counts
}

fn lines<'a>(old: &'a str, new: &'a str) -> TextDiff<'a, 'a, str> {
    TextDiff::configure().algorithm(Algorithm::Histogram).diff_lines(old, new)
}

/// `{{#diff A B}}`: two files or items, as [`source::find`] names them.
///
/// # Errors
/// One cannot be found, or they are equal.
pub fn diff(house: &House, a: &str, b: &str) -> Result<String> {
    let (old, new) = (source::find(&house.root, a)?, source::find(&house.root, b)?);
    if old.text == new.text {
        bail!("`{a}` and `{b}` are equal: there is nothing to show")
    }
    Ok(between(&old, &new))
}

/// `{{#step chNN}}`: all that a chapter tells, against whoever told it before.
///
/// # Errors
/// There is no such chapter, or a file cannot be read.
pub fn step(house: &House, chapter: &str) -> Result<String> {
    let chapter = house.chapter(chapter)?;
    let name = &chapter.name;
    let mut table = String::new();
    let mut files = String::new();
    for Change { file, from } in house.step(name)? {
        let new = source::find(&house.root, &format!("{name}/src/{file}"))?;
        let (told, against, counts, body) = match &from {
            None => {
                let added = new.text.lines().count();
                let counts = Counts { added, removed: 0 };
                ("new", String::new(), counts, listing(&new))
            }
            Some(from) => {
                let old = source::find(&house.root, &format!("{from}/src/{file}"))?;
                let counts = count(&old.text, &new.text);
                ("retold", format!("<code>{from}</code>"), counts, between(&old, &new))
            }
        };
        let marks = marks(counts);
        writeln!(
            table,
            "<tr><td><code>{file}</code></td><td>{told}</td><td>{against}</td>\
             <td>{marks}</td></tr>"
        )?;
        writeln!(
            files,
            "<details class=\"file\"><summary><code>{file}</code> {told} {marks}\
             </summary>\n{body}</details>"
        )?;
    }
    Ok(format!(
        "<div class=\"step\">\n<div class=\"table-wrapper\"><table><thead><tr>\
         <th>file of <code>{name}</code></th><th>told</th><th>against</th>\
         <th>lines</th></tr></thead>\n<tbody>\n{table}</tbody></table></div>\n\
         {files}</div>\n"
    ))
}

fn marks(counts: Counts) -> String {
    let mut marks = format!("<span class=\"plus\">+{}</span>", counts.added);
    if counts.removed > 0 {
        let _ = write!(marks, " <span class=\"minus\">−{}</span>", counts.removed);
    }
    marks
}

/// A whole file, with its line numbers.
fn listing(new: &Source) -> String {
    let side = Side::new(new);
    let rows = (0..side.lines.len()).map(|i| side.row(Row::Same, i, &[]));
    let rows: String = rows.collect();
    format!("<figure class=\"diff\"><pre class=\"hljs\">{rows}</pre></figure>\n")
}

/// Byte ranges within lines.
type Marked = HashMap<usize, Vec<Range<usize>>>;

/// The differing lines of two sources and what is around them, words marked.
fn between(old: &Source, new: &Source) -> String {
    let diff = lines(&old.text, &new.text);
    let (mut old_words, mut new_words) = (Marked::new(), Marked::new());
    let (left, right) = (Side::new(old), Side::new(new));
    let mut body = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        let start = group.first().map_or(0, |op| op.new_range().start);
        if start > 0 {
            let inside = escape(right.enclosing(start));
            let _ = write!(body, "<span class=\"line hunk\">⋯ {inside}\n</span>");
        }
        for op in &group {
            for (i, j) in words::pairs(&left.lines, &right.lines, op) {
                let (old, new) = words::differing(left.lines[i], right.lines[j]);
                old_words.insert(i, old);
                new_words.insert(j, new);
            }
            rows(&mut body, op, &left, &right, (&old_words, &new_words));
        }
    }
    let marks = marks(count(&old.text, &new.text));
    let title = match old.path == new.path {
        true => format!("<code>{}</code>", new.path),
        false => format!("<code>{}</code> → <code>{}</code>", old.path, new.path),
    };
    format!(
        "<figure class=\"diff\"><figcaption>{title} {marks}</figcaption>\
         <pre class=\"hljs\">{body}</pre></figure>\n"
    )
}

fn rows(
    body: &mut String,
    op: &DiffOp,
    left: &Side,
    right: &Side,
    words: (&Marked, &Marked),
) {
    let marked = |words: &Marked, i| words.get(&i).cloned().unwrap_or_default();
    if op.tag() == DiffTag::Equal {
        op.new_range().for_each(|i| body.push_str(&right.row(Row::Same, i, &[])));
        return;
    }
    for i in op.old_range() {
        body.push_str(&left.row(Row::Removed, i, &marked(words.0, i)));
    }
    for i in op.new_range() {
        body.push_str(&right.row(Row::Added, i, &marked(words.1, i)));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Row {
    Same,
    Removed,
    Added,
}

/// One of the two texts, in lines with highlighted pieces.
struct Side<'a> {
    lines: Vec<&'a str>,
    /// For each line, the pieces of it: where they end, and their class.
    pieces: Vec<Vec<(usize, Option<&'static str>)>>,
    first_line: usize,
}

impl<'a> Side<'a> {
    fn new(source: &'a Source) -> Side<'a> {
        let text = &source.text;
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        let pieces = match source.path.ends_with(".rs") {
            true => highlight::rust(text),
            false => vec![highlight::Piece { len: text.len(), class: None }],
        };
        // A piece may reach over several lines.
        let mut by_line = vec![];
        let mut pieces = pieces.into_iter();
        let (mut left, mut class) = (0, None);
        for line in &lines {
            let (mut at, mut of_line) = (0, vec![]);
            while at < line.len() {
                if left == 0 {
                    let Some(piece) = pieces.next() else { break };
                    (left, class) = (piece.len, piece.class);
                    continue;
                }
                let len = left.min(line.len() - at);
                at += len;
                left -= len;
                of_line.push((at, class));
            }
            by_line.push(of_line);
        }
        Side { lines, pieces: by_line, first_line: source.first_line }
    }

    /// A line with its number and sign, `words` of it marked.
    fn row(&self, row: Row, i: usize, words: &[Range<usize>]) -> String {
        let (class, sign) = match row {
            Row::Same => ("same", " "),
            Row::Removed => ("removed", "-"),
            Row::Added => ("added", "+"),
        };
        let (number, line) = (self.first_line + i, self.lines[i]);
        let mut html = format!(
            "<span class=\"line {class}\" data-line=\"{number}\"><i>{sign}</i>"
        );
        let is_word = |at: usize| words.iter().any(|range| range.contains(&at));
        let end = line.trim_end_matches('\n').len();
        let mut at = 0;
        for (until, class) in &self.pieces[i] {
            let until = (*until).min(end);
            // A piece is cut where the marking of words begins or ends.
            while at < until {
                let marked = is_word(at);
                let other = (at..until).find(|at| is_word(*at) != marked);
                let to = other.unwrap_or(until);
                html.push_str(&piece(&line[at..to], *class, marked));
                at = to;
            }
        }
        html.push_str("\n</span>");
        html
    }

    /// The function or type that the lines from `first` on lie in.
    /// Nothing if they begin something themselves.
    fn enclosing(&self, first: usize) -> &'a str {
        let (before, from) = self.lines.split_at(first);
        let shown = from.iter().find(|line| !line.trim().is_empty());
        if !shown.is_some_and(|line| line.starts_with(' ')) {
            return "";
        }
        let begins = |line: &&&str| {
            let code = line.trim_start();
            line.len() - code.len() <= 4 && begins_item(code)
        };
        let line = before.iter().rev().find(begins);
        line.map_or("", |line| line.trim().trim_end_matches(['{', '(']).trim())
    }
}

/// Whether this is the first line of something that has a body.
fn begins_item(code: &str) -> bool {
    static ITEM: LazyLock<Regex> = LazyLock::new(|| {
        let before = r#"(pub(\([^)]*\))? )?((const|async|unsafe|extern( "[^"]*")?) )*"#;
        let kind = r"((fn|impl|struct|enum|union|trait|mod)\b|macro_rules!)";
        Regex::new(&format!("^{before}{kind}")).expect("a fixed pattern")
    });
    ITEM.is_match(code)
}

fn piece(text: &str, class: Option<&str>, marked: bool) -> String {
    let text = escape(text);
    match (class, marked) {
        (None, false) => text,
        (None, true) => format!("<b>{text}</b>"),
        (Some(class), false) => format!("<span class=\"{class}\">{text}</span>"),
        (Some(class), true) => format!("<b class=\"{class}\">{text}</b>"),
    }
}
