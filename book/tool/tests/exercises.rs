//! `check-exercises` and `progress` on a workspace of two chapters
//! (tests/fixtures/exercises), which is whole, and on it with one thing broken.

use book_tool::exercises::{Checked, Kind, Progress, Runner, State};
use book_tool::exercises::{Violations, check, list, progress};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A fresh copy of the fixture. All tests have the same folder in turn, so that only
/// what a test changes is built again.
struct Workspace {
    folder: MutexGuard<'static, TempDir>,
}

fn workspace() -> Workspace {
    static FOLDER: LazyLock<Mutex<TempDir>> =
        LazyLock::new(|| Mutex::new(tempfile::tempdir().unwrap()));
    let folder = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = Workspace { folder };
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exercises");
    let (wanted, found) = (files(&fixture), files(&workspace.root()));
    for file in found.keys().filter(|file| !wanted.contains_key(*file)) {
        fs::remove_file(workspace.root().join(file)).unwrap();
    }
    for (file, text) in &wanted {
        if found.get(file) != Some(text) {
            workspace.write(file.to_str().unwrap(), text);
        }
    }
    workspace
}

/// All files of a workspace, but for what cargo writes.
fn files(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap();
            if name == Path::new("target") || name == Path::new("Cargo.lock") {
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                all.insert(name.to_owned(), text);
            }
        }
    }
    all
}

impl Workspace {
    fn root(&self) -> PathBuf {
        self.folder.path().join("fixture")
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root().join(file)).unwrap()
    }

    fn replace(&self, file: &str, old: &str, new: &str) {
        let text = self.read(file);
        assert!(text.contains(old), "{file} has no {old:?}");
        self.write(file, &text.replace(old, new));
    }

    fn append(&self, file: &str, more: &str) {
        self.write(file, &(self.read(file) + more));
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.root().join(file)).unwrap();
    }

    fn runner(&self) -> Runner {
        let target = self.folder.path().join("target").into_os_string();
        let env = [
            ("CARGO_TARGET_DIR", target),
            ("CARGO_NET_OFFLINE", "true".into()),
            ("CARGO_TERM_QUIET", "true".into()),
        ];
        let env = env.map(|(name, value)| (name.into(), value)).into();
        Runner { env, ..Runner::default() }
    }

    fn check(&self) -> Checked {
        check(&self.root(), &[], &self.runner()).unwrap()
    }

    /// Checks and expects exactly these violations.
    fn expect(&self, expected: &[&str]) -> Checked {
        let checked = self.check();
        let found: Vec<String> =
            checked.violations.0.iter().map(ToString::to_string).collect();
        let all = found.join("\n");
        assert_eq!(found.len(), expected.len(), "expected {expected:#?}, found\n{all}");
        for words in expected {
            assert!(
                found.iter().any(|line| line.contains(words)),
                "{words}: not in\n{all}"
            );
        }
        assert_eq!(checked.passed(), expected.is_empty());
        checked
    }

    fn progress(&self, chapters: &[&str]) -> Progress {
        let chapters: Vec<String> = chapters.iter().map(|c| (*c).to_owned()).collect();
        progress(&self.root(), &chapters, &self.runner()).unwrap()
    }
}

const SUM: &str = "chapters/ch01_sums/exercises/ex1_sum.rs";
const SUM_ANSWER: &str = "chapters/ch01_sums/solutions/ex1_sum.rs";
const SUM_CHECKS: &str = "chapters/ch01_sums/checks/ex1_sum.rs";
const LARGEST: &str = "chapters/ch01_sums/exercises/ex2_largest.rs";
const LARGEST_ANSWER: &str = "chapters/ch01_sums/solutions/ex2_largest.rs";
const LARGEST_CHECKS: &str = "chapters/ch01_sums/checks/ex2_largest.rs";
const SHARE_CHECKS: &str = "chapters/ch02_ranks/checks/ex1_share.rs";

