//! Where exercises lie and what their docs say. Only text is read here, no syntax: a
//! reader's half-written answer must not keep the book from being built.

use super::{Exercise, Kind, Violations};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The three folders, each with the same modules.
pub(super) const FOLDERS: [&str; 3] = ["exercises", "solutions", "checks"];

/// All exercises, chapter by chapter, each chapter's by their number.
///
/// # Errors
/// [`Violations`], all of them, if an exercise lacks a title, task or hint, or if the
/// three folders of a chapter do not hold the same exercises.
pub fn list(root: &Path) -> Result<Vec<Exercise>> {
    let mut violations = Violations::default();
    let mut all = Vec::new();
    for chapter in chapters(root, &[])? {
        all.extend(read(root, &chapter, &mut violations));
    }
    if violations.0.is_empty() { Ok(all) } else { Err(violations.into()) }
}

/// The chapters' names in order: all, or those wanted. A wanted one may be cut short:
/// `ch01` is `ch01_single_gpu`.
pub(super) fn chapters(root: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let folder = root.join("chapters");
    let entries = fs::read_dir(&folder).with_context(|| {
        format!("{} cannot be read: is this the workspace's root?", folder.display())
    })?;
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            all.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    all.sort();
    if wanted.is_empty() {
        return Ok(all);
    }
    let mut chosen = BTreeSet::new();
    for name in wanted {
        let short = |chapter: &&String| chapter.starts_with(name.as_str());
        let mut short = all.iter().filter(short);
        let exact = all.iter().find(|chapter| *chapter == name);
        match (exact, short.next(), short.next()) {
            (Some(chapter), ..) | (None, Some(chapter), None) => {
                chosen.insert(chapter.clone())
            }
            _ => bail!("no chapter is called `{name}`: name one of {}", all.join(", ")),
        };
    }
    Ok(chosen.into_iter().collect())
}

/// The exercises of one chapter, in order. A chapter may have none at all; what is
/// wrong with those it has is added to `violations`.
pub(super) fn read(
    root: &Path,
    chapter: &str,
    violations: &mut Violations,
) -> Vec<Exercise> {
    let home = format!("chapters/{chapter}");
    if !FOLDERS.iter().any(|folder| root.join(&home).join(folder).is_dir()) {
        return Vec::new();
    }
    let folders = FOLDERS.map(|folder| {
        let folder = format!("{home}/{folder}");
        (mentioned(root, &folder, violations), folder)
    });
    let names: BTreeSet<&String> =
        folders.iter().flat_map(|(names, _)| names.keys()).collect();
    for name in &names {
        let (has, lacks): (Vec<_>, Vec<_>) =
            folders.iter().partition(|(names, _)| names.contains_key(*name));
        for (_, folder) in lacks {
            let has: Vec<&str> = has.iter().map(|(_, folder)| &folder[..]).collect();
            let message = format!(
                "`{name}` is in {} and not here: write {folder}/{name}.rs and add \
                 `pub mod {name};`",
                has.join(" and ")
            );
            violations.add(format!("{folder}/mod.rs"), 1, message);
        }
    }
    let [stubs, answers, _] = &folders;
    let mut numbered = BTreeMap::new();
    for (name, line) in &stubs.0 {
        let file = format!("{}/mod.rs", stubs.1);
        match number(name) {
            None => {}
            Some(number) => {
                if let Some(other) = numbered.insert(number, name) {
                    let message = format!(
                        "`{name}` and `{other}` have the same number: pick one"
                    );
                    violations.add(file, *line, message);
                }
            }
        }
    }
    for (expected, (found, name)) in (1..).zip(&numbered) {
        if expected != *found {
            let message = format!(
                "`{name}` comes where exercise {expected} was expected: number the \
                 exercises from ex1 without a gap"
            );
            violations.add(format!("{}/mod.rs", stubs.1), stubs.0[*name], message);
            break;
        }
    }
    let mut exercises = Vec::new();
    for name in numbered.values() {
        let path = format!("{}/{name}.rs", stubs.1);
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        let heading = heading(&text, &path, violations);
        let answer = format!("{}/{name}.rs", answers.1);
        if let Ok(text) = fs::read_to_string(root.join(&answer)) {
            let theirs = self::heading(&text, &answer, violations);
            if let (Some((kind, title, _)), Some((other_kind, other, line))) =
                (&heading, &theirs)
                && (kind, title) != (other_kind, other)
            {
                let message = format!(
                    "the answer is titled `{other_kind}: {other}` and its stub \
                     `{kind}: {title}`: give both the same title"
                );
                violations.add(&answer, *line, message);
            }
        }
        let Some((kind, title, _)) = heading else { continue };
        let Some((task, hint)) = task_and_hint(&text, &path, violations) else {
            continue;
        };
        let (chapter, name) = (chapter.to_owned(), (*name).clone());
        exercises.push(Exercise { chapter, name, kind, title, task, hint, path });
    }
    exercises
}

