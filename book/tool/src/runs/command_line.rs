//! `capture`: makes runs, makes them again to compare, and lists them.
use super::make::{With, make};
use super::metrics::differences;
use super::{Class, Run, Runs, path};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::path::{Path, PathBuf};

/// Make the runs that the book shows, and keep what they say and measure.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CaptureArgs {
    /// Runs to make, by their names in book/runs/*.toml
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,

    /// Make all checked runs whose inputs have changed or that have no capture
    #[arg(long, conflicts_with_all = ["ids", "check", "list"])]
    pub stale: bool,

    /// Make the checked runs again (all, or those named), keep nothing, and fail if a
    /// metric is beyond its tolerance
    #[arg(long, conflicts_with = "list")]
    pub check: bool,

    /// Show all runs and whether they are up to date
    #[arg(long, conflicts_with = "ids")]
    pub list: bool,

    /// Where a file is that a run takes from outside the workspace
    #[arg(long, value_name = "NAME=PATH")]
    pub with: Vec<String>,

    /// Write the captures into this folder instead of book/runs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check", "list"])]
    pub to: Option<PathBuf>,
}

/// `capture`, for the workspace at `root`.
///
/// # Errors
/// A wrong definition or argument, before anything runs; a run that fails; or, with
/// `--check`, a metric that is beyond its tolerance. Lists all of them.
pub fn main_capture(root: &Path, args: &CaptureArgs) -> Result<()> {
    let runs = Runs::load(root)?;
    if args.list {
        return list(&runs);
    }
    let chosen = choose(&runs, args)?;
    let with = with(args, &chosen)?;
    let mut failures = vec![];
    for run in chosen {
        let id = &run.id;
        eprintln!("{id}: {}", run.shown_command().replace('\n', "\n    "));
        let done = match args.check {
            true => check(root, run, &with),
            false => keep(root, run, &with, args.to.as_deref()),
        };
        if let Err(error) = done {
            eprintln!("{id}: failed");
            failures.push(format!("run `{id}`: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn list(runs: &Runs) -> Result<()> {
    for run in runs.iter() {
        let class = match run.class() {
            Class::Checked => "checked ",
            Class::Recorded => "recorded",
        };
        let state = match (&run.capture, run.stale()) {
            _ if run.unreadable.is_some() => "its capture cannot be read".to_string(),
            (None, _) => "missing".to_string(),
            (Some(capture), []) => format!("fresh, {}", capture.date),
            (Some(capture), stale) => {
                format!("stale, {}: {}", capture.date, stale.join(", "))
            }
        };
        println!("{:<28} {class}  {state}", run.id);
    }
    right(runs)
}

/// Fails if a definition is wrong.
fn right(runs: &Runs) -> Result<()> {
    let wrong = |p: &super::Problem| format!("{}:{}: {}", p.file, p.line, p.message);
    let wrong: Vec<String> = runs.wrong.iter().map(wrong).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn choose<'a>(runs: &'a Runs, args: &CaptureArgs) -> Result<Vec<&'a Run>> {
    let checked = |run: &&Run| run.class() == Class::Checked;
    if args.ids.is_empty() {
        // What is left out because its definition is wrong must not seem to be right.
        right(runs)?;
        return match (args.stale, args.check) {
            (true, _) => {
                let old = |run: &&Run| run.capture.is_none() || !run.stale.is_empty();
                Ok(runs.iter().filter(checked).filter(old).collect())
            }
            (_, true) => Ok(runs.iter().filter(checked).collect()),
            _ => bail!("name the runs to make, or say --stale, --check or --list"),
        };
    }
    let mut chosen = vec![];
    for id in &args.ids {
        let run = runs.get(id).or_else(|error| right(runs).and(Err(error)))?;
        ensure!(
            !args.check || checked(&run),
            "`{id}` is a recorded run; only checked ones are compared"
        );
        chosen.push(run);
    }
    Ok(chosen)
}

/// The files from outside, all of them there and each of use.
fn with(args: &CaptureArgs, chosen: &[&Run]) -> Result<With> {
    let mut with = With::new();
    for given in &args.with {
        let (name, path) = given
            .split_once('=')
            .ok_or_else(|| anyhow!("--with {given}: expected NAME=PATH"))?;
        ensure!(
            chosen.iter().any(|run| run.definition.external.iter().any(|n| n == name)),
            "--with {given}: none of these runs takes a file named `{name}`"
        );
        ensure!(Path::new(path).is_file(), "--with {given}: there is no such file");
        with.insert(name.to_string(), path.into());
    }
    for run in chosen {
        for name in &run.definition.external {
            ensure!(
                with.contains_key(name),
                "run `{}` needs a file from outside: say where by --with {name}=PATH",
                run.id
            );
        }
    }
    Ok(with)
}

fn keep(root: &Path, run: &Run, with: &With, to: Option<&Path>) -> Result<()> {
    let capture = make(root, run, with)?;
    let path = match to {
        None => path(root, &run.id),
        Some(folder) => folder.join(format!("{}.json", run.id)),
    };
    capture.write(&path)?;
    eprintln!("{}: {:.1} s, in {}", run.id, capture.seconds, path.display());
    if let Some(old) = &run.capture {
        for difference in differences(&run.definition, old, &capture.metrics) {
            eprintln!("{}: {difference}", run.id);
        }
    }
    Ok(())
}

fn check(root: &Path, run: &Run, with: &With) -> Result<()> {
    let captured = run.captured()?;
    let again = run.how_to_capture();
    let now = make(root, run, with).with_context(|| {
        format!(
            "what was captured on {} cannot be made again (if that is meant: {again})",
            captured.date
        )
    })?;
    let mut differences = differences(&run.definition, captured, &now.metrics);
    if captured.exit != now.exit {
        let (old, new) = (captured.exit, now.exit);
        differences.push(format!("its exit status was {old}, is {new}"));
    }
    ensure!(
        differences.is_empty(),
        "{}\n  if the change is meant: {again}",
        differences.join("\n  ")
    );
    eprintln!("{}: {:.1} s, as captured", run.id, now.seconds);
    Ok(())
}
