//! Runs: how they are made (`book/runs/*.toml`), what was captured of them
//! (`book/runs/ID.json`), and whether that still holds.
//!
//! A file of definitions has one table for each run:
//!
//! ```toml
//! [ch01_default]
//! class = "recorded"                      # or "checked"
//! command = ["cargo", "run", "-p", "ch01_single_gpu", "--", "--log", "{log}"]
//! files = ["data/stories.jsonl"]          # it depends on these, folders, or *
//! [ch01_default.metrics]
//! val_loss = { pattern = 'validation loss ([0-9.]+)', tolerance = 0.05 }
//! losses = { log = "loss" }
//! ```
//!
//! - `command`, or `commands`: a list of them, run one after the other from the
//!   workspace's root. Placeholders: `{log}` and `{json}`, a fresh file for each
//!   command; `{dir}`, a fresh folder for all of them; `{NAME}` for each NAME of
//!   `external`; and that of a `sweep`.
//! - `shown`: the command as the page shows it, where it differs from what is made of
//!   `command`: without the flags for `{log}` and `{json}`, `{dir}` as `out/ID`.
//! - `sweep = { lr = ["1e-3", "2e-3"] }`: all is done once for each value; each metric
//!   becomes a series over them, or over 1, 2, … if they are not numbers.
//! - `packages`: those whose sources decide the result (default: the `-p` of commands
//!   of cargo); the ones of ours they depend on come with them. `files`: further ones.
//! - `external`: names of files from outside, given to `capture --with NAME=PATH`.
//! - `exit`: the status that the last command is to end with (default: 0).
//! - `tolerance`: of metrics that give none of their own, relative (default: 0).
//! - Each metric is one of
//!   - `pattern`: the group in the last match in the output, or with `take` in that of
//!     the `"max"` or `"min"`; with two groups, x and y of all matches, as a series;
//!   - `log`: a field, or a JSON pointer, of the step records in `{log}`; `at` says
//!     which: a step, `"last"`, `"start"` or `"end"` (the records before and after the
//!     steps), or without it all of them, as a series;
//!   - `json`: a JSON pointer into `{json}`;
//!
//!   with `of = N` for the Nth of several commands, `tolerance`, and `compare = false`
//!   where it depends on the machine.
//!
//! A capture is *stale* when an input has changed: a Rust file by its tokens, so that
//! rewording a comment stales nothing, any other file by its bytes. A module of a
//! feature, `#[cfg(feature = "…")] mod x;`, is no input of commands without
//! `--features`.

mod capture;
mod command;
mod command_line;
mod definition;
mod inputs;
mod machine;
mod make;
mod metrics;
mod packages;
mod rule;
mod terminal;
mod tokens;
mod value;

pub use capture::{Capture, External, Metric, Session};
pub use command_line::{CaptureArgs, main_capture};
pub use definition::Class;
pub use machine::Machine;
pub use value::value;

use anyhow::{Context, Result, anyhow};
use definition::Definition;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, ValueDeserializer};

/// The folder of definitions and captures.
pub const FOLDER: &str = "book/runs";

/// All runs of the book.
pub struct Runs {
    root: PathBuf,
    runs: BTreeMap<String, Run>,
    /// What is wrong with the definitions.
    wrong: Vec<Problem>,
}

/// One run: its definition, and its capture if there is one.
pub struct Run {
    /// Its name.
    pub id: String,
    /// The file that defines it, seen from the workspace's root.
    pub file: String,
    /// The line there, from 1.
    pub line: usize,
    /// What was captured.
    pub capture: Option<Capture>,
    definition: Definition,
    stale: Vec<String>,
    /// Why there is a file for its capture, and yet no capture.
    unreadable: Option<String>,
}

/// Something wrong, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Seen from the workspace's root.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What, and what to do.
    pub message: String,
}

impl Runs {
    /// Reads all definitions and captures of the workspace at `root`, and compares the
    /// inputs of each capture with what they are now.
    ///
    /// # Errors
    /// The workspace's manifest or the folder cannot be read. What is wrong with one
    /// run is among the [`problems`](Runs::problems).
    pub fn load(root: &Path) -> Result<Runs> {
        let sources = inputs::Sources::open(root)?;
        let root = root.to_path_buf();
        let mut runs = Runs { root, runs: BTreeMap::new(), wrong: vec![] };
        for file in inputs::matching(&runs.root, &format!("{FOLDER}/*.toml"))? {
            let text = inputs::text(&runs.root, &file)?;
            runs.define(&file.to_string_lossy(), &text, &sources);
        }
        Ok(runs)
    }

    fn define(&mut self, file: &str, text: &str, sources: &inputs::Sources) {
        let line = |span: Option<Range<usize>>| {
            let before = span.and_then(|span| text.get(..span.start)).unwrap_or("");
            1 + before.matches('\n').count()
        };
        let mut wrong = |line: usize, message: String| {
            self.wrong.push(Problem { file: file.to_string(), line, message });
        };
        let tables = match DeTable::parse(text) {
            Ok(tables) => tables.into_inner(),
            Err(error) => {
                return wrong(line(error.span()), error.message().to_string());
            }
        };
        for (name, table) in tables {
            let at = line(Some(name.span()));
            let id = name.into_inner().into_owned();
            let definition = match Definition::read(&id, ValueDeserializer::from(table))
            {
                Ok(definition) => definition,
                Err((span, message)) => {
                    let at = span.map_or(at, |span| line(Some(span)));
                    wrong(at, format!("run `{id}`: {message}"));
                    continue;
                }
            };
            let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !id.chars().all(letters) || id.starts_with(|c: char| c.is_ascii_digit())
            {
                wrong(
                    at,
                    format!("run `{id}`: its name has other than letters, digits, _"),
                );
            } else if let Some(first) = self.runs.get(&id) {
                let message =
                    format!("is defined in {}:{}, too", first.file, first.line);
                wrong(at, format!("run `{id}` {message}"));
            } else {
                let capture = Capture::read(&path(&self.root, &id));
                let unreadable =
                    capture.as_ref().err().map(|error| format!("{error:#}"));
                let capture = capture.ok().flatten();
                let file = file.to_string();
                let stale = vec![];
                let mut run =
                    Run { id, file, line: at, capture, definition, stale, unreadable };
                match run.inputs(sources) {
                    Err(error) => wrong(at, format!("run `{}`: {error:#}", run.id)),
                    Ok(now) => {
                        let inputs =
                            run.capture.as_ref().map(|capture| &capture.inputs);
                        let changed = inputs.map(|old| changed(old, &now.hashes));
                        run.stale = changed.unwrap_or_default();
                        self.runs.insert(run.id.clone(), run);
                    }
                }
            }
        }
    }

