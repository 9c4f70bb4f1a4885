//! Where the book introduces its exercises: `{{#exercise CHAPTER NAME}}`.

use super::{Exercise, Violations};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const SUMMARY: &str = "book/src/SUMMARY.md";

/// A directive: the page and line that it stands on, and its words after `#exercise`.
pub(super) struct Directive {
    page: String,
    line: usize,
    words: Vec<String>,
}

/// All directives on the pages that readers get to see.
pub(super) fn read(root: &Path, violations: &mut Violations) -> Vec<Directive> {
    let text = match fs::read_to_string(root.join(SUMMARY)) {
        Ok(text) => text,
        Err(error) => {
            let message =
                format!("cannot be read ({error}): it lists the book's pages");
            violations.add(SUMMARY, 1, message);
            return Vec::new();
        }
    };
    let link = Regex::new(r"\]\(<?(?:\./)?([^)>#]+\.md)").expect("a fixed pattern");
    let pages: BTreeSet<String> = link
        .captures_iter(&text)
        .map(|found| format!("book/src/{}", &found[1]))
        .collect();
    let mut all = Vec::new();
    for page in pages {
        // A page that is missing is mdBook's to report.
        let text = fs::read_to_string(root.join(&page)).unwrap_or_default();
        for (line, words) in directives(&text) {
            all.push(Directive { page: page.clone(), line, words });
        }
    }
    all
}

/// Every directive names a chapter that there is.
pub(super) fn chapters_exist(
    directives: &[Directive],
    chapters: &[String],
    violations: &mut Violations,
) {
    for Directive { page, line, words } in directives {
        match &words[..] {
            [chapter, _] if chapters.contains(chapter) => {}
            [chapter, _] => {
                let there = chapters.join(", ");
                let message = format!("there is no chapter `{chapter}`, only {there}");
                violations.add(page, *line, message);
            }
            _ => {
                let message =
                    "expected `{{#exercise CHAPTER NAME}}`, alone on its line";
                violations.add(page, *line, message);
            }
        }
    }
}

/// A chapter's exercises are introduced, each once, and nothing else of it is.
pub(super) fn check(
    root: &Path,
    chapter: &str,
    exercises: &[Exercise],
    directives: &[Directive],
    violations: &mut Violations,
) {
    let mut introduced: BTreeMap<&str, Vec<&Directive>> = BTreeMap::new();
    for directive in directives {
        if let [of, name] = &directive.words[..]
            && of == chapter
        {
            introduced.entry(name).or_default().push(directive);
        }
    }
    for (name, directives) in &introduced {
        let [first, others @ ..] = &directives[..] else { continue };
        let stub = format!("chapters/{chapter}/exercises/{name}.rs");
        if !root.join(&stub).is_file() {
            let message = format!(
                "`{chapter}` has no exercise `{name}`: correct the name, or write \
                 {stub}"
            );
            violations.add(&first.page, first.line, message);
        }
        for other in others {
            let message = format!(
                "`{chapter} {name}` is introduced at {}:{} already: keep one of the \
                 two",
                first.page, first.line
            );
            violations.add(&other.page, other.line, message);
        }
    }
    for Exercise { name, path, .. } in exercises {
        if !introduced.contains_key(name.as_str()) {
            let message = format!(
                "the book does not introduce it: add the line {{{{#exercise {chapter} \
                 {name}}}}} to the chapter's page, one that {SUMMARY} lists"
            );
            violations.add(path, 1, message);
        }
    }
}

/// The directives of a page, each with its line and its words, but for those shown as
/// code.
fn directives(page: &str) -> Vec<(usize, Vec<String>)> {
    let (mut all, mut fenced) = (Vec::new(), false);
    for (number, line) in (1..).zip(page.lines()) {
        let line = line.trim();
        fenced ^= line.starts_with("```") || line.starts_with("~~~");
        let Some(rest) = line.strip_prefix("{{#exercise").filter(|_| !fenced) else {
            continue;
        };
        let words = rest.strip_suffix("}}").unwrap_or_default().split_whitespace();
        all.push((number, words.map(str::to_owned).collect()));
    }
    all
}
