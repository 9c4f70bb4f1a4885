//! How far the reader is, and what is next.

use super::layout;
use super::program::{self, Build, Complaint, Outcome, Runner};
use super::{Exercise, Violations};
use anyhow::Result;
use std::fmt::{self, Write};
use std::io::IsTerminal;
use std::path::Path;

/// How far the reader is.
#[derive(Debug, Default)]
pub struct Progress {
    /// The chapters that have exercises, in order.
    pub chapters: Vec<ChapterProgress>,
    /// What is wrong with the exercises' own text, if anything.
    pub notes: Violations,
    /// The chapters that were asked for; none if all were.
    asked: Vec<String>,
}

/// One chapter's exercises.
#[derive(Debug)]
pub struct ChapterProgress {
    /// The chapter's name.
    pub chapter: String,
    /// Its exercises, in order.
    pub entries: Vec<Entry>,
    /// Why the chapter cannot be built, if that lies outside of its exercises.
    pub trouble: Option<String>,
}

/// One exercise.
#[derive(Debug)]
pub struct Entry {
    /// The exercise.
    pub exercise: Exercise,
    /// How far it is.
    pub state: State,
}

/// How far an exercise is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It passes all its checks.
    Solved,
    /// It does not.
    NotYet {
        /// Checks that it passes.
        passed: usize,
        /// Checks there are.
        checks: usize,
        /// What the first failing one says.
        says: String,
    },
    /// What the compiler says first about it, with its place.
    DoesNotCompile(String),
    /// Something else of its chapter does not compile.
    Unknown,
}

/// Builds and runs the reader's exercises of `chapters`, or of all if none is named.
///
/// # Errors
/// If the workspace cannot be read, a chapter is unknown, or cargo cannot be started.
pub fn progress(root: &Path, chapters: &[String], runner: &Runner) -> Result<Progress> {
    let mut progress = Progress { asked: chapters.to_vec(), ..Progress::default() };
    for chapter in layout::chapters(root, chapters)? {
        let exercises = layout::read(root, &chapter, &mut progress.notes);
        if exercises.is_empty() {
            continue;
        }
        let built = program::build(root, &chapter, "exercises", runner)?;
        let mut entries = Vec::new();
        let mut trouble = None;
        match built {
            Build::Ready(program) => {
                let tests = program.tests()?;
                for exercise in exercises {
                    let ours = format!("checks::{}::", exercise.name);
                    let ours = tests.iter().filter(|test| test.starts_with(&ours));
                    let mut outcomes = Vec::new();
                    for test in ours {
                        outcomes.push(program.run(test)?);
                    }
                    let state = judge(&outcomes, runner);
                    entries.push(Entry { exercise, state });
                }
            }
            Build::Broken(complaints) => {
                for exercise in exercises {
                    let state = match about(&exercise, &complaints) {
                        Some(complaint) => State::DoesNotCompile(told(complaint)),
                        None => State::Unknown,
                    };
                    entries.push(Entry { exercise, state });
                }
                if entries.iter().all(|entry| entry.state == State::Unknown) {
                    trouble = complaints.first().map(told);
                }
            }
        }
        progress.chapters.push(ChapterProgress { chapter, entries, trouble });
    }
    Ok(progress)
}

fn judge(outcomes: &[Outcome], runner: &Runner) -> State {
    let passed = outcomes.iter().filter(|o| matches!(o, Outcome::Passed)).count();
    let checks = outcomes.len();
    let first = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Passed));
    let says = match first {
        None if checks == 0 => "it has no check".to_owned(),
        None => return State::Solved,
        Some(Outcome::DidNotFinish) => {
            format!("a check did not finish within {:.0} s", runner.limit.as_secs_f64())
        }
        Some(Outcome::Died(status)) => format!("the check's program ended: {status}"),
        Some(Outcome::Failed(panics)) => panics
            .first()
            .map_or_else(|| "a check failed".to_owned(), |panic| panic.message.clone()),
        Some(_) => "a check was not run".to_owned(),
    };
    State::NotYet { passed, checks, says }
}

/// The first complaint about an exercise: about its stub, or its checks, which fail to
/// compile when the stub's functions have changed.
fn about<'a>(
    exercise: &Exercise,
    complaints: &'a [Complaint],
) -> Option<&'a Complaint> {
    let checks = exercise.path.replace("/exercises/", "/checks/");
    let of = |file: &String| complaints.iter().find(|c| c.file == *file);
    of(&exercise.path).or_else(|| of(&checks))
}

fn told(complaint: &Complaint) -> String {
    let Complaint { file, line, message } = complaint;
    if file.is_empty() { message.clone() } else { format!("{message}\n{file}:{line}") }
}

/// Whether stdout is a terminal whose user has nothing against color.
pub fn wants_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

