//! The records of a run and their form in JSON.

use anyhow::{Result, ensure};
use memory::{Account, Family, Use};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One optimizer step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step's number, the first being 1.
    pub step: u64,
    /// Mean loss over the step's target tokens, nats per token.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Norm of the whole gradient before clipping.
    #[serde(deserialize_with = "number_or_null")]
    pub grad_norm: f64,
    /// Learning rate of this step.
    #[serde(deserialize_with = "number_or_null")]
    pub lr: f64,
    /// Target tokens of this step, over all ranks.
    pub tokens: u64,
    /// Wall-clock time of this step, in seconds.
    #[serde(deserialize_with = "number_or_null")]
    pub seconds: f64,
    /// Peak memory so far, in bytes, as the caller measures it.
    pub bytes_peak: u64,
    /// What later chapters add, as fields beside these. None may have the name of
    /// another field.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Last {
    /// The last step made.
    pub steps: u64,
    /// Mean loss on the validation data, nats per token, if it was measured.
    pub val_loss: Option<f64>,
    /// Target tokens trained on.
    pub tokens: u64,
    /// Wall-clock time of the run, in seconds.
    pub seconds: f64,
    /// Each rank's memory account, in the order of ranks.
    pub memory: Vec<Account>,
    /// Whether Ctrl-C ended it early.
    pub interrupted: bool,
}

fn number_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// The field of a record that says which of its nulls are NaN or infinite.
pub const NONFINITE: &str = "nonfinite";

type Nonfinite<'a> = BTreeMap<&'a str, &'static str>;

fn nonfinite<'a>(fields: impl IntoIterator<Item = (&'a str, f64)>) -> Nonfinite<'a> {
    let name = |x: f64| match x {
        x if x.is_finite() => None,
        f64::INFINITY => Some("inf"),
        f64::NEG_INFINITY => Some("-inf"),
        _ => Some("NaN"),
    };
    fields.into_iter().filter_map(|(field, x)| Some((field, name(x)?))).collect()
}

#[derive(Serialize)]
pub struct StepRecord<'a> {
    #[serde(flatten)]
    step: &'a Step,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    nonfinite: Nonfinite<'a>,
}

/// A step as it is written. Refuses an extra field with another field's name.
pub fn step(step: &Step) -> Result<StepRecord<'_>> {
    const FIELDS: [&str; 10] = [
        "run",
        "last",
        "step",
        "loss",
        "grad_norm",
        "lr",
        "tokens",
        "seconds",
        "bytes_peak",
        NONFINITE,
    ];
    if !step.extra.is_empty() {
        let clash = FIELDS.iter().find(|&&field| step.extra.contains_key(field));
        let clash = clash.copied().unwrap_or_default();
        ensure!(
            clash.is_empty(),
            "step {} has an extra field `{clash}`, a name that records use already: \
             give it another",
            step.step
        );
    }
    let floats = [
        ("loss", step.loss),
        ("grad_norm", step.grad_norm),
        ("lr", step.lr),
        ("seconds", step.seconds),
    ];
    Ok(StepRecord { step, nonfinite: nonfinite(floats) })
}

/// A step as it was before it was written: nulls are NaN or infinite again.
pub fn restore(mut step: Step) -> Step {
    if let Some(Value::Object(fields)) = step.extra.remove(NONFINITE) {
        for (field, value) in fields {
            let value = match value.as_str() {
                Some("inf") => f64::INFINITY,
                Some("-inf") => f64::NEG_INFINITY,
                _ => f64::NAN,
            };
            match field.as_str() {
                "loss" => step.loss = value,
                "grad_norm" => step.grad_norm = value,
                "lr" => step.lr = value,
                "seconds" => step.seconds = value,
                _ => {}
            }
        }
    }
    step
}

/// The last record.
pub fn last(last: &Last) -> Value {
    let ranks: Vec<Value> = last.memory.iter().map(account).collect();
    let mut record = json!({
        "last": {
            "steps": last.steps,
            "tokens": last.tokens,
            "seconds": last.seconds,
            "interrupted": last.interrupted,
            "memory": ranks,
            "process_peak": memory::process_peak(),
        },
        "val_loss": last.val_loss,
    });
    let nonfinite = nonfinite(last.val_loss.map(|loss| ("val_loss", loss)));
    if !nonfinite.is_empty() {
        record[NONFINITE] = json!(nonfinite);
    }
    record
}

fn account(account: &Account) -> Value {
    let bytes = |used: Use| json!({"live": used.live, "peak": used.peak});
    let mut all: Map<String, Value> = Family::ALL
        .iter()
        .map(|&family| (family.name().replace(' ', "_"), bytes(account[family])))
        .collect();
    all.insert("total".into(), bytes(account.total));
    Value::Object(all)
}
