//! Makes a run: starts its commands and keeps what they say.
use super::capture::{Capture, External, Session};
use super::command::{fill, quote};
use super::metrics::{self, Made};
use super::{Run, inputs, machine, terminal};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// Files from outside the workspace, by the name that definitions give them.
pub type With = BTreeMap<String, PathBuf>;

/// Makes a run and measures it; writes nothing.
///
/// # Errors
/// A command cannot be started or ends as it should not, or a metric is missing.
pub fn make(root: &Path, run: &Run, with: &With) -> Result<Capture> {
    let definition = &run.definition;
    let (external, mut values, mut hidden) = externals(run, with)?;
    for name in builds(&definition.commands) {
        build(root, &name)?;
    }
    let sources = inputs::Sources::open(root)?;
    let before = run.inputs(&sources)?;
    let date = machine::now();
    let swept = match &definition.sweep {
        None => vec![None],
        Some((name, all)) => all.iter().map(|value| Some((name, value))).collect(),
    };
    let mut seconds = 0.0;
    let mut exit = 0;
    let (mut folders, mut points, mut sessions) = (vec![], vec![], vec![]);
    for point in swept {
        let temporary =
            tempfile::tempdir().context("cannot make a temporary folder")?;
        let folder = temporary.path().to_path_buf();
        let ours = folder.join("dir");
        std::fs::create_dir(&ours).context("cannot make a temporary folder")?;
        hidden.insert("dir".into(), (text(&ours)?, format!("out/{}", run.id)));
        values.insert("dir".into(), text(&ours)?);
        let mut shown = BTreeMap::new();
        if let Some((name, value)) = point {
            values.insert(name.clone(), value.clone());
            shown.insert(name.clone(), quote(value));
        }
        let mut outputs = vec![];
        for (index, words) in definition.commands.iter().enumerate() {
            for kind in ["log", "json"] {
                let file = text(&Made::file(&folder, kind, index))?;
                values.insert(kind.into(), file);
            }
            let words: Vec<String> =
                words.iter().map(|word| fill(word, &values)).collect();
            let command = fill(&definition.shown[index], &shown);
            let start = Instant::now();
            let (status, output) = session(root, &words)?;
            seconds += start.elapsed().as_secs_f64();
            let mut output = String::from_utf8_lossy(&output).into_owned();
            // The reader does not see the flag that asked for them.
            for kind in ["log", "json"] {
                output = without(&output, &values[kind]);
            }
            for (ours, theirs) in hidden.values() {
                output = output.replace(ours, theirs);
            }
            let output = terminal::lines(&output);
            let last = index + 1 == definition.commands.len();
            let wanted = if last { definition.exit } else { 0 };
            exit = ended(&command, status, wanted, &output)?;
            sessions.push(Session { command, output: output.clone() });
            outputs.push(output);
        }
        points.push(Made { outputs, folder });
        folders.push(temporary);
    }
    let metrics = metrics::measure(definition, &points)?;
    let after = run.inputs(&inputs::Sources::open(root)?)?;
    let changed = super::changed(&before.hashes, &after.hashes);
    ensure!(
        changed.is_empty(),
        "what it depends on changed while it ran ({}): run it again",
        changed.join(", ")
    );
    let (commit, uncommitted_changes) = machine::commit(root, &after.files);
    Ok(Capture {
        command: definition.shown_command(),
        date,
        machine: machine::Machine::this(),
        commit,
        uncommitted_changes,
        rustc: machine::rustc()?,
        seconds: (seconds * 1000.0).round() / 1000.0,
        exit,
        inputs: after.hashes,
        external,
        metrics,
        sessions,
    })
}

/// Without the lines that tell of a file.
fn without(output: &str, file: &str) -> String {
    let lines = output.split_inclusive('\n').filter(|line| !line.contains(file));
    lines.collect()
}

type Hidden = BTreeMap<String, (String, String)>;