impl ChapterProgress {
    /// How many of its exercises are solved.
    pub fn solved(&self) -> usize {
        self.entries.iter().filter(|entry| entry.state == State::Solved).count()
    }
}

impl Progress {
    /// What to do next: what does not compile, since it keeps its chapter from being
    /// run, then the first that is not solved.
    pub fn next(&self) -> Option<&Entry> {
        let unsolved = self
            .chapters
            .iter()
            .find(|chapter| chapter.solved() < chapter.entries.len());
        let entries = &unsolved?.entries;
        let broken = |entry: &&Entry| matches!(entry.state, State::DoesNotCompile(_));
        let open = |entry: &&Entry| entry.state != State::Solved;
        entries.iter().find(broken).or_else(|| entries.iter().find(open))
    }

    /// All of it for a terminal, with the hint for what is next if asked for.
    pub fn show(&self, color: bool, hint: bool) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, Paint(color), hint);
        text
    }

    fn write(&self, out: &mut String, paint: Paint, hint: bool) -> fmt::Result {
        let names = self.chapters.iter().flat_map(|chapter| &chapter.entries);
        let wide = names.map(|entry| entry.exercise.name.len()).max().unwrap_or(0);
        for chapter in &self.chapters {
            chapter.write(out, paint, wide)?;
            writeln!(out)?;
        }
        for note in &self.notes.0 {
            writeln!(out, "note: {note}")?;
        }
        let total: usize = self.chapters.iter().map(|c| c.entries.len()).sum();
        let Some(next) = self.next() else {
            return match total {
                0 => writeln!(out, "There are no exercises here yet."),
                1 => writeln!(out, "The one exercise is solved."),
                _ => writeln!(out, "All {total} exercises are solved."),
            };
        };
        let exercise = &next.exercise;
        let title = format!("{}: {}", exercise.kind, exercise.title);
        writeln!(out, "{} {title}", paint.bold("Next:"))?;
        writeln!(out, "  open  {}", exercise.path)?;
        writeln!(out, "  run   {}", exercise.command())?;
        if let State::NotYet { says, .. } = &next.state
            && !says.starts_with("not yet implemented")
        {
            write_indented(out, "  says  ", says)?;
        }
        if hint {
            write_indented(out, "  hint  ", &exercise.hint)
        } else {
            let asked: String =
                self.asked.iter().map(|name| format!(" {name}")).collect();
            writeln!(out, "  hint  cargo run -p book-tool -- progress{asked} --hint")
        }
    }
}

impl ChapterProgress {
    fn write(&self, out: &mut String, paint: Paint, wide: usize) -> fmt::Result {
        const BAR: usize = 20;
        let (solved, all) = (self.solved(), self.entries.len());
        let full = BAR * solved / all.max(1);
        let (done, left) = ("#".repeat(full), ".".repeat(BAR - full));
        let bar = format!("[{}{left}]", paint.green(&done));
        writeln!(out, "{} {bar} {solved} of {all} solved", paint.bold(&self.chapter))?;
        for Entry { exercise, state } in &self.entries {
            let (word, more) = match state {
                State::Solved => (paint.green("solved          "), String::new()),
                State::NotYet { checks: 1, .. } => {
                    (paint.plain("not yet         "), String::new())
                }
                State::NotYet { passed, checks, .. } => (
                    paint.plain("not yet         "),
                    format!(" ({passed} of {checks} checks pass)"),
                ),
                State::DoesNotCompile(_) => {
                    (paint.red("does not compile"), String::new())
                }
                State::Unknown => (paint.plain("not run         "), String::new()),
            };
            let Exercise { name, kind, title, .. } = exercise;
            writeln!(out, "  {word}  {name:wide$}  {kind}: {title}{more}")?;
            if let State::DoesNotCompile(complaint) = state {
                write_indented(out, "      ", complaint)?;
            }
        }
        if let Some(trouble) = &self.trouble {
            writeln!(out, "  {}", paint.red("the chapter cannot be built:"))?;
            write_indented(out, "      ", trouble)?;
        }
        Ok(())
    }
}

/// Text of several lines, the later ones set in as far as the first.
fn write_indented(out: &mut String, before: &str, text: &str) -> fmt::Result {
    let spaces = " ".repeat(before.len());
    for (at, line) in text.lines().enumerate() {
        let before = if at == 0 { before } else { &spaces };
        writeln!(out, "{}", format!("{before}{line}").trim_end())?;
    }
    Ok(())
}

/// Colors, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn code(self, code: &str, text: &str) -> String {
        let plain = !self.0 || text.is_empty();
        if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
    }
    fn plain(self, text: &str) -> String {
        text.to_owned()
    }
    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }
    fn green(self, text: &str) -> String {
        self.code("32", text)
    }
    fn red(self, text: &str) -> String {
        self.code("31", text)
    }
}
