//! Takes metrics from what a run left, and compares them with earlier ones.
use super::capture::{Capture, Metric, number};
use super::definition::Definition;
use super::rule::{At, Source, Take};
use anyhow::{Context, Result, anyhow, bail, ensure};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the commands of one point of a run left.
pub struct Made {
    /// The output of each command.
    pub outputs: Vec<Vec<String>>,
    /// The folder of the files they wrote.
    pub folder: PathBuf,
}

impl Made {
    /// Where the command of an index writes its `log` or `json`.
    pub fn file(folder: &Path, kind: &str, index: usize) -> PathBuf {
        folder.join(format!("{kind}{index}"))
    }
}

/// All metrics of a run.
///
/// # Errors
/// Names the first that is not there.
pub fn measure(
    definition: &Definition,
    points: &[Made],
) -> Result<BTreeMap<String, Metric>> {
    let mut metrics = BTreeMap::new();
    for (name, rule) in &definition.metrics {
        let cannot = || format!("metric `{name}`");
        let one = |made| take(&rule.source, rule.of, made).with_context(cannot);
        let metric = match &definition.sweep {
            None => one(&points[0])?,
            Some((_, values)) => {
                // Values that are no numbers are counted.
                let numbers: Option<Vec<f64>> =
                    values.iter().map(|value| number(value).ok()).collect();
                let counted = || (1..=values.len()).map(|n| n as f64).collect();
                let mut series = vec![];
                for (x, made) in numbers.unwrap_or_else(counted).into_iter().zip(points)
                {
                    match one(made)? {
                        Metric::Number { value, .. } => series.push((x, value)),
                        Metric::Series(_) => bail!("metric `{name}` is a series"),
                    }
                }
                Metric::Series(series)
            }
        };
        metrics.insert(name.clone(), metric);
    }
    Ok(metrics)
}

fn take(source: &Source, of: Option<usize>, made: &Made) -> Result<Metric> {
    let read = |kind: &str| {
        let path = Made::file(&made.folder, kind, of.unwrap_or(0));
        let text = fs::read_to_string(path);
        text.with_context(|| format!("the command has not written its {{{kind}}}"))
    };
    match source {
        Source::Pattern(pattern, which) => {
            let lines = match of {
                Some(index) => made.outputs[index].join("\n"),
                None => made.outputs.concat().join("\n"),
            };
            in_output(pattern, *which, &lines)
        }
        Source::Log(field, at) => in_log(field, *at, &read("log")?),
        Source::Json(pointer) => {
            let value: Value =
                serde_json::from_str(&read("json")?).context("{json} is not JSON")?;
            let found = value.pointer(pointer);
            metric(found.ok_or_else(|| anyhow!("{{json}} has nothing at `{pointer}`"))?)
        }
    }
}

fn in_output(pattern: &Regex, which: Take, output: &str) -> Result<Metric> {
    let group = |found: &regex::Captures, group: usize| {
        let text = found.get(group).map(|group| group.as_str().to_string());
        text.with_context(|| format!("group {group} of `{pattern}` matches nothing"))
    };
    let found: Vec<regex::Captures> = pattern.captures_iter(output).collect();
    ensure!(!found.is_empty(), "nothing in the output matches `{pattern}`");
    if pattern.captures_len() == 2 {
        let mut numbers = vec![];
        for one in &found {
            numbers.push(Metric::number(&group(one, 1)?)?);
        }
        let value = |metric: &Metric| match metric {
            Metric::Number { value, .. } => *value,
            Metric::Series(_) => f64::NAN,
        };
        let by = |a: &Metric, b: &Metric| value(a).total_cmp(&value(b));
        let chosen = match which {
            Take::Last => numbers.into_iter().next_back(),
            Take::Max => numbers.into_iter().max_by(by),
            Take::Min => numbers.into_iter().min_by(by),
        };
        return chosen.context("nothing in the output matches");
    }
    let mut series = vec![];
    for one in &found {
        series.push((number(&group(one, 1)?)?, number(&group(one, 2)?)?));
    }
    Ok(Metric::Series(series))
}

