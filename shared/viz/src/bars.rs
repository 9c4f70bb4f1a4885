//! Stacked bars, one below the other.

use crate::frame::{Frame, frame_methods};
use crate::{Colour, Error, Format, legend};

mod draw;

/// Horizontal stacked bars: rows of segments, with a legend and each row's total. Made
/// for what memory is used for.
///
/// ```
/// use viz::{Bars, Colour, Format};
///
/// let figure = Bars::new("ch01-memory", "Memory of one rank")
///     .format(Format::Bytes)
///     .category("optimizer", Colour::Purple) // the same colour in every figure
///     .row("AdamW", [("weights", 4e6), ("gradients", 4e6), ("optimizer", 8e6)])
///     .row("SGD", [("weights", 4e6), ("gradients", 4e6)])
///     .reference(12e6, "the budget");
/// assert!(figure.svg()?.contains("16 MB"));
/// # Ok::<(), viz::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bars {
    frame: Frame,
    format: Format,
    pinned: Vec<(String, Colour)>,
    rows: Vec<Row>,
    reference: Option<(f64, String)>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    segments: Vec<(String, f64)>,
}

impl Row {
    fn total(&self) -> f64 {
        self.segments.iter().map(|segment| segment.1).sum()
    }
}

impl Bars {
    /// A figure without rows. The id becomes part of element ids: letters, digits, `-`
    /// and `_`, a different one for each figure of a page.
    pub fn new(id: &str, title: &str) -> Bars {
        let (pinned, rows) = (Vec::new(), Vec::new());
        let (frame, format) = (Frame::new(id, title), Format::Plain);
        Bars { frame, format, pinned, rows, reference: None }
    }

    frame_methods!();

    /// Sets how values are written.
    pub fn format(mut self, format: Format) -> Bars {
        self.format = format;
        self
    }

    /// Sets a category's colour, and its place: the legend starts with the categories
    /// set, in this order. The others get the colours left, as they appear.
    pub fn category(mut self, name: &str, colour: Colour) -> Bars {
        self.pinned.push((name.to_string(), colour));
        self
    }

    /// Adds a row: its name and its segments, `(category, value)`, from left to right.
    pub fn row<'a>(
        mut self,
        name: &str,
        segments: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Bars {
        let segments = segments
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect();
        self.rows.push(Row { name: name.to_string(), segments });
        self
    }

    /// Adds a dashed vertical line at `value`, for a limit.
    pub fn reference(mut self, value: f64, label: &str) -> Bars {
        self.reference = Some((value, label.to_string()));
        self
    }

    /// The figure, as a standalone SVG document.
    ///
    /// # Errors
    ///
    /// No rows; a value that is negative or not finite; more categories than colours;
    /// text that finds no room.
    pub fn svg(&self) -> Result<String, Error> {
        let canvas = self.frame.canvas()?;
        self.check()?;
        draw::draw(self, &self.categories()?, canvas)
    }

    fn check(&self) -> Result<(), Error> {
        let fail = |problem: String| self.frame.error(problem);
        let objection = |value: f64| match value {
            v if !v.is_finite() => Some("is not a number that can be drawn"),
            v if v < 0.0 => Some("is negative; a bar's length cannot be"),
            v if v > 1e100 => Some("is too large to be drawn"),
            _ => None,
        };
        if self.rows.is_empty() {
            return fail("it has no rows; add one, or leave the figure out".into());
        }
        for Row { name, segments } in &self.rows {
            if segments.is_empty() {
                return fail(format!("the row `{name}` has no segments"));
            }
            for (category, value) in segments {
                if let Some(objection) = objection(*value) {
                    return fail(format!(
                        "the row `{name}`, segment `{category}`: {value} {objection}"
                    ));
                }
            }
        }
        if let Some((value, label)) = &self.reference
            && let Some(objection) = objection(*value)
        {
            return fail(format!("the reference `{label}`: {value} {objection}"));
        }
        Ok(())
    }

    /// The categories that appear, with their colours, in the legend's order.
    fn categories(&self) -> Result<Vec<(String, Colour)>, Error> {
        let segments = self.rows.iter().flat_map(|row| &row.segments);
        let names = segments.map(|segment| segment.0.as_str());
        legend::colours(&self.frame, &self.pinned, names)
    }

    fn summary(&self) -> String {
        let mut words = String::from("Stacked bars.");
        for row in &self.rows {
            let value = |value| self.format.value(value);
            let parts: Vec<String> = row
                .segments
                .iter()
                .map(|(name, amount)| format!("{name} {}", value(*amount)))
                .collect();
            let total = value(row.total());
            let Row { name, .. } = row;
            words.push_str(&format!(" {name}: {total} in all, {}.", parts.join(", ")));
        }
        if let Some((value, label)) = &self.reference {
            let value = self.format.value(*value);
            words.push_str(&format!(" A line at {value} marks {label}."));
        }
        words
    }
}
