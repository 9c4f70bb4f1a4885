//! The proof that every exercise can be solved, and asks for something.

use super::judge::{Checks, exercise_of};
use super::layout::{self, FOLDERS};
use super::program::{self, Build, Outcome, Program, Runner};
use super::{Exercise, Kind, Violations, pages, paths};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Checked {
    /// All that is wrong.
    pub violations: Violations,
    /// A row per chapter.
    pub rows: Vec<Row>,
}

/// What was counted in one chapter.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The chapter's name.
    pub chapter: String,
    /// Exercises to fill in.
    pub fill_in: usize,
    /// Bugs to find.
    pub bugs: usize,
    /// Checks of both.
    pub checks: usize,
    /// Checks that the solutions pass.
    pub solved: usize,
    /// Checks that the stubs fail in the way that they should.
    pub failed: usize,
    /// Things that are wrong.
    pub violations: usize,
    /// The time that it took to build and run both targets.
    pub time: Duration,
}

impl Checked {
    /// Whether all is well.
    pub fn passed(&self) -> bool {
        self.violations.0.is_empty()
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for violation in &self.violations.0 {
            writeln!(f, "{violation}")?;
        }
        if !self.passed() {
            writeln!(f)?;
        }
        let wide =
            self.rows.iter().map(|row| row.chapter.len()).max().unwrap_or(0).max(7);
        writeln!(
            f,
            "{:wide$}  fill in  bugs  checks  solutions pass  stubs fail  seconds",
            "chapter"
        )?;
        for row in &self.rows {
            let result = match row.violations {
                0 => "proved".to_owned(),
                1 => "1 violation".to_owned(),
                count => format!("{count} violations"),
            };
            writeln!(
                f,
                "{:wide$}  {:7}  {:4}  {:6}  {:14}  {:10}  {:7.1}  {result}",
                row.chapter,
                row.fill_in,
                row.bugs,
                row.checks,
                row.solved,
                row.failed,
                row.time.as_secs_f64(),
            )?;
        }
        Ok(())
    }
}

/// Proves the exercises of `chapters`, or of all if none is named: that each is whole,
/// that its answer passes its checks, that its stub fails them for the stated reason,
/// that it needs no other exercise, and that the book introduces it.
///
/// # Errors
/// If the workspace cannot be read, a chapter is unknown, or cargo cannot be started.
/// What is wrong with the exercises is in [`Checked`].
pub fn check(root: &Path, chapters: &[String], runner: &Runner) -> Result<Checked> {
    let mut checked = Checked::default();
    let violations = &mut checked.violations;
    let directives = pages::read(root, violations);
    pages::chapters_exist(&directives, &layout::chapters(root, &[])?, violations);
    for chapter in layout::chapters(root, chapters)? {
        let before = violations.0.len();
        let exercises = layout::read(root, &chapter, violations);
        pages::check(root, &chapter, &exercises, &directives, violations);
        let count = |kind| exercises.iter().filter(|e| e.kind == kind).count();
        let (fill_in, bugs) = (count(Kind::FillIn), count(Kind::FindTheBug));
        let mut row = Row { chapter, fill_in, bugs, ..Row::default() };
        let chapter = &row.chapter;
        let home = format!("chapters/{chapter}");
        if FOLDERS.iter().any(|folder| root.join(&home).join(folder).is_dir()) {
            manifest(root, chapter, violations);
            paths::check(root, chapter, &exercises, violations);
            prove(root, &exercises, runner, &mut row, violations)?;
        } else {
            let message = format!(
                "`{chapter}` has no exercises: write {home}/exercises, solutions and \
                 checks, one exercise per idea of the chapter"
            );
            violations.add(format!("{home}/Cargo.toml"), 1, message);
        }
        row.violations = violations.0.len() - before;
        checked.rows.push(row);
    }
    Ok(checked)
}

/// `exercises` is not among the targets of a plain `cargo test`.
fn manifest(root: &Path, chapter: &str, violations: &mut Violations) {
    let file = format!("chapters/{chapter}/Cargo.toml");
    let text = fs::read_to_string(root.join(&file)).unwrap_or_default();
    let Ok(manifest) = text.parse::<toml::Table>() else { return };
    let tests = manifest.get("test").and_then(toml::Value::as_array);
    let is_ours = |test: &&toml::Value| {
        test.get("name").and_then(toml::Value::as_str) == Some("exercises")
    };
    let ours = tests.and_then(|tests| tests.iter().find(is_ours));
    let test = ours.and_then(|test| test.get("test")).and_then(toml::Value::as_bool);
    if test != Some(false) {
        let named = |line: &str| line.replace(' ', "") == "name=\"exercises\"";
        let line = text.lines().position(named).map_or(1, |line| line + 1);
        let message = "plain `cargo test` runs the unsolved exercises: expected a \
                       [[test]] with `name = \"exercises\"` and `test = false`";
        violations.add(file, line, message);
    }
}