/// The field, or what a JSON pointer finds, of records as `runlog` writes them.
fn in_log(field: &str, at: At, log: &str) -> Result<Metric> {
    let mut records = vec![];
    for line in log.lines() {
        records.push(serde_json::from_str(line).context("a line of {log} is no JSON")?);
    }
    let step = |record: &Value| record.get("step").and_then(Value::as_u64);
    let steps: Vec<(u64, &Value)> =
        records.iter().filter_map(|record| Some((step(record)?, record))).collect();
    let of = |record: &Value| {
        let found = match field.starts_with('/') {
            true => record.pointer(field),
            false => record.get(field),
        };
        let found = found.filter(|value| !value.is_null());
        metric(
            found.ok_or_else(|| anyhow!("the log's record has no number `{field}`"))?,
        )
    };
    let found = match at {
        At::Start => records.first(),
        At::End => records.last(),
        At::Last => steps.last().map(|(_, record)| *record),
        At::Step(wanted) => {
            let mut steps = steps.iter();
            steps.find(|(step, _)| *step == wanted).map(|(_, record)| *record)
        }
        At::All => {
            ensure!(!steps.is_empty(), "the log has no steps");
            let mut series = vec![];
            for (step, record) in steps {
                match of(record).with_context(|| format!("step {step}"))? {
                    Metric::Number { value, .. } => series.push((step as f64, value)),
                    Metric::Series(_) => bail!("`{field}` is not one number"),
                }
            }
            return Ok(Metric::Series(series));
        }
    };
    of(found.context("the log has no such record")?)
}

fn metric(value: &Value) -> Result<Metric> {
    match value {
        Value::Number(number) => Metric::number(&number.to_string()),
        Value::Array(values) => {
            let mut series = vec![];
            for (index, value) in values.iter().enumerate() {
                let value =
                    value.as_f64().context("an array holds more than numbers")?;
                series.push(((index + 1) as f64, value));
            }
            Ok(Metric::Series(series))
        }
        other => bail!("{other} is not a number"),
    }
}

/// How far the metrics of a second run are from those captured: a sentence for each
/// that is beyond its tolerance, or missing.
pub fn differences(
    definition: &Definition,
    captured: &Capture,
    now: &BTreeMap<String, Metric>,
) -> Vec<String> {
    let mut found = vec![];
    for (name, rule) in &definition.metrics {
        let Some(tolerance) = rule.tolerance else { continue };
        let beyond = |at: String, old: f64, new: f64| {
            (!within(old, new, tolerance)).then(|| {
                format!(
                    "metric `{name}`{at} was {old}, is {new}: beyond its relative \
                     tolerance of {tolerance}"
                )
            })
        };
        match (captured.metrics.get(name), now.get(name)) {
            (
                Some(Metric::Number { value: old, .. }),
                Some(Metric::Number { value: new, .. }),
            ) => found.extend(beyond(String::new(), *old, *new)),
            (Some(Metric::Series(old)), Some(Metric::Series(new)))
                if old.iter().map(|p| p.0).eq(new.iter().map(|p| p.0)) =>
            {
                let points = old.iter().zip(new);
                let mut all = points
                    .filter_map(|((x, a), (_, b))| beyond(format!(" at {x}"), *a, *b));
                if let Some(first) = all.next() {
                    let more = match all.count() {
                        0 => String::new(),
                        more => format!(", and {more} more of its points"),
                    };
                    found.push(first + &more);
                }
            }
            (Some(Metric::Series(old)), Some(Metric::Series(new))) => {
                let (old, new) = (old.len(), new.len());
                found.push(format!(
                    "metric `{name}` had {old} points, has {new}, or at other places"
                ));
            }
            (None, _) => found.push(format!("metric `{name}` is not in the capture")),
            _ => {
                found.push(format!("metric `{name}` is of another kind than captured"))
            }
        }
    }
    found
}

fn within(old: f64, new: f64, tolerance: f64) -> bool {
    (new - old).abs() <= tolerance * old.abs()
}
