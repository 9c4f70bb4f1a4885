//! A JSON object whose fields are taken one by one, so that what is left at the end is
//! what nobody understood.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};

/// The largest size a field may state: beyond any model, small enough for products.
const MAX_SIZE: u64 = i32::MAX as u64;

/// The fields of an object that have not been taken yet.
pub(crate) struct Fields {
    /// The file and, within it, the object: for messages.
    pub at: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Parses a whole file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let at = path.display().to_string();
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self { at, map }),
            Ok(_) => bail!("{at}: a JSON object is expected, starting with {{"),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                bail!("{at}, line {line} column {column}: not sound JSON: {what}")
            }
        }
    }

    /// Takes a field; absent and null are the same.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there and null.
    pub fn is_null(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Value::is_null)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether a field is there, if only as null.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A size: a whole number from 0 to 2³¹ − 1.
    pub fn size(&mut self, name: &str) -> Result<Option<usize>> {
        self.typed(name, "a whole number from 0 to 2147483647", |value| {
            let size = value.as_u64().filter(|&size| size <= MAX_SIZE)?;
            Some(size as usize)
        })
    }

    /// A finite number.
    pub fn number(&mut self, name: &str) -> Result<Option<f64>> {
        self.typed(name, "a number", |value| value.as_f64().filter(|v| v.is_finite()))
    }

    /// true or false.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        self.typed(name, "a text", |value| Some(value.as_str()?.to_owned()))
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        self.typed(name, "a list of texts", |value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| Some(text.as_str()?.to_owned())).collect()
        })
    }

    /// Token ids: one or a list. A negative one means none, as in early Llama configs.
    pub fn token_ids(&mut self, name: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| match value.as_i64()? {
            id @ 0..=0xffff_ffff => Some(Some(id as u32)),
            i64::MIN..0 => Some(None),
            _ => None,
        };
        let ids =
            self.typed(name, "a token id or a list of them", |value| match value {
                Value::Array(values) => {
                    values.iter().map(id).collect::<Option<Vec<_>>>()
                }
                value => Some(vec![id(value)?]),
            })?;
        Ok(ids.unwrap_or_default().into_iter().flatten().collect())
    }

    /// A nested object.
    pub fn object(&mut self, name: &str) -> Result<Option<Fields>> {
        let at = format!("{}: {name}", self.at);
        let map =
            self.typed(name, "an object", |value| Some(value.as_object()?.clone()))?;
        Ok(map.map(|map| Fields { at, map }))
    }

    fn typed<T>(
        &mut self,
        name: &str,
        expected: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match convert(&value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(self.wrong(name, &value, &format!("{expected} is expected"))),
        }
    }

    /// The error for a field's value.
    pub fn wrong(&self, name: &str, value: &Value, expected: &str) -> anyhow::Error {
        anyhow!("{}: {name} is {}; {expected}", self.at, short(value))
    }

    /// What has not been taken, nulls aside.
    pub fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.map.into_iter().filter(|(_, value)| !value.is_null())
    }
}

/// A value as JSON, cut where it is long.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