/// Builds and runs the answers and the stubs of a chapter.
fn prove(
    root: &Path,
    exercises: &[Exercise],
    runner: &Runner,
    row: &mut Row,
    violations: &mut Violations,
) -> Result<()> {
    let start = Instant::now();
    let chapter = row.chapter.clone();
    let answers = target(root, &chapter, "solutions", runner, violations)?;
    let stubs = target(root, &chapter, "exercises", runner, violations)?;
    if let (Some((_, answers)), Some((_, stubs))) = (&answers, &stubs) {
        same_tests(&chapter, answers, stubs, violations);
    }
    for exercise in exercises {
        let checks = Checks::of(root, exercise);
        if let Some((program, tests)) = &answers {
            let tests = checks.tests(tests);
            row.checks += tests.len();
            if tests.is_empty() {
                let message = format!(
                    "`{}` has no check: write at least one `#[test]` here",
                    exercise.name
                );
                violations.add(&checks.file, 1, message);
            }
            for test in tests {
                match checks.answer(program.run(test)?, runner) {
                    None => row.solved += 1,
                    Some(message) => checks.report(test, &message, violations),
                }
            }
        }
        if let Some((program, tests)) = &stubs {
            let tests = checks.tests(tests);
            let is_bug = exercise.kind == Kind::FindTheBug;
            let mut unnoticed = is_bug && !tests.is_empty();
            for test in tests {
                let outcome = program.run(test)?;
                if is_bug && matches!(outcome, Outcome::Passed) {
                    // Not every check of a bug has to meet it.
                    continue;
                }
                unnoticed = false;
                match checks.stub(&outcome, runner) {
                    None => row.failed += 1,
                    Some(message) => checks.report(test, &message, violations),
                }
            }
            if unnoticed {
                let message = format!(
                    "the bug of `{}` is met by none of its checks: write one that \
                     fails on the stub and says what is wrong",
                    exercise.name
                );
                violations.add(&checks.file, 1, message);
            }
        }
    }
    row.time = start.elapsed();
    Ok(())
}

/// Builds a target and lists its tests.
fn target(
    root: &Path,
    chapter: &str,
    name: &str,
    runner: &Runner,
    violations: &mut Violations,
) -> Result<Option<(Program, BTreeSet<String>)>> {
    let source = format!("chapters/{chapter}/tests/{name}.rs");
    if !root.join(&source).is_file() {
        // This was said where its text is looked at.
        return Ok(None);
    }
    match program::build(root, chapter, name, runner)? {
        Build::Ready(program) => {
            let tests = program.tests()?.into_iter().collect();
            Ok(Some((program, tests)))
        }
        Build::Broken(complaints) => {
            for complaint in complaints.iter().take(3) {
                let known = !complaint.file.is_empty();
                let file = if known { &complaint.file } else { &source };
                let message = format!(
                    "the {name} of `{chapter}` do not compile: {}; see cargo test -p \
                     {chapter} --test {name}",
                    complaint.message
                );
                violations.add(file, complaint.line, message);
                if !known {
                    break;
                }
            }
            Ok(None)
        }
    }
}

/// The same tests, and all of them checks of an exercise.
fn same_tests(
    chapter: &str,
    answers: &BTreeSet<String>,
    stubs: &BTreeSet<String>,
    violations: &mut Violations,
) {
    let mut found = BTreeMap::new();
    for (tests, name, others) in
        [(answers, "solutions", stubs), (stubs, "exercises", answers)]
    {
        for test in tests {
            let alone = !others.contains(test);
            let stray = exercise_of(test).is_none();
            if alone || stray {
                found.entry(test).or_insert((name, alone));
            }
        }
    }
    for (test, (name, alone)) in found {
        let file = format!("chapters/{chapter}/tests/{name}.rs");
        let message = if alone {
            format!(
                "`{test}` is a test of the {name} alone: move it to a file of checks/, \
                 which both targets run"
            )
        } else {
            format!(
                "`{test}` is the check of no exercise: move it to one's checks/ file"
            )
        };
        violations.add(file, 1, message);
    }
}
