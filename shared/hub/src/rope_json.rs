//! The RoPE settings in `config.json`, which has two forms of them.
//!
//! transformers 4 wrote `rope_theta` and `rope_scaling` (null when unscaled, its type
//! under `rope_type` or the older `type`); transformers 5 writes `rope_parameters` with
//! everything in it. Both are read. Where both are given they must agree: the two
//! versions would resolve a disagreement differently.

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::fields::{Fields, short};
use crate::rope::{Rope, Scaling};

/// transformers' `default_theta`.
const DEFAULT_THETA: f64 = 10_000.0;

/// Takes every RoPE field of a config.
pub(crate) fn read(fields: &mut Fields, max_positions: usize) -> Result<Rope> {
    let theta = fields.number("rope_theta")?;
    whole_head_only(fields)?;
    let original = fields.size("original_max_position_embeddings")?;
    let old = fields.object("rope_scaling")?.filter(|object| !object.is_empty());
    let new = fields.object("rope_parameters")?.filter(|object| !object.is_empty());

    let old = old.map(|old| read_object(old, theta, original, max_positions));
    let new = new.map(|new| read_object(new, theta, original, max_positions));
    match (old.transpose()?, new.transpose()?) {
        (Some(old), Some(new)) if old != new => bail!(
            "{}: rope_scaling says {old:?} but rope_parameters says {new:?}; remove \
             the one that is not meant",
            fields.at
        ),
        (Some(rope), _) | (None, Some(rope)) => Ok(rope),
        (None, None) => Ok(Rope::new(theta.unwrap_or(DEFAULT_THETA))),
    }
}

/// `rope_scaling` or `rope_parameters`; `theta` and `original` are from outside of it.
fn read_object(
    mut fields: Fields,
    theta: Option<f64>,
    original: Option<usize>,
    max_positions: usize,
) -> Result<Rope> {
    let inner = fields.number("rope_theta")?;
    agree(&fields, "rope_theta", inner, theta)?;
    let theta = inner.or(theta).unwrap_or(DEFAULT_THETA);
    whole_head_only(&mut fields)?;

    let (new, old) = (fields.text("rope_type")?, fields.text("type")?);
    agree(&fields, "rope_type", new.clone(), old.clone())?;
    let kind = new.or(old).unwrap_or_else(|| "default".to_string());

    let scaling = match kind.as_str() {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: required(&mut fields, &kind, "factor")? },
        "llama3" => Scaling::Llama3 {
            factor: required(&mut fields, &kind, "factor")?,
            low_freq_factor: required(&mut fields, &kind, "low_freq_factor")?,
            high_freq_factor: required(&mut fields, &kind, "high_freq_factor")?,
            // transformers 4 has no default for it, so it is made explicit.
            original_max_position_embeddings: context(&mut fields, original)?
                .or(Some(max_positions)),
        },
        "yarn" => {
            let factor = fields.number("factor")?;
            let context = context(&mut fields, original)?;
            // A null factor means the ratio of the contexts.
            let ratio = context.map(|original| max_positions as f64 / original as f64);
            let Some(factor) = factor.or(ratio) else {
                bail!("{}: rope_type yarn needs factor, which is missing", fields.at)
            };
            let beta = |beta: Option<f64>, default| {
                beta.filter(|&b| b != 0.0).unwrap_or(default)
            };
            // Absent means true, but transformers takes a null for false.
            let truncate = !fields.is_null("truncate");
            Scaling::Yarn {
                factor,
                original_max_position_embeddings: context,
                beta_fast: beta(fields.number("beta_fast")?, 32.0),
                beta_slow: beta(fields.number("beta_slow")?, 1.0),
                attention_factor: fields.number("attention_factor")?,
                mscale: fields.number("mscale")?,
                mscale_all_dim: fields.number("mscale_all_dim")?,
                truncate: fields.flag("truncate")?.unwrap_or(truncate),
            }
        }
        other => bail!(
            "{}: rope_type is {other:?}; default, linear, llama3 and yarn are \
             supported",
            fields.at
        ),
    };
    fields.take("finetuned"); // a note of YaRN's first models, read by nobody
    let at = fields.at.clone();
    if let Some((name, value)) = fields.rest().next() {
        bail!(
            "{at}: {name} is {}, which rope_type {kind} does not take; remove it, or \
             correct the type",
            short(&value)
        );
    }
    Ok(Rope { theta, scaling })
}

/// The original context, inside or outside of the object.
fn context(fields: &mut Fields, outer: Option<usize>) -> Result<Option<usize>> {
    let inner = fields.size("original_max_position_embeddings")?;
    agree(fields, "original_max_position_embeddings", inner, outer)?;
    Ok(inner.or(outer))
}

fn required(fields: &mut Fields, kind: &str, name: &str) -> Result<f64> {
    match fields.number(name)? {
        Some(value) => Ok(value),
        None => bail!("{}: rope_type {kind} needs {name}, which is missing", fields.at),
    }
}

/// Two places for one setting must not contradict each other.
fn agree<T: PartialEq + std::fmt::Debug>(
    fields: &Fields,
    name: &str,
    inner: Option<T>,
    outer: Option<T>,
) -> Result<()> {
    if let (Some(inner), Some(outer)) = (inner, outer) {
        ensure!(
            inner == outer,
            "{}: {name} is given twice, as {inner:?} and as {outer:?}; remove the one \
             that is not meant",
            fields.at
        );
    }
    Ok(())
}

fn whole_head_only(fields: &mut Fields) -> Result<()> {
    match fields.number("partial_rotary_factor")? {
        Some(part) if part != 1.0 => bail!(
            "{}: partial_rotary_factor is {part}; only 1, rotating the whole head, is \
             supported",
            fields.at
        ),
        _ => Ok(()),
    }
}

/// Writes both forms; each version of transformers reads its own.
pub(crate) fn write(rope: &Rope, config: &mut Map<String, Value>) {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| settings.insert(name.to_string(), value);
    match &rope.scaling {
        Scaling::None => {
            set("rope_type", json!("default"));
        }
        Scaling::Linear { factor } => {
            set("rope_type", json!("linear"));
            set("factor", json!(factor));
        }
        Scaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            set("rope_type", json!("llama3"));
            set("factor", json!(factor));
            set("low_freq_factor", json!(low_freq_factor));
            set("high_freq_factor", json!(high_freq_factor));
            if let Some(original) = original_max_position_embeddings {
                set("original_max_position_embeddings", json!(original));
            }
        }
        Scaling::Yarn {
            factor,
            original_max_position_embeddings,
            beta_fast,
            beta_slow,
            attention_factor,
            mscale,
            mscale_all_dim,
            truncate,
        } => {
            set("rope_type", json!("yarn"));
            set("factor", json!(factor));
            set("beta_fast", json!(beta_fast));
            set("beta_slow", json!(beta_slow));
            set("truncate", json!(truncate));
            if let Some(original) = original_max_position_embeddings {
                set("original_max_position_embeddings", json!(original));
            }
            let optional = [
                ("attention_factor", attention_factor),
                ("mscale", mscale),
                ("mscale_all_dim", mscale_all_dim),
            ];
            for (name, value) in optional {
                if let Some(value) = value {
                    set(name, json!(value));
                }
            }
        }
    }
    let unscaled = rope.scaling == Scaling::None;
    let old = if unscaled { Value::Null } else { Value::Object(settings.clone()) };
    settings.insert("rope_theta".to_string(), json!(rope.theta));
    config.insert("rope_theta".to_string(), json!(rope.theta));
    config.insert("rope_scaling".to_string(), old);
    config.insert("rope_parameters".to_string(), Value::Object(settings));
}