/// The `3` of `ex3_words`.
pub(super) fn number(name: &str) -> Option<u32> {
    let (number, words) = name.strip_prefix("ex")?.split_once('_')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let good = !words.is_empty() && words.chars().all(plain);
    number.parse().ok().filter(|_| good && !number.starts_with(['0', '+']))
}

/// The exercises that a folder's `mod.rs` names or that have a file in it, each with
/// its line in `mod.rs`.
fn mentioned(
    root: &Path,
    folder: &str,
    violations: &mut Violations,
) -> BTreeMap<String, usize> {
    let list = format!("{folder}/mod.rs");
    let mut names = BTreeMap::new();
    match fs::read_to_string(root.join(&list)) {
        Err(error) => violations.add(
            &list,
            1,
            format!(
                "cannot be read ({error}): write one with `pub mod exN_words;` for \
                     each exercise"
            ),
        ),
        Ok(text) => {
            for (line, words) in (1..).zip(text.lines()) {
                let words = words.trim();
                let words = words.strip_prefix("pub ").unwrap_or(words);
                let name = words.strip_prefix("mod ").and_then(|w| w.strip_suffix(';'));
                if let Some(name) = name {
                    names.insert(name.trim().to_owned(), line);
                }
            }
        }
    }
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        match file.strip_suffix(".rs") {
            Some("mod") => {}
            Some(name) => drop(files.insert(name.to_owned())),
            None => violations.add(
                format!("{folder}/{file}"),
                1,
                "is not a Rust file: an exercise is one file here, expected only \
                 mod.rs and exN_words.rs; move it elsewhere",
            ),
        }
    }
    for (name, line) in &names {
        if !files.contains(name) {
            let message = format!(
                "names `{name}`, which has no file: write {folder}/{name}.rs or take \
                 the line out"
            );
            violations.add(&list, *line, message);
        }
    }
    for name in files {
        names.entry(name).or_insert_with_key(|name| {
            let message = format!("is not in {list}: add `pub mod {name};` to it");
            violations.add(format!("{folder}/{name}.rs"), 1, message);
            1
        });
    }
    names.retain(|name, line| {
        let good = number(name).is_some();
        if !good {
            let message = format!(
                "`{name}` is not an exercise's name: expected exN_words, as in \
                 ex1_mean; rename it"
            );
            violations.add(&list, *line, message);
        }
        good
    });
    names
}

/// The `//!` lines that a file opens with, each with its line number.
fn docs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .skip_while(|(_, line)| line.trim().is_empty())
        .map_while(|(number, line)| Some((number, line.trim().strip_prefix("//!")?)))
        .map(|(number, line)| (number, line.strip_prefix(' ').unwrap_or(line)))
}

/// Kind, title and the title's line.
fn heading(
    text: &str,
    path: &str,
    violations: &mut Violations,
) -> Option<(Kind, String, usize)> {
    let expected = "open the file with `//! # Fill in: TITLE` or \
                    `//! # Find the bug: TITLE`";
    let first = docs(text).find(|(_, line)| !line.trim().is_empty());
    let titled =
        first.and_then(|(line, words)| Some((line, words.strip_prefix("# ")?)));
    let Some((line, words)) = titled else {
        let line = first.map_or(1, |(line, _)| line);
        violations.add(path, line, format!("has no title: {expected}"));
        return None;
    };
    for kind in [Kind::FillIn, Kind::FindTheBug] {
        let title = words.trim().strip_prefix(&kind.to_string());
        let Some(title) = title.and_then(|rest| rest.strip_prefix(':')) else {
            continue;
        };
        if title.trim().is_empty() {
            let message = format!("has a kind and no title: {expected}");
            violations.add(path, line, message);
            return None;
        }
        return Some((kind, title.trim().to_owned(), line));
    }
    let message =
        format!("`{words}` does not say which kind of exercise it is: {expected}");
    violations.add(path, line, message);
    None
}

/// What lies between the title and `## Hint`, and what follows that.
fn task_and_hint(
    text: &str,
    path: &str,
    violations: &mut Violations,
) -> Option<(String, String)> {
    let mut lines = docs(text).skip_while(|(_, line)| line.trim().is_empty());
    let first = lines.next()?.0;
    let (mut task, mut hint): (Vec<&str>, Option<Vec<&str>>) = (Vec::new(), None);
    let (mut last, mut fenced) = (first, false);
    for (number, line) in lines {
        fenced ^= line.trim_start().starts_with("```");
        if hint.is_none() && !fenced && line.trim_end() == "## Hint" {
            hint = Some(Vec::new());
        } else {
            hint.as_mut().unwrap_or(&mut task).push(line);
        }
        last = number;
    }
    let body = |lines: &[&str]| lines.join("\n").trim().to_owned();
    let task = body(&task);
    if task.is_empty() {
        let message = "has no task: say below the title, in `//!` lines, what to do";
        violations.add(path, first, message);
    }
    let hint = body(&hint.unwrap_or_default());
    if hint.is_empty() {
        let message =
            "has no hint: end the docs with `//! ## Hint` and a hint below it";
        violations.add(path, last, message);
    }
    (!task.is_empty() && !hint.is_empty()).then_some((task, hint))
}