#[test]
fn what_is_whole_is_proved() {
    let workspace = workspace();
    let checked = workspace.expect(&[]);
    let counts: Vec<_> = checked
        .rows
        .iter()
        .map(|r| (&r.chapter[..], r.fill_in, r.bugs, r.checks, r.solved, r.failed))
        .collect();
    // One of the bug's two checks does not meet it.
    assert_eq!(counts, [("ch01_sums", 1, 1, 4, 4, 3), ("ch02_ranks", 1, 1, 2, 2, 2)]);
    let shown = checked.to_string();
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("ch02_ranks"), "{shown}");
    assert!(last.ends_with("proved"), "{shown}");
}

#[test]
fn one_chapter_is_checked_alone() {
    let workspace = workspace();
    workspace.append(LARGEST_CHECKS, "#[test]\nfn wrong() {\n    panic!();\n}\n");
    let check = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        check(&workspace.root(), &names, &workspace.runner())
    };
    let other = check(&["ch02"]).unwrap();
    assert!(other.passed(), "{other}");
    assert_eq!(other.rows.len(), 1);
    let this = check(&["ch01_sums"]).unwrap();
    assert!(!this.passed());
    let unknown = check(&["ch03"]).unwrap_err().to_string();
    assert_eq!(
        unknown,
        "no chapter is called `ch03`: name one of ch01_sums, ch02_ranks"
    );
    assert!(check(&["ch"]).is_err(), "ambiguous");
}

#[test]
fn list_tells_all_in_order() {
    let workspace = workspace();
    let all = list(&workspace.root()).unwrap();
    let names: Vec<_> = all.iter().map(|e| (&e.chapter[..], &e.name[..])).collect();
    assert_eq!(
        names,
        [
            ("ch01_sums", "ex1_sum"),
            ("ch01_sums", "ex2_largest"),
            ("ch02_ranks", "ex1_share"),
            ("ch02_ranks", "ex2_rounds"),
        ]
    );
    let sum = &all[0];
    assert_eq!((sum.kind, &sum.title[..]), (Kind::FillIn, "the sum"));
    assert_eq!(
        sum.task,
        "Add up `numbers`. The sum of none is 0.\n\n```text\n## Hint\n```\n\nThe lines \
         above belong to the task."
    );
    assert_eq!(sum.hint, "Iterators can do it.");
    assert_eq!(sum.path, SUM);
    assert_eq!(sum.command(), "cargo test -p ch01_sums --test exercises ex1_sum");
    assert_eq!(all[1].kind, Kind::FindTheBug);
}

#[test]
fn list_reports_all_that_is_wrong() {
    let workspace = workspace();
    workspace.replace(SUM, "//! # Fill in: the sum", "//! # The sum");
    workspace.replace(LARGEST, "//! Try a list of one.", "//!");
    workspace.write("chapters/ch01_sums/checks/ex3_new.rs", "");
    workspace.write("chapters/ch01_sums/checks/notes.txt", "");
    let share = "chapters/ch02_ranks/exercises/ex1_share.rs";
    let title = "//! # Fill in: a rank's share";
    let (_, rest) = workspace.read(share).split_once("use std").map(own).unwrap();
    workspace
        .write(share, &format!("{title}\n//!\n//! ## Hint\n//! A.\nuse std{rest}"));
    let rounds = "chapters/ch02_ranks/exercises/ex2_rounds.rs";
    workspace.replace(rounds, "//!", "//");
    workspace.remove("chapters/ch02_ranks/solutions/ex2_rounds.rs");
    let error = list(&workspace.root()).unwrap_err();
    let violations = error.downcast::<Violations>().unwrap().to_string();
    let expected = [
        "chapters/ch01_sums/checks/ex3_new.rs:1: is not in \
         chapters/ch01_sums/checks/mod.rs: add `pub mod ex3_new;`",
        "chapters/ch01_sums/checks/notes.txt:1: is not a Rust file",
        "chapters/ch01_sums/exercises/mod.rs:1: `ex3_new` is in \
         chapters/ch01_sums/checks and not here: write \
         chapters/ch01_sums/exercises/ex3_new.rs",
        "chapters/ch01_sums/solutions/mod.rs:1: `ex3_new` is in",
        "chapters/ch01_sums/exercises/ex1_sum.rs:1: `The sum` does not say which kind",
        "chapters/ch01_sums/exercises/ex2_largest.rs:7: has no hint",
        "chapters/ch02_ranks/solutions/mod.rs:2: names `ex2_rounds`, which has no file",
        "chapters/ch02_ranks/exercises/ex1_share.rs:1: has no task",
        "chapters/ch02_ranks/exercises/ex2_rounds.rs:1: has no title",
    ];
    for words in expected {
        assert!(violations.contains(words), "{words}: not in\n{violations}");
    }
    assert_eq!(violations.lines().count(), expected.len(), "{violations}");
}

