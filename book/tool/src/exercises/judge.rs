//! What a check's outcome proves about an answer and about a stub.

use super::layout;
use super::program::{Outcome, Panic, Runner};
use super::{Exercise, Kind, Violations};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The checks of an exercise.
pub(super) struct Checks<'a> {
    exercise: &'a Exercise,
    /// Their file, from the root, and what it says.
    pub file: String,
    text: String,
}

impl<'a> Checks<'a> {
    pub(super) fn of(root: &Path, exercise: &'a Exercise) -> Checks<'a> {
        let file = format!("chapters/{}/checks/{}.rs", exercise.chapter, exercise.name);
        let text = fs::read_to_string(root.join(&file)).unwrap_or_default();
        Checks { exercise, file, text }
    }

    pub(super) fn tests<'t>(&self, all: &'t BTreeSet<String>) -> Vec<&'t String> {
        let ours = |test: &&String| exercise_of(test) == Some(&self.exercise.name);
        all.iter().filter(ours).collect()
    }

    pub(super) fn report(
        &self,
        test: &str,
        message: &str,
        violations: &mut Violations,
    ) {
        let name = test.rsplit("::").next().unwrap_or(test);
        let opens = format!("fn {name}(");
        let line = self.text.lines().position(|line| line.contains(&opens));
        let message = format!("{} {test}: {message}", self.exercise.chapter);
        violations.add(&self.file, line.map_or(1, |line| line + 1), message);
    }

    /// What is wrong with a check's outcome on the answer.
    pub(super) fn answer(&self, outcome: Outcome, runner: &Runner) -> Option<String> {
        if let Some(message) = never(&outcome, runner, "the solution") {
            return Some(message);
        }
        let Outcome::Failed(panics) = outcome else { return None };
        let said = panics.first().map_or("without a panic".to_owned(), said);
        Some(format!("the solution fails it, {said}: correct the answer or the check"))
    }

    /// What is wrong with a check's outcome on the stub.
    pub(super) fn stub(&self, outcome: &Outcome, runner: &Runner) -> Option<String> {
        if let Some(message) = never(outcome, runner, "the stub") {
            return Some(message);
        }
        let Exercise { kind, path, .. } = self.exercise;
        let panics = match outcome {
            Outcome::Failed(panics) => panics,
            _ => {
                return Some(
                    "the stub passes it unsolved: make it ask for something that only \
                     an answer gives"
                        .to_owned(),
                );
            }
        };
        // The first is the cause; what follows it tells how the other ranks ended.
        let first = panics.first();
        let said = first.map_or("without a panic".to_owned(), said);
        match (kind, first) {
            (Kind::FillIn, Some(panic))
                if panic.file == *path
                    && panic.message.starts_with("not yet implemented") =>
            {
                None
            }
            (Kind::FillIn, _) => Some(format!(
                "the stub fails it {said}: expected \"not yet implemented\" from a \
                 todo!() in {path}, before anything else can fail"
            )),
            (Kind::FindTheBug, Some(panic)) if panic.file == self.file => {
                bare(&panic.message).then(|| {
                    format!(
                        "the stub fails it {said}, which does not say what is wrong: \
                         expected the check's own words, as in \
                         assert!(a == b, \"the mean of 1 and 3 is {{a}}, not {{b}}\")"
                    )
                })
            }
            (Kind::FindTheBug, _) => Some(format!(
                "the stub fails it {said}: expected an assertion of {} to fail, since \
                 a bug runs and is wrong",
                self.file
            )),
        }
    }
}

/// What is wrong with an outcome whatever was expected.
fn never(outcome: &Outcome, runner: &Runner, who: &str) -> Option<String> {
    match outcome {
        Outcome::Passed | Outcome::Failed(_) => None,
        Outcome::Ignored => {
            Some("it is ignored and checks nothing: take out `#[ignore]`".to_owned())
        }
        Outcome::DidNotFinish => Some(format!(
            "it did not finish on {who} within {:.0} s (--limit SECONDS) and was \
             ended: a check ends in a failure also when one rank panics, so let no \
             rank wait for another without an end",
            runner.limit.as_secs_f64()
        )),
        Outcome::Died(status) => Some(format!(
            "it ended the whole test program on {who} ({status}): let it fail by a \
             panic"
        )),
    }
}

fn said(panic: &Panic) -> String {
    let words = panic.message.lines().next().unwrap_or_default();
    format!("with \"{words}\" at {}:{}", panic.file, panic.line)
}

/// Whether a panic's words are not the check's own but the language's or the library's.
fn bare(message: &str) -> bool {
    const OPENINGS: [&str; 20] = [
        "assertion failed: ",
        "assertion `left == right` failed\n",
        "assertion `left != right` failed\n",
        "assertion `left matches right` failed\n",
        "attempt to ",
        "byte index ",
        "called `Option::",
        "called `Result::",
        "copy_from_slice: ",
        "destination and source slices have different lengths",
        "explicit panic",
        "index out of bounds: ",
        "internal error: entered unreachable code",
        "mid > len",
        "not implemented",
        "not yet implemented",
        "range end index ",
        "range start index ",
        "slice index starts at ",
        "source slice length ",
    ];
    message.is_empty() || OPENINGS.iter().any(|opening| message.starts_with(opening))
}

/// The exercise that a test checks: the `ex1_mean` of `checks::ex1_mean::of_two`.
pub(super) fn exercise_of(test: &str) -> Option<&str> {
    let name = test.strip_prefix("checks::")?.split_once("::")?.0;
    layout::number(name).map(|_| name)
}
