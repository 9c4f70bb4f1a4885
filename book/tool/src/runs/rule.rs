//! Metrics as they are defined.
use super::command::placeholders;
use anyhow::{Result, bail, ensure};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// A metric as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    pattern: Option<String>,
    #[serde(default)]
    take: Take,
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
    /// In the output: one of the matches; all if there are two groups, x and y.
    Pattern(Regex, Take),
    /// In the records of steps: a field, or a JSON pointer into a record.
    Log(String, At),
    /// At a JSON pointer in the file that the command writes.
    Json(String),
}

/// Which of several matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// The last.
    #[default]
    Last,
    /// That of the largest number.
    Max,
    /// That of the smallest number.
    Min,
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

impl Rule {
    /// Checks a metric. `tolerance` is its run's, for those without one of their own.
    pub fn of(
        name: &str,
        raw: RawRule,
        tolerance: f64,
        commands: &[Vec<String>],
        sweep: bool,
    ) -> Result<Rule> {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ensure!(
            name.chars().all(letters)
                && !name.starts_with(|c: char| c.is_ascii_digit()),
            "a metric's name has letters, digits and _, and does not begin with a digit"
        );
        let tolerance = raw.tolerance.unwrap_or(tolerance);
        ensure!(tolerance >= 0.0, "a tolerance is at least 0, not {tolerance}");
        ensure!(raw.at.is_none() || raw.log.is_some(), "only a `log` has an `at`");
        ensure!(
            raw.take == Take::Last || raw.pattern.is_some(),
            "only of a `pattern` one takes \"max\" or \"min\""
        );
        let source = match (raw.pattern, raw.log, raw.json) {
            (Some(pattern), None, None) => {
                let pattern = RegexBuilder::new(&pattern).multi_line(true).build()?;
                let groups = pattern.captures_len() - 1;
                ensure!(
                    groups == 1 || groups == 2 && !sweep,
                    "the pattern has {groups} groups, expected one of a number{}",
                    if sweep { "" } else { ", or two around x and y of a series" }
                );
                Source::Pattern(pattern, raw.take)
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
        let of = command(raw.of, &source, commands)?;
        Ok(Rule { source, of, tolerance: raw.compare.then_some(tolerance) })
    }
}

fn at(value: Option<toml::Value>) -> Result<At> {
    Ok(match value {
        None => At::All,
        Some(toml::Value::Integer(step)) if step >= 0 => At::Step(step as u64),
        Some(toml::Value::String(name)) if name == "last" => At::Last,
        Some(toml::Value::String(name)) if name == "start" => At::Start,
        Some(toml::Value::String(name)) if name == "end" => At::End,
        Some(other) => bail!(
            "`at` is {other}: expected a step, or \"last\" for the last one, \"start\" \
             or \"end\" for the log's first and last record"
        ),
    })
}

/// Which command a metric belongs to, checked: 1 is the first in the definition.
fn command(
    of: Option<usize>,
    source: &Source,
    commands: &[Vec<String>],
) -> Result<Option<usize>> {
    let file = match source {
        Source::Pattern(..) => None,
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
