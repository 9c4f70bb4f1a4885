//! An axis, and the scale it becomes when it knows its values.

use crate::ticks::{linear, logarithmic};
use crate::{Format, text_width};

/// One axis of a [`LineChart`](crate::LineChart): what it measures and how it is drawn.
#[derive(Clone, Debug)]
pub struct Axis {
    pub(crate) label: String,
    pub(crate) log: bool,
    pub(crate) format: Format,
    pub(crate) ends: Option<(f64, f64)>,
    pub(crate) ticks: Option<Vec<f64>>,
    pub(crate) zero: bool,
}

impl Axis {
    /// An axis on which equal distances are equal differences. The label says what is
    /// measured, and its unit.
    pub fn linear(label: &str) -> Axis {
        Axis {
            label: label.to_string(),
            log: false,
            format: Format::Plain,
            ends: None,
            ticks: None,
            zero: false,
        }
    }

    /// An axis on which equal distances are equal ratios. Its values have to be
    /// positive.
    pub fn log(label: &str) -> Axis {
        Axis { log: true, ..Axis::linear(label) }
    }

    /// Sets how its values are written.
    pub fn format(mut self, format: Format) -> Axis {
        self.format = format;
        self
    }

    /// Shows only the values from `low` to `high`; lines are cut off there. Without it
    /// an axis shows all values.
    pub fn range(mut self, low: f64, high: f64) -> Axis {
        self.ends = Some((low, high));
        self
    }

    /// Shows zero even if no value is near it.
    pub fn from_zero(mut self) -> Axis {
        self.zero = true;
        self
    }

    /// Sets the values that have ticks, for example `[1.0, 2.0, 4.0, 8.0]` ranks.
    pub fn ticks(mut self, ticks: impl IntoIterator<Item = f64>) -> Axis {
        self.ticks = Some(ticks.into_iter().collect());
        self
    }

    /// What is wrong with `value` on this axis, if anything.
    pub(crate) fn objection(&self, value: f64) -> Option<&'static str> {
        match value {
            v if !v.is_finite() => Some("is not a number that can be drawn"),
            v if v.abs() > 1e100 => Some("is too large to be drawn"),
            v if self.log && v <= 0.0 => Some("is not positive, on a logarithmic axis"),
            v if self.log && v < 1e-100 => Some("is too near zero to be drawn"),
            _ => None,
        }
    }

    /// What is wrong with the axis itself.
    pub(crate) fn problem(&self) -> Option<String> {
        let Axis { label, .. } = self;
        if self.log && self.zero {
            return Some(format!("the axis `{label}`: a logarithmic axis has no zero"));
        }
        let ends = self.ends.iter().flat_map(|ends| [ends.0, ends.1]);
        for value in ends.chain(self.ticks.iter().flatten().copied()) {
            if let Some(objection) = self.objection(value) {
                return Some(format!("the axis `{label}`: {value} {objection}"));
            }
        }
        match self.ends {
            Some((low, high)) if low >= high => Some(format!(
                "the axis `{label}`: a range from {low} to {high}; expected the lower \
                 value first"
            )),
            _ if self.ticks.as_ref().is_some_and(Vec::is_empty) => Some(format!(
                "the axis `{label}`: an empty list of ticks; leave it out for ticks at \
                 round values"
            )),
            _ => None,
        }
    }

    /// The scale that shows values from `low` to `high` on `count` ticks or so.
    pub(crate) fn scale(&self, low: f64, high: f64, count: usize, out: bool) -> Scale {
        let zero = if self.zero { 0.0 } else { low };
        let (low, high, out) = match self.ends {
            Some((low, high)) => (low, high, false),
            None => (low.min(zero), high.max(zero), out),
        };
        let places = if self.log { logarithmic } else { linear };
        let (low, high, ticks) = match &self.ticks {
            None => places(low, high, count, out),
            Some(ticks) => {
                let fold = |pick: fn(f64, f64) -> f64, end| match self.ends {
                    Some(_) => end,
                    None => ticks.iter().copied().fold(end, pick),
                };
                let (low, high) = (fold(f64::min, low), fold(f64::max, high));
                let (low, high, _) = places(low, high, count, false);
                let inside = |v: &f64| (low..=high).contains(v);
                (low, high, ticks.iter().copied().filter(inside).collect())
            }
        };
        let labels = self.format.ticks(&ticks, !self.log);
        Scale {
            low,
            high,
            log: self.log,
            ticks: ticks.into_iter().zip(labels).collect(),
        }
    }

    /// The scale with as many ticks as have room for their labels on `width`.
    pub(crate) fn scale_across(&self, low: f64, high: f64, width: f64) -> Scale {
        let most = (width / 44.0).clamp(2.0, 10.0) as usize;
        let fits = |scale: &Scale| {
            let spans: Vec<(f64, f64)> = scale
                .ticks
                .iter()
                .map(|(value, label)| {
                    let half = text_width(label, crate::text::SIZE, false) / 2.0;
                    let x = scale.at(*value) * width;
                    (x - half, x + half)
                })
                .collect();
            spans.windows(2).all(|pair| pair[0].1 + 10.0 <= pair[1].0)
        };
        let scales = (1..=most).rev().map(|count| self.scale(low, high, count, false));
        scales.clone().find(fits).unwrap_or_else(|| self.scale(low, high, 1, false))
    }
}

/// An axis that knows its ends.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub low: f64,
    pub high: f64,
    pub log: bool,
    /// Values and their labels.
    pub ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Where `value` is: 0 at the lower end, 1 at the upper one.
    pub fn at(&self, value: f64) -> f64 {
        let Scale { low, high, log, .. } = *self;
        if log {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        }
    }
}
