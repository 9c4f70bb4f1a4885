//! How a run is made: one table of `book/runs/*.toml`.
use super::command::{placeholders, quote, show};
use super::rule::{RawRule, Rule};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// How a run is kept true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Short and on a CPU: can be made again and compared at any time, some by CI,
    /// and is never allowed to be stale.
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
    metrics: BTreeMap<String, RawRule>,
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
        for (name, rule) in raw.metrics {
            let rule = Rule::of(&name, rule, raw.tolerance, &commands, sweep.is_some());
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

    /// Whether a command builds with features that a package does not have by default.
    pub fn has_features(&self) -> bool {
        let all = ["--features", "--all-features", "-F"];
        let words = self.commands.iter().flatten();
        words.into_iter().any(|word| all.iter().any(|flag| word.starts_with(flag)))
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