/// The files from outside: what is kept of them, their paths, and the paths' names.
fn externals(
    run: &Run,
    with: &With,
) -> Result<(BTreeMap<String, External>, BTreeMap<String, String>, Hidden)> {
    let (mut kept, mut paths, mut hidden) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for name in &run.definition.external {
        let path = with.get(name).ok_or_else(|| {
            anyhow!("it needs a file from outside: say where by --with {name}=PATH")
        })?;
        let cannot = || format!("cannot read --with {name}={}", path.display());
        let path = path.canonicalize().with_context(cannot)?;
        let bytes = std::fs::read(&path).with_context(cannot)?;
        let sha256 = inputs::sha256(&bytes);
        kept.insert(name.clone(), External { bytes: bytes.len() as u64, sha256 });
        paths.insert(name.clone(), text(&path)?);
        hidden.insert(name.clone(), (text(&path)?, name.clone()));
    }
    Ok((kept, paths, hidden))
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(String::from);
    text.with_context(|| format!("the path {} is not UTF-8", path.display()))
}

/// The builds that commands of cargo begin with, each once.
fn builds(commands: &[Vec<String>]) -> BTreeSet<Vec<String>> {
    let mut builds = BTreeSet::new();
    for command in commands.iter().filter(|command| command[0] == "cargo") {
        let own = command.iter().take_while(|word| *word != "--").cloned();
        let mut own: Vec<String> = own.collect();
        match own.get(1).map(String::as_str) {
            Some("run") => own[1] = "build".into(),
            Some("test" | "bench") => own.push("--no-run".into()),
            _ => continue,
        }
        builds.insert(own);
    }
    builds
}

/// Builds, and shows what cargo says, so that the run itself is only the run.
fn build(root: &Path, words: &[String]) -> Result<()> {
    let status = controlled(root, words).status();
    let status = status.with_context(|| format!("cannot start `{}`", words[0]))?;
    ensure!(status.success(), "`{}` failed", words.join(" "));
    Ok(())
}

/// Runs a command, its stdout and stderr in one pipe.
fn session(root: &Path, words: &[String]) -> Result<(ExitStatus, Vec<u8>)> {
    let mut words = words.to_vec();
    let builds = match words.get(1).map(String::as_str) {
        _ if words[0] != "cargo" => false,
        Some("run") => {
            words.insert(2, "--quiet".into());
            true
        }
        other => matches!(other, Some("test" | "bench")),
    };
    if builds {
        // Even --quiet repeats the warnings of an earlier build; in this form they end
        // with a line that one can tell.
        words.insert(2, "--message-format=json".into());
    }
    let cannot = || match words[0].starts_with(".venv/") {
        true => {
            format!("cannot start `{}`: scripts/setup_python.sh makes it", words[0])
        }
        false => format!("cannot start `{}`", words[0]),
    };
    let (mut reader, writer) = std::io::pipe().with_context(cannot)?;
    let mut command = controlled(root, &words);
    command.stdout(writer.try_clone().with_context(cannot)?).stderr(writer);
    let mut child = command.spawn().with_context(cannot)?;
    // Its ends of the pipe; as long as they are open, reading would not end.
    drop(command);
    let mut output = vec![];
    reader.read_to_end(&mut output).with_context(cannot)?;
    if builds {
        let built = br#"{"reason":"build-finished","success":true}"#;
        let at = output.windows(built.len()).position(|part| part == built);
        output.drain(..at.map_or(0, |at| at + built.len() + 1));
    }
    Ok((child.wait().with_context(cannot)?, output))
}

/// A command in the workspace's root, without what this process's own surroundings
/// would change in its output.
fn controlled(root: &Path, words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        // cargo's about the package whose program this is, and our own switches.
        let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_TERM_", "FERROTRON_"];
        let colours = ["CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "COLUMNS"];
        let others = ["RUST_LOG", "CARGO_CRATE_NAME", "CARGO_BIN_NAME"];
        if prefixes.iter().any(|prefix| name.starts_with(prefix))
            || colours.contains(&name.as_str())
            || others.contains(&name.as_str())
        {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").env("TERM", "dumb").env("CARGO_TERM_COLOR", "never");
    command.env("RUST_BACKTRACE", "0").env("PYTHONUNBUFFERED", "1");
    command
}

/// The exit status, if it is the one that is wanted.
fn ended(
    command: &str,
    status: ExitStatus,
    wanted: i32,
    output: &[String],
) -> Result<i32> {
    if status.code() == Some(wanted) {
        return Ok(wanted);
    }
    let last = &output[output.len().saturating_sub(20)..];
    bail!(
        "`{command}` ended with {status}, expected {wanted}; it said last:\n    {}",
        last.join("\n    ")
    )
}
