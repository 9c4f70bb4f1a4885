//! How a run is made: one table of `book/runs/*.toml`.
use super::command::{placeholders, quote, show};
use anyhow::{Context, Result, bail, ensure};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// How a run is kept true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Short and on a CPU: made again by CI, and never allowed to be stale.
    Checked,
    /// Long, or on a machine that CI has not: shown with its date and machine.
    Recorded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    class: Class,
    command: Option<Vec<String>>,
    #[serde(default)]
    commands: Vec<Vec<String>>,
    shown: Option<Shown>,
    packages: Option<Vec<String>>,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    external: Vec<String>,
    #[serde(default)]
    sweep: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    exit: i32,
    #[serde(default = "exactly")]
    tolerance: f64,
    #[serde(default)]
    metrics: BTreeMap<String, RawMetric>,
}

fn exactly() -> f64 {
    0.0
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shown {
    One(String),
    Each(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetric {
    pattern: Option<String>,
    log: Option<String>,
    at: Option<toml::Value>,
    json: Option<String>,
    of: Option<usize>,
    tolerance: Option<f64>,
    #[serde(default = "yes")]
    compare: bool,
}

fn yes() -> bool {
    true
}

/// A run as it is defined.
#[derive(Debug)]
pub struct Definition {
    /// How it is kept true.
    pub class: Class,
    /// The programs that it starts, one after the other.
    pub commands: Vec<Vec<String>>,
    /// The same as one would type them.
    pub shown: Vec<String>,
    /// A placeholder and the values for which all commands are repeated.
    pub sweep: Option<(String, Vec<String>)>,
    /// The packages that it depends on.
    pub packages: Vec<String>,
    /// Further files, folders and patterns that it depends on.
    pub files: Vec<String>,
    /// Names of files that are not in the workspace.
    pub external: Vec<String>,
    /// The exit status that the last command is to end with.
    pub exit: i32,
    /// What is measured.
    pub metrics: BTreeMap<String, Rule>,
}

/// Where a metric comes from and how it is compared.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands.
    pub source: Source,
    /// Which command's output or file, the first being 0; of the only one if none.
    pub of: Option<usize>,
    /// The largest difference, relative to the captured value; none: not compared.
    pub tolerance: Option<f64>,
}

/// Where a metric stands.
#[derive(Debug)]
pub enum Source {
    /// In the output: the last match; all of them if there are two groups, x and y.
    Pattern(Regex),
    /// In the records of steps: a field, or a JSON pointer into a record.
    Log(String, At),
    /// At a JSON pointer in the file that the command writes.
    Json(String),
}

/// Which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Every step's.
    All,
    /// That of one step.
    Step(u64),
    /// That of the last step.
    Last,
    /// The first record of the file, about the whole run.
    Start,
    /// The record with which the file ends.
    End,
}

impl Definition {
    /// Reads one table of a file of definitions.
    ///
    /// # Errors
    /// What is wrong with it, and where in the file, if not at the table's head.
    pub fn read(
        id: &str,
        table: toml::de::ValueDeserializer,
    ) -> Result<Definition, (Option<Range<usize>>, String)> {
        let raw = Raw::deserialize(table)
            .map_err(|error| (error.span(), error.message().to_string()))?;
        Definition::of(id, raw).map_err(|error| (None, format!("{error:#}")))
    }

    fn of(id: &str, raw: Raw) -> Result<Definition> {
        let commands = match (raw.command, raw.commands) {
            (Some(command), commands) if commands.is_empty() => vec![command],
            (None, commands) if !commands.is_empty() => commands,
            _ => bail!("give it either a `command` or a list of `commands`"),
        };
        ensure!(
            commands.iter().all(|command| !command.is_empty()),
            "a command is empty: expected a program and its arguments"
        );
        let shown = match raw.shown {
            None => {
                let show = |command: &Vec<String>| show(id, command, &raw.external);
                commands.iter().map(show).collect()
            }
            Some(Shown::One(shown)) => vec![shown],
            Some(Shown::Each(shown)) => shown,
        };
        ensure!(
            shown.len() == commands.len(),
            "`shown` has {} commands, but {} are run: show each of them",
            shown.len(),
            commands.len()
        );
        ensure!(raw.sweep.len() <= 1, "a `sweep` has one placeholder, not several");
        let sweep = raw.sweep.into_iter().next();
        if let Some((name, values)) = &sweep {
            ensure!(!values.is_empty(), "the sweep of `{name}` has no values");
        }
        let mut metrics = BTreeMap::new();
        for (name, raw_metric) in raw.metrics {
            let rule =
                rule(&name, raw_metric, raw.tolerance, &commands, sweep.is_some());
            metrics.insert(
                name.clone(),
                rule.with_context(|| format!("metric `{name}`"))?,
            );
        }
        let packages = raw.packages.unwrap_or_else(|| packages_of(&commands));
        let definition = Definition {
            class: raw.class,
            commands,
            shown,
            sweep,
            packages,
            files: raw.files,
            external: raw.external,
            exit: raw.exit,
            metrics,
        };
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> Result<()> {
        let mut known = vec!["log", "json", "dir"];
        let swept = self.sweep.iter().map(|(name, _)| name);
        let own: Vec<&String> = swept.chain(&self.external).collect();
        known.extend(own.iter().map(|name| name.as_str()));
        let used: Vec<&str> = self
            .commands
            .iter()
            .flatten()
            .flat_map(|word| placeholders(word))
            .collect();
        for name in &used {
            ensure!(
                known.contains(name),
                "the command has {{{name}}}, which is none of its placeholders: {}",
                known.join(", ")
            );
        }
        for name in own {
            ensure!(
                used.contains(&name.as_str()),
                "`{name}` is not used: write {{{name}}} where the command needs it"
            );
        }
        ensure!(
            !self.packages.is_empty() || !self.files.is_empty(),
            "nothing says what the run depends on: give it `packages` or `files`"
        );
        Ok(())
    }

    /// The definition's own part in what a capture depends on: what is run and what is
    /// measured.
    pub fn hash(&self) -> String {
        let metrics: Vec<String> = self
            .metrics
            .iter()
            .map(|(name, rule)| format!("{name} {:?} {:?}", rule.source, rule.of))
            .collect();
        let all = (&self.commands, &self.shown, &self.sweep, &self.exit, metrics);
        super::inputs::sha256(format!("{all:?} {:?}", self.external).as_bytes())
    }

    /// The command as one would type it; a sweep as a shell's loop.
    pub fn shown_command(&self) -> String {
        let Some((name, values)) = &self.sweep else {
            return self.shown.join("\n");
        };
        let values: Vec<String> = values.iter().map(|value| quote(value)).collect();
        let mut text = format!("for {name} in {}; do\n", values.join(" "));
        for command in &self.shown {
            let command =
                command.replace(&format!("{{{name}}}"), &format!("${{{name}}}"));
            text += &format!("    {command}\n");
        }
        text + "done"
    }
}

fn rule(
    name: &str,
    raw: RawMetric,
    tolerance: f64,
    commands: &[Vec<String>],
    sweep: bool,
) -> Result<Rule> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ensure!(
        name.chars().all(letters) && !name.starts_with(|c: char| c.is_ascii_digit()),
        "a metric's name has letters, digits and _, and begins with none of the digits"
    );
    let tolerance = raw.tolerance.unwrap_or(tolerance);
    ensure!(tolerance >= 0.0, "a tolerance is at least 0, not {tolerance}");
    ensure!(raw.at.is_none() || raw.log.is_some(), "only a `log` has an `at`");
    let source = match (raw.pattern, raw.log, raw.json) {
        (Some(pattern), None, None) => {
            let pattern = RegexBuilder::new(&pattern).multi_line(true).build()?;
            let groups = pattern.captures_len() - 1;
            ensure!(
                groups == 1 || groups == 2 && !sweep,
                "the pattern has {groups} groups in (): expected one around the number{}",
                if sweep { "" } else { ", or two around x and y of a series" }
            );
            Source::Pattern(pattern)
        }
        (None, Some(field), None) => {
            let at = at(raw.at)?;
            ensure!(!sweep || at != At::All, "in a sweep, say `at` which step");
            Source::Log(field, at)
        }
        (None, None, Some(pointer)) => {
            ensure!(pointer.starts_with('/'), "a JSON pointer begins with /");
            Source::Json(pointer)
        }
        _ => bail!("give it one of `pattern`, `log` and `json`"),
    };
    let of = of(raw.of, &source, commands)?;
    Ok(Rule { source, of, tolerance: raw.compare.then_some(tolerance) })
}

fn at(value: Option<toml::Value>) -> Result<At> {
    Ok(match value {
        None => At::All,
        Some(toml::Value::Integer(step)) if step >= 0 => At::Step(step as u64),
        Some(toml::Value::String(name)) if name == "last" => At::Last,
        Some(toml::Value::String(name)) if name == "start" => At::Start,
        Some(toml::Value::String(name)) if name == "end" => At::End,
        Some(other) => bail!(
            "`at` is {other}: expected a step, or \"last\" for the last step, \"start\" \
             or \"end\" for the log's first and last record"
        ),
    })
}

/// Which command a metric belongs to, checked: 1 is the first in the definition.
fn of(
    of: Option<usize>,
    source: &Source,
    commands: &[Vec<String>],
) -> Result<Option<usize>> {
    let file = match source {
        Source::Pattern(_) => None,
        Source::Log(..) => Some("log"),
        Source::Json(_) => Some("json"),
    };
    let writes = |command: &[String]| match file {
        None => true,
        Some(file) => command.iter().any(|word| placeholders(word).any(|n| n == file)),
    };
    let writers: Vec<usize> =
        (0..commands.len()).filter(|&n| writes(&commands[n])).collect();
    match of {
        Some(of) => {
            let index = of.wrapping_sub(1);
            ensure!(
                writers.contains(&index),
                "`of = {of}`: expected one of the commands {}",
                writers
                    .iter()
                    .map(|n| format!(" {}", n + 1))
                    .collect::<String>()
                    .trim()
            );
            Ok(Some(index))
        }
        None if file.is_none() => Ok(None),
        None => match writers[..] {
            [only] => Ok(Some(only)),
            [] => {
                bail!("no command has {{{}}} to write it to", file.unwrap_or_default())
            }
            _ => bail!("several commands write one: say which by `of = 1`, …"),
        },
    }
}

/// What `-p` names in commands of cargo.
fn packages_of(commands: &[Vec<String>]) -> Vec<String> {
    let mut packages = vec![];
    for command in commands.iter().filter(|command| command[0] == "cargo") {
        let own = command.iter().take_while(|word| *word != "--");
        let own: Vec<&String> = own.collect();
        for pair in own.windows(2) {
            if pair[0] == "-p" || pair[0] == "--package" {
                packages.push(pair[1].clone());
            }
        }
    }
    packages
}