fn own((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn numbers_have_no_gap_and_names_are_ours() {
    let workspace = workspace();
    for folder in ["exercises", "solutions", "checks"] {
        let folder = format!("chapters/ch01_sums/{folder}");
        let text = workspace.read(&format!("{folder}/ex2_largest.rs"));
        workspace.write(&format!("{folder}/ex3_largest.rs"), &text);
        workspace.remove(&format!("{folder}/ex2_largest.rs"));
        workspace.replace(&format!("{folder}/mod.rs"), "ex2_", "ex3_");
    }
    workspace.append("chapters/ch02_ranks/checks/mod.rs", "mod helper;\n");
    workspace.write("chapters/ch02_ranks/checks/helper.rs", "");
    let violations = list(&workspace.root()).unwrap_err().to_string();
    let expected = [
        "exercises/mod.rs:2: `ex3_largest` comes where exercise 2 was expected",
        "checks/mod.rs:3: `helper` is not an exercise's name: expected exN_words",
    ];
    for words in expected {
        assert!(violations.contains(words), "{words}: not in\n{violations}");
    }
    assert_eq!(violations.lines().count(), expected.len(), "{violations}");
}

#[test]
fn a_stub_that_passes_is_no_exercise() {
    let workspace = workspace();
    workspace.replace(
        SUM,
        "    todo!(",
        "    if numbers.is_empty() { return 0; }\n    todo!(",
    );
    workspace.expect(&[
        "checks/ex1_sum.rs:6: ch01_sums checks::ex1_sum::of_none: the stub passes it \
         unsolved: make it ask",
    ]);
}

#[test]
fn a_solution_that_fails_is_none() {
    let workspace = workspace();
    workspace.replace(SUM_ANSWER, ".sum()", ".sum::<u64>() + 1");
    workspace.expect(&[
        "checks/ex1_sum.rs:6: ch01_sums checks::ex1_sum::of_none: the solution fails \
         it, \
         with \"the sum of nothing is 0, not 1\" at \
         chapters/ch01_sums/checks/ex1_sum.rs:7: correct",
        "ex1_sum.rs:11: ch01_sums checks::ex1_sum::of_odd_numbers: the solution fails \
         it, \
         with \"assertion `left == right` failed: 1 + 3 + 5 + 7\" at",
    ]);
}

#[test]
fn a_stub_compiles() {
    let workspace = workspace();
    workspace.replace(SUM, "numbers.len()", "count");
    let checked = workspace.expect(&[
        "chapters/ch01_sums/exercises/ex1_sum.rs:16: the exercises of `ch01_sums` do \
         not \
         compile: error[E0425]: cannot find value `count` in this scope; see cargo \
         test \
         -p ch01_sums --test exercises",
    ]);
    // The other target, and the other chapter, were run all the same.
    assert_eq!((checked.rows[0].solved, checked.rows[0].failed), (4, 0));
    assert_eq!(checked.rows[1].failed, 2);
    assert!(checked.to_string().contains("  1 violation\n"), "{checked}");
}

#[test]
fn what_does_not_compile_elsewhere_is_named() {
    let workspace = workspace();
    workspace.append("chapters/ch01_sums/src/lib.rs", "const WRONG: u8 = 256;\n");
    workspace.replace("chapters/ch02_ranks/Cargo.toml", "[lib]", "[lid]\n[[test]");
    let expected = [
        "chapters/ch01_sums/src/lib.rs:7: the exercises of `ch01_sums` do not compile: \
         error[overflowing_literals]",
    ];
    let checked = workspace.check().to_string();
    // A manifest that cargo cannot read keeps all chapters from being built.
    assert!(checked.contains("cargo gave up: "), "{checked}");
    workspace.replace("chapters/ch02_ranks/Cargo.toml", "[lid]\n[[test]", "[lib]");
    let checked = workspace.check().to_string();
    for words in expected {
        assert!(checked.contains(words), "{words}: not in\n{checked}");
    }
}

#[test]
fn a_fill_in_fails_by_todo_and_by_nothing_else() {
    let workspace = workspace();
    workspace.replace(SUM, "todo!(\"add up {} numbers\", numbers.len())", "numbers[9]");
    let words = "the stub fails it with \"index out of bounds: the len is 0 but the \
                 index \
                 is 9\" at chapters/ch01_sums/exercises/ex1_sum.rs:16: expected \"not \
                 yet \
                 implemented\" from a todo!() in";
    // A todo!() that is not the stub's own does not count either.
    let share = "chapters/ch02_ranks/exercises/ex1_share.rs";
    workspace.replace(share, "todo!()", "0..0");
    workspace.replace(SHARE_CHECKS, "    let shares", "    todo!();\n    let shares");
    workspace.expect(&[
        words,
        "of_odd_numbers: the stub fails it with \"index out of bounds: the len is 4",
        "ch02_ranks checks::ex1_share::of_three: the solution fails it",
        "of_three: the stub fails it with \"not yet implemented\" at \
         chapters/ch02_ranks/checks/ex1_share.rs:",
    ]);
}

#[test]
fn a_check_that_returns_an_error_has_no_words_of_its_own() {
    let workspace = workspace();
    let check = "#[test]\nfn told() -> Result<(), String> {\n    \
                 largest(&[1]).map(drop).ok_or(\"none\".into())\n}\n";
    workspace.append(LARGEST_CHECKS, check);
    workspace
        .expect(&["ex2_largest.rs:14: ch01_sums checks::ex2_largest::told: the stub \
                        fails it without a panic: expected an assertion"]);
}

#[test]
fn a_bug_does_not_panic() {
    let workspace = workspace();
    workspace.replace(LARGEST, "numbers.iter()", "numbers[1..=2].iter()");
    workspace.expect(&[
        "comes_first: the stub fails it with \"range end index 2 out of range for \
         slice \
         of length 2\" at chapters/ch01_sums/exercises/ex2_largest.rs:10: expected an \
         assertion of chapters/ch01_sums/checks/ex2_largest.rs to fail, since a bug \
         runs",
        "comes_last: the stub fails it with",
    ]);
}

#[test]
fn a_bug_fails_in_its_own_check_with_words() {
    let workspace = workspace();
    let found = "assert_eq!(found, Some(3), \"the largest of 3 and 1\")";
    let shared = "#[allow(dead_code)]\nfn wrong(found: Option<u64>) {\n    \
                  assert!(found == Some(3), \"words\");\n}\n";
    workspace.append("chapters/ch01_sums/checks/mod.rs", shared);
    for (bare, says) in [
        ("assert_eq!(found, Some(3))", "\"assertion `left == right` failed\""),
        ("assert!(found == Some(3))", "\"assertion failed: found == Some(3)\""),
        ("largest(&[3]).unwrap()", "\"called `Option::unwrap()` on a `None` value\""),
        // The words are there, but not in the exercise's own file.
        ("super::wrong(found)", "\"words\" at chapters/ch01_sums/checks/mod.rs:11"),
    ] {
        workspace.replace(LARGEST_CHECKS, found, bare);
        let says = format!("comes_first: the stub fails it with {says}");
        workspace.expect(&[&says]);
        workspace.replace(LARGEST_CHECKS, bare, found);
    }
}

#[test]
fn a_bug_is_met_by_a_check() {
    let workspace = workspace();
    workspace.replace(LARGEST, ".skip(1)", "");
    workspace
        .expect(&["checks/ex2_largest.rs:1: the bug of `ex2_largest` is met by none \
                        of its checks: write one that fails on the stub"]);
}

#[test]
fn an_exercise_has_a_check() {
    let workspace = workspace();
    workspace.replace(LARGEST_CHECKS, "#[test]", "#[allow(dead_code)]");
    workspace.expect(&["checks/ex2_largest.rs:1: `ex2_largest` has no check: write"]);
}

#[test]
fn an_ignored_check_checks_nothing() {
    let workspace = workspace();
    workspace.replace(SHARE_CHECKS, "#[test]", "#[test]\n#[ignore]");
    workspace.expect(&[
        "it is ignored and checks nothing: take out `#[ignore]`",
        "it is ignored and checks nothing",
    ]);
}

#[test]
fn both_targets_run_the_same_checks() {
    let workspace = workspace();
    workspace.append(SUM_ANSWER, "#[test]\nfn of_its_own() {}\n");
    workspace
        .append("chapters/ch01_sums/checks/mod.rs", "#[test]\nfn of_nobody() {}\n");
    let target = "chapters/ch02_ranks/tests/solutions.rs";
    workspace.append(target, "#[test]\nfn more() {}\n");
    workspace.expect(&[
        "ch01_sums/tests/solutions.rs:1: `answer::ex1_sum::of_its_own` is a test of \
         the \
         solutions alone: move it to a file of checks/",
        "ch01_sums/tests/solutions.rs:1: `checks::of_nobody` is the check of no \
         exercise",
        "ch02_ranks/tests/solutions.rs:1: expected `#[path = \"../solutions/mod.rs\"] \
         mod \
         answer;` and `#[path = \"../checks/mod.rs\"] mod checks;` and nothing else",
        "ch02_ranks/tests/solutions.rs:1: `more` is a test of the solutions alone",
    ]);
    workspace.remove(target);
    let missing = workspace.check().to_string();
    assert!(missing.contains("ch02_ranks/tests/solutions.rs:1: expected"), "{missing}");
}

#[test]
fn an_exercise_needs_no_other() {
    let workspace = workspace();
    // In a macro, in a use tree, and from a module inside.
    let sums = "#[test]\nfn strays() {\n    \
                assert_eq!(crate::answer::ex1_sum::sum(&[]), \
                0, \"the sum\");\n}\n";
    workspace.append(LARGEST_CHECKS, sums);
    workspace.replace(
        LARGEST_ANSWER,
        "    use super::*;\n",
        "    use super::{super::ex1_sum::sum as _, *};\n",
    );
    workspace.replace(LARGEST, "pub fn", "use crate::answer::*;\n\npub fn");
    workspace.replace(SUM_CHECKS, "use super::same;", "use super::*;");
    workspace.append(SUM, "pub(crate) use super::ex2_largest::largest as _;\n");
    workspace.append(
        "chapters/ch01_sums/checks/mod.rs",
        "pub use crate::answer::ex1_sum as one;\n",
    );
    let other = "chapters/ch02_ranks/solutions/";
    workspace.append(
        &format!("{other}ex2_rounds.rs"),
        "#[path = \"ex1_share.rs\"]\npub mod again;\n",
    );
    workspace.append(&format!("{other}ex1_share.rs"), "include!(\"ex2_rounds.rs\");\n");
    let checked = workspace.check();
    let all = checked.to_string();
    let expected = [
        "checks/ex2_largest.rs:15: `crate::answer::ex1_sum::sum` leads out of this \
         exercise: a check uses `crate::answer::ex2_largest`",
        "solutions/ex2_largest.rs:8: `super::super::ex1_sum::sum` leads out",
        "exercises/ex2_largest.rs:9: `crate::answer::*` leads out",
        "checks/ex1_sum.rs:1: `super::*` leads out",
        "exercises/ex1_sum.rs:18: `super::ex2_largest::largest` leads out",
        "checks/mod.rs:9: `crate::answer::ex1_sum` leads out of this exercise: what \
         the \
         checks share uses no answer",
        "solutions/ex2_rounds.rs:6: `#[path]` takes in another file",
        "solutions/ex2_rounds.rs:7: `mod again;` takes in another file",
        "solutions/ex1_share.rs:9: `include!` takes in another file",
    ];
    for words in expected {
        assert!(all.contains(words), "{words}: not in\n{all}");
    }
    let count = all.matches("leads out").count() + all.matches("takes in").count();
    assert_eq!(count, expected.len(), "{all}");
}

#[test]
fn the_book_introduces_every_exercise_once() {
    let workspace = workspace();
    let line = "{{#exercise ch01_sums ex1_sum}}\n";
    workspace.replace("book/src/sums.md", line, "");
    let again = "{{#exercise ch02_ranks ex1_share}}\n{{#exercise ch02_ranks \
                 ex9_none}}\n\
                 {{#exercise ch09 ex1_sum}}\n{{#exercise ch01_sums}}\n";
    workspace.append("book/src/ranks.md", again);
    let checked = workspace.expect(&[
        "exercises/ex1_sum.rs:1: the book does not introduce it: add the line \
         {{#exercise ch01_sums ex1_sum}} to",
        "book/src/ranks.md:6: `ch02_ranks ex1_share` is introduced at \
         book/src/ranks.md:3 already",
        "book/src/ranks.md:7: `ch02_ranks` has no exercise `ex9_none`",
        "book/src/ranks.md:8: there is no chapter `ch09`, only ch01_sums, ch02_ranks",
        "book/src/ranks.md:9: expected `{{#exercise CHAPTER NAME}}`",
    ]);
    assert_eq!(checked.rows[0].violations, 1);
    assert_eq!(checked.rows[1].violations, 2);
    workspace.remove("book/src/SUMMARY.md");
    let without = workspace.check().to_string();
    assert!(without.contains("book/src/SUMMARY.md:1: cannot be read"), "{without}");
}

#[test]
fn a_check_that_hangs_is_ended_and_named() {
    let workspace = workspace();
    // Rank 0 dies of the stub and rank 1 waits for it.
    workspace.write(
        SHARE_CHECKS,
        "use crate::answer::ex1_share::share;\n\
         use ch02_ranks::ranks;\n\
         use std::sync::Barrier;\n\
         #[test]\n\
         fn of_two() {\n    \
             let all = Barrier::new(2);\n    \
             ranks(2, |rank| {\n        \
                 let part = if rank == 0 { share(4, 0, 2) } else { 2..4 };\n        \
                 all.wait();\n        \
                 assert_eq!(part.len(), 2, \"half\");\n    \
             });\n\
         }\n\
         #[test]\n\
         fn of_one() {\n    \
             assert_eq!(share(4, 0, 1), 0..4, \"all\");\n\
         }\n",
    );
    let runner = Runner { limit: Duration::from_secs(2), ..workspace.runner() };
    let start = Instant::now();
    let checked = check(&workspace.root(), &["ch02".into()], &runner).unwrap();
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
    let shown = checked.to_string();
    assert_eq!(checked.violations.0.len(), 1, "{shown}");
    let words = "checks/ex1_share.rs:5: ch02_ranks checks::ex1_share::of_two: it did \
                 not \
                 finish on the stub within 2 s (--limit SECONDS)";
    assert!(shown.contains(words), "{shown}");
    // The others were run.
    assert_eq!((checked.rows[0].solved, checked.rows[0].failed), (3, 2), "{shown}");
    assert!(!is_running(&workspace.root()), "the check still runs");
}

/// Whether any process runs in `folder`.
fn is_running(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| fs::read_link(process.path().join("cwd")).ok())
        .any(|cwd| cwd.starts_with(&folder))
}

#[test]
fn what_a_check_started_is_ended_with_it() {
    let workspace = workspace();
    let another = "use std::process::Command;\n#[test]\nfn starts_another() {\n    \
                 Command::new(\"sleep\").arg(\"600\").status().unwrap();\n}\n";
    workspace.append(SHARE_CHECKS, another);
    let runner = Runner { limit: Duration::from_secs(1), ..workspace.runner() };
    let checked = check(&workspace.root(), &["ch02".into()], &runner).unwrap();
    let checked = checked.to_string();
    assert_eq!(checked.matches("it did not finish on the").count(), 2, "{checked}");
    assert!(!is_running(&workspace.root()), "sleep still runs");
}

#[test]
fn a_check_that_ends_the_program_is_named() {
    let workspace = workspace();
    let check = "#[test]\nfn aborts() {\n    std::process::abort();\n}\n\
                 #[test]\nfn leaves() {\n    std::process::exit(0);\n}\n";
    workspace.append(LARGEST_CHECKS, check);
    workspace.expect(&[
        "aborts: it ended the whole test program on the solution (signal: 6 (SIGABRT)",
        "aborts: it ended the whole test program on the stub",
        "leaves: it ended the whole test program on the solution (exit status: 0)",
        "leaves: it ended the whole test program on the stub",
    ]);
}

#[test]
fn plain_cargo_test_leaves_the_stubs_alone() {
    let workspace = workspace();
    let manifest = "chapters/ch01_sums/Cargo.toml";
    workspace.replace(manifest, "\"exercises\"\ntest = false", "\"exercises\"");
    workspace.replace(
        "chapters/ch02_ranks/Cargo.toml",
        "[[test]]\nname = \"exercises\"\ntest = false",
        "",
    );
    workspace.expect(&[
        "chapters/ch01_sums/Cargo.toml:11: plain `cargo test` runs the unsolved \
         exercises: expected a [[test]] with `name = \"exercises\"` and `test = false`",
        "chapters/ch02_ranks/Cargo.toml:1: plain `cargo test` runs",
    ]);
}

#[test]
fn docs_are_whole() {
    let workspace = workspace();
    workspace.replace(SUM, "//! ## Hint\n//!\n//! Iterators can do it.\n", "");
    workspace.replace(
        LARGEST_ANSWER,
        "# Find the bug: the largest",
        "# Fill in: the largest",
    );
    workspace.expect(&[
        "chapters/ch01_sums/exercises/ex1_sum.rs:10: has no hint: end the docs with",
        "chapters/ch01_sums/solutions/ex2_largest.rs:1: the answer is titled `Fill in: \
         the largest` and its stub `Find the bug: the largest`: give both the same",
    ]);
}

#[test]
fn a_chapter_has_exercises() {
    let workspace = workspace();
    let manifest = workspace.read("chapters/ch01_sums/Cargo.toml");
    let manifest = manifest.split("[[test]]").next().unwrap();
    workspace.write(
        "chapters/ch03_new/Cargo.toml",
        &manifest.replace("ch01_sums", "ch03_new"),
    );
    workspace.write("chapters/ch03_new/src/lib.rs", "");
    // The lock file does not know the new package, and --locked must not change it.
    let _ = fs::remove_file(workspace.root().join("Cargo.lock"));
    workspace.expect(&["chapters/ch03_new/Cargo.toml:1: `ch03_new` has no exercises"]);
    assert_eq!(list(&workspace.root()).unwrap().len(), 4);
    fs::remove_dir_all(workspace.root().join("chapters/ch03_new")).unwrap();
    fs::remove_file(workspace.root().join("Cargo.lock")).unwrap();
}

#[test]
fn progress_tells_what_is_solved_and_what_is_next() {
    let workspace = workspace();
    let fresh = workspace.progress(&[]).show(false, false);
    assert_eq!(
        fresh,
        "ch01_sums [....................] 0 of 2 solved\n  \
           not yet           ex1_sum      Fill in: the sum (0 of 2 checks pass)\n  \
           not yet           ex2_largest  Find the bug: the largest (1 of 2 checks \
           pass)\n\
         \n\
         ch02_ranks [....................] 0 of 2 solved\n  \
           not yet           ex1_share    Fill in: a rank's share\n  \
           not yet           ex2_rounds   Find the bug: the rounds of a ring\n\
         \n\
         Next: Fill in: the sum\n  \
           open  chapters/ch01_sums/exercises/ex1_sum.rs\n  \
           run   cargo test -p ch01_sums --test exercises ex1_sum\n  \
           hint  cargo run -p book-tool -- progress --hint\n"
    );
    workspace.write(SUM, &workspace.read(SUM_ANSWER));
    // Half of the docs is gone with it, and of that there is a note.
    let solved = workspace.progress(&["ch01"]);
    assert_eq!(solved.notes.0.len(), 2, "{}", solved.notes);
    let answer = workspace.read(SUM_ANSWER);
    let code = answer.split("\n\n").nth(1).unwrap();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exercises");
    let stub = fs::read_to_string(fixture.join(SUM)).unwrap();
    let docs = stub.split("pub fn").next().unwrap();
    workspace.write(SUM, &format!("{docs}{code}"));
    let solved = workspace.progress(&["ch01"]);
    assert_eq!(
        solved.show(false, true),
        "ch01_sums [##########..........] 1 of 2 solved\n  \
           solved            ex1_sum      Fill in: the sum\n  \
           not yet           ex2_largest  Find the bug: the largest (1 of 2 checks \
           pass)\n\
         \n\
         Next: Find the bug: the largest\n  \
           open  chapters/ch01_sums/exercises/ex2_largest.rs\n  \
           run   cargo test -p ch01_sums --test exercises ex2_largest\n  \
           says  assertion `left == right` failed: the largest of 3 and 1\n          \
                   left: Some(1)\n         \
                  right: Some(3)\n  \
           hint  Try a list of one.\n"
    );
    let colored = solved.show(true, false);
    assert!(colored.contains("[\x1b[32m##########\x1b[0m.........."), "{colored}");
    assert!(colored.contains("progress ch01 --hint"), "{colored}");
    workspace.replace(LARGEST, ".skip(1)", "");
    let all = workspace.progress(&["ch01_sums"]);
    assert!(all.next().is_none());
    assert!(all.show(false, true).ends_with("\n\nAll 2 exercises are solved.\n"));
}

#[test]
fn progress_shows_what_does_not_compile_first() {
    let workspace = workspace();
    workspace.replace(LARGEST, "skip(1)", "skip(one)");
    let broken = workspace.progress(&["ch01"]);
    assert_eq!(broken.chapters[0].entries[0].state, State::Unknown);
    assert_eq!(
        broken.show(false, false),
        "ch01_sums [....................] 0 of 2 solved\n  \
           not run           ex1_sum      Fill in: the sum\n  \
           does not compile  ex2_largest  Find the bug: the largest\n      \
               error[E0425]: cannot find value `one` in this scope\n      \
               chapters/ch01_sums/exercises/ex2_largest.rs:10\n\
         \n\
         Next: Find the bug: the largest\n  \
           open  chapters/ch01_sums/exercises/ex2_largest.rs\n  \
           run   cargo test -p ch01_sums --test exercises ex2_largest\n  \
           hint  cargo run -p book-tool -- progress ch01 --hint\n"
    );
    workspace.append("chapters/ch02_ranks/src/lib.rs", "fn half(\n");
    let broken = workspace.progress(&["ch02"]).show(false, false);
    assert!(
        broken.contains("  the chapter cannot be built:\n      error: "),
        "{broken}"
    );
    assert!(broken.contains("chapters/ch02_ranks/src/lib.rs:13\n"), "{broken}");
}