    /// A run by its name.
    ///
    /// # Errors
    /// There is none of that name; names those that are near.
    pub fn get(&self, id: &str) -> Result<&Run> {
        self.runs.get(id).ok_or_else(|| {
            let near = near(id, self.runs.keys());
            anyhow!("no run `{id}` is defined in {FOLDER}/*.toml{near}")
        })
    }

    /// All runs, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// What must be put right before the book can be built for others: what is
    /// [wrong](Runs::wrong), and checked runs that are stale or were never made.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        let mut problems = self.wrong()?;
        for run in self.iter().filter(|run| run.class() == Class::Checked) {
            let (id, again) = (&run.id, run.how_to_capture());
            let message = if run.unreadable.is_some() {
                continue;
            } else if run.capture.is_none() {
                format!("the checked run `{id}` has no capture yet: {again}")
            } else if !run.stale.is_empty() {
                format!(
                    "the checked run `{id}` is stale, for this has changed since its \
                     capture: {}; {again}",
                    run.stale.join(", ")
                )
            } else {
                continue;
            };
            problems.push(Problem { file: run.file.clone(), line: run.line, message });
        }
        Ok(problems)
    }

    /// Definitions that are wrong, and captures that cannot be read or that no
    /// definition belongs to.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn wrong(&self) -> Result<Vec<Problem>> {
        let mut problems = self.wrong.clone();
        for run in self.iter() {
            if let Some(why) = &run.unreadable {
                let message = format!(
                    "the capture {FOLDER}/{}.json cannot be read ({why}): {}",
                    run.id,
                    run.how_to_capture()
                );
                let (file, line) = (run.file.clone(), run.line);
                problems.push(Problem { file, line, message });
            }
        }
        for file in inputs::matching(&self.root, &format!("{FOLDER}/*.json"))? {
            let id = file.file_stem().unwrap_or_default().to_string_lossy();
            // A run whose definition is wrong has its own problem.
            if !self.runs.contains_key(&*id)
                && !self.wrong.iter().any(|w| w.message.contains(&format!("`{id}`")))
            {
                let (file, line) = (file.to_string_lossy().into_owned(), 1);
                let message = format!(
                    "no run `{id}` is defined in {FOLDER}/*.toml: define it, or delete \
                     its capture"
                );
                problems.push(Problem { file, line, message });
            }
        }
        Ok(problems)
    }
}

impl Run {
    /// How it is kept true.
    pub fn class(&self) -> Class {
        self.definition.class
    }

    /// What has changed since the capture, such as `package ops` or `file data/x`.
    pub fn stale(&self) -> &[String] {
        &self.stale
    }

    /// The command as one would type it; several are lines, a sweep is a shell's loop.
    pub fn shown_command(&self) -> String {
        self.definition.shown_command()
    }

    /// The capture.
    ///
    /// # Errors
    /// There is none; says how to make it.
    pub fn captured(&self) -> Result<&Capture> {
        self.capture.as_ref().with_context(|| {
            format!("run `{}` has no capture yet: {}", self.id, self.how_to_capture())
        })
    }

    fn how_to_capture(&self) -> String {
        let mut text = format!("`cargo run -p book-tool -- capture {}", self.id);
        for name in &self.definition.external {
            text += &format!(" --with {name}=PATH");
        }
        text + "`"
    }

    fn inputs(&self, sources: &inputs::Sources) -> Result<inputs::Inputs> {
        let definition = &self.definition;
        let (packages, files) = (&definition.packages, &definition.files);
        let mut inputs = sources.inputs(packages, files, definition.has_features())?;
        inputs.hashes.insert("definition".into(), definition.hash());
        Ok(inputs)
    }
}

fn path(root: &Path, id: &str) -> PathBuf {
    root.join(FOLDER).join(format!("{id}.json"))
}

/// The names of inputs that are not what they were.
fn changed(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut changed = vec![];
    for (name, hash) in old {
        match new.get(name) {
            None => changed.push(format!("{name} (gone)")),
            Some(now) if now != hash => changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let added = new.keys().filter(|name| !old.contains_key(*name));
    changed.extend(added.map(|name| format!("{name} (new)")));
    changed
}

/// A question after the names that are near an unknown one, or all if they are few.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let near = similar::get_close_matches(name, &known, 3, 0.5);
    let (ask, names) = match (near.is_empty(), known.len()) {
        (false, _) => ("did you mean", near),
        (true, 1..=8) => ("there are", known),
        (true, _) => return String::new(),
    };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let end = if ask == "there are" { "" } else { "?" };
    format!("; {ask} {}{end}", names.join(", "))
}
