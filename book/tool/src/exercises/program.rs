//! A test target: building it, and running its tests one by one.
//!
//! Each test runs in a process of its own, with its output kept. So a check that hangs
//! or dies is known by name and takes no other with it, and whatever a rank's thread
//! says on its way down is found with the check that it belongs to.

use super::process::{self, Output};
use anyhow::{Context, Result, bail};
use regex::Regex;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How the targets are run.
#[derive(Clone, Debug)]
pub struct Runner {
    /// How long one check may take before it is ended.
    pub limit: Duration,
    /// Set for cargo and for the checks, beside what they inherit.
    pub env: Vec<(OsString, OsString)>,
}

impl Default for Runner {
    fn default() -> Runner {
        Runner { limit: Duration::from_secs(120), env: Vec::new() }
    }
}

/// What came of building a target.
pub(super) enum Build {
    Ready(Program),
    Broken(Vec<Complaint>),
}

/// What the compiler says first about a file.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    /// From the workspace's root; empty if it is about no file.
    pub file: String,
    pub line: usize,
    /// Its words, in one line.
    pub message: String,
}

/// A test target's program.
pub(super) struct Program {
    file: PathBuf,
    /// The chapter's folder, where cargo starts a test.
    folder: PathBuf,
    root: PathBuf,
    runner: Runner,
}

/// What came of a test.
#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    /// It is `#[ignore]`d.
    Ignored,
    /// With its panics, the first one first.
    Failed(Vec<Panic>),
    /// It was ended.
    DidNotFinish,
    /// It took the whole program with it.
    Died(ExitStatus),
}

#[derive(Clone, Debug)]
pub(super) struct Panic {
    /// From the workspace's root.
    pub file: String,
    pub line: usize,
    pub message: String,
}

/// Builds a chapter's test target.
///
/// # Errors
/// If cargo cannot be started.
pub(super) fn build(
    root: &Path,
    chapter: &str,
    target: &str,
    runner: &Runner,
) -> Result<Build> {
    let root = root.canonicalize().with_context(|| root.display().to_string())?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "-p", chapter, "--test", target, "--no-run"]);
    command.arg("--message-format=json").current_dir(&root);
    command.envs(runner.env.iter().cloned());
    if root.join("Cargo.lock").is_file() {
        command.arg("--locked");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // Cargo's own progress is for whoever waits, if anyone does.
    if !io::stderr().is_terminal() {
        command.stderr(Stdio::piped());
    }
    let output = command.spawn().and_then(Child::wait_with_output);
    let output = output.context("cargo cannot be started: is Rust installed?")?;
    let (mut file, mut complaints) = (None, Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        match message["reason"].as_str() {
            Some("compiler-artifact") if message["target"]["name"] == target => {
                file = message["executable"].as_str().map(PathBuf::from).or(file);
            }
            Some("compiler-message") if message["message"]["level"] == "error" => {
                complaints.push(complaint(&root, &message["message"]));
            }
            _ => {}
        }
    }
    match file {
        Some(file) if output.status.success() => {
            let folder = root.join("chapters").join(chapter);
            let runner = runner.clone();
            Ok(Build::Ready(Program { file, folder, root, runner }))
        }
        _ => {
            // The last ones only count the others.
            complaints.sort_by_key(|complaint| complaint.file.is_empty());
            if complaints.is_empty() {
                let words = String::from_utf8_lossy(&output.stderr);
                let words: Vec<&str> = words.lines().map(str::trim).collect();
                let error = words.iter().position(|line| line.starts_with("error"));
                let why = match error {
                    Some(at) => words[at..].join(" "),
                    None => format!("{}; it says why above", output.status),
                };
                let message = format!("cargo gave up: {why}");
                complaints.push(Complaint { file: String::new(), line: 1, message });
            }
            Ok(Build::Broken(complaints))
        }
    }
}

fn complaint(root: &Path, message: &Value) -> Complaint {
    let spans = message["spans"].as_array().map_or(&[][..], Vec::as_slice);
    let span = spans.iter().find(|span| span["is_primary"] == true);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = text(&message["message"]).replace('\n', " ");
    let code = text(&message["code"]["code"]);
    let error = if code.is_empty() { "error".into() } else { format!("error[{code}]") };
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    Complaint {
        file: span.map_or(String::new(), |span| plain(root, &text(&span["file_name"]))),
        line: span.and_then(|span| number(&span["line_start"])).unwrap_or(1),
        message: format!("{error}: {words}"),
    }
}

/// A file as the compiler names it, from the workspace's root and without `..`.
fn plain(root: &Path, file: &str) -> String {
    let file = Path::new(file);
    let mut parts = PathBuf::new();
    for part in file.strip_prefix(root).unwrap_or(file).components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts.display().to_string().replace('\\', "/")
}

impl Program {
    /// The names of all its tests.
    ///
    /// # Errors
    /// If it cannot be run.
    pub(super) fn tests(&self) -> Result<Vec<String>> {
        let listed = self.output(&["--list", "--format=terse"])?;
        if !listed.status.is_some_and(|status| status.success()) {
            bail!("{} cannot list its tests", self.file.display());
        }
        let lines = listed.stdout.lines();
        Ok(lines
            .filter_map(|line| line.strip_suffix(": test"))
            .map(Into::into)
            .collect())
    }

    /// Runs one test.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn run(&self, test: &str) -> Result<Outcome> {
        let ran = self.output(&["--exact", test, "--nocapture", "--test-threads=1"])?;
        let Some(status) = ran.status else { return Ok(Outcome::DidNotFinish) };
        let summary = |words: &str| ran.stdout.lines().any(|line| line.contains(words));
        Ok(if summary("test result: ok. 1 passed") {
            Outcome::Passed
        } else if summary("; 1 ignored;") {
            Outcome::Ignored
        } else if summary("test result: FAILED.") {
            Outcome::Failed(panics(&self.root, &ran.stderr))
        } else {
            Outcome::Died(status)
        })
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.file);
        command.args(arguments).current_dir(&self.folder);
        command.envs(self.runner.env.iter().cloned());
        command.env("CARGO_MANIFEST_DIR", &self.folder);
        command.env("RUST_BACKTRACE", "0").env_remove("RUST_LIB_BACKTRACE");
        process::output(&mut command, self.runner.limit)
            .with_context(|| format!("cannot run {}", self.file.display()))
    }
}

/// The panics told in a program's stderr.
fn panics(root: &Path, stderr: &str) -> Vec<Panic> {
    let head =
        Regex::new(r"(?m)^thread '.*?'(?: \(\d+\))? panicked at (.+):(\d+):\d+:\n");
    let head = head.expect("a fixed pattern");
    let heads: Vec<_> = head.captures_iter(stderr).collect();
    let ends = heads.iter().skip(1).map(|next| next.get_match().start());
    let ends = ends.chain([stderr.len()]);
    heads
        .iter()
        .zip(ends)
        .map(|(found, end)| {
            let words = &stderr[found.get_match().end()..end];
            let words = words.split("\nnote: run with `RUST_BACKTRACE").next();
            Panic {
                file: plain(root, &found[1]),
                line: found[2].parse().unwrap_or(1),
                message: words.unwrap_or_default().trim().to_owned(),
            }
        })
        .collect()
}
