//! Lines over two axes.

use crate::frame::{Frame, frame_methods};
use crate::{Axis, Colour, Error};

mod draw;
mod thin;

/// The most series a chart may have: six colours, solid and dashed.
const MOST: usize = 12;
/// The height of the plot, unless it is set.
const HEIGHT: f64 = 220.0;

/// A line chart: named series over two [`Axis`], each named at the end of its line.
///
/// ```
/// use viz::{Axis, LineChart, Series};
///
/// let loss = [(0.0, 4.2), (50.0, 2.1), (100.0, 1.7)];
/// let chart = LineChart::new(
///     "ch01-loss",
///     "Loss on Tiny Shakespeare",
///     Axis::linear("step"),
///     Axis::linear("loss (nats per token)").from_zero(),
/// )
/// .series(Series::new("one rank", loss).markers())
/// .reference(4.17, "uniform: ln 65");
/// assert!(chart.svg()?.starts_with("<svg"));
/// # Ok::<(), viz::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LineChart {
    frame: Frame,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    references: Vec<(f64, String)>,
    height: f64,
}

/// One line of a [`LineChart`].
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    colour: Option<Colour>,
    markers: bool,
}

impl Series {
    /// Points `(x, y)` in the order in which the line joins them. A series with an
    /// empty name has no label.
    ///
    /// There may be many: a line is drawn with no more points than can be seen.
    pub fn new(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
        let points = points.into_iter().collect();
        Series { name: name.to_string(), points, colour: None, markers: false }
    }

    /// Sets its colour; without it a series gets the next one that is free.
    pub fn colour(mut self, colour: Colour) -> Series {
        self.colour = Some(colour);
        self
    }

    /// Marks each point with a dot, for a line of few points.
    pub fn markers(mut self) -> Series {
        self.markers = true;
        self
    }
}

impl LineChart {
    /// A chart without series. The id becomes part of element ids: letters, digits, `-`
    /// and `_`, a different one for each figure of a page.
    pub fn new(id: &str, title: &str, x: Axis, y: Axis) -> LineChart {
        let frame = Frame::new(id, title);
        let (series, references) = (Vec::new(), Vec::new());
        LineChart { frame, x, y, series, references, height: HEIGHT }
    }

    frame_methods!();

    /// Adds a series.
    pub fn series(mut self, series: Series) -> LineChart {
        self.series.push(series);
        self
    }

    /// Adds a dashed horizontal line at `y`, for a limit or an expected value.
    pub fn reference(mut self, y: f64, label: &str) -> LineChart {
        self.references.push((y, label.to_string()));
        self
    }

    /// Sets the height of the plot in units of the viewBox (220 if not said). It grows
    /// if the labels need more.
    pub fn height(mut self, units: f64) -> LineChart {
        self.height = units;
        self
    }

    /// The figure, as a standalone SVG document.
    ///
    /// # Errors
    ///
    /// No series, or one without points; a value that is not finite, or not positive on
    /// a logarithmic axis; a thirteenth series; text that finds no room.
    pub fn svg(&self) -> Result<String, Error> {
        let canvas = self.frame.canvas()?;
        self.check()?;
        draw::draw(self, canvas)
    }

    fn check(&self) -> Result<(), Error> {
        let fail = |problem: String| self.frame.error(problem);
        if let Some(problem) = self.x.problem().or_else(|| self.y.problem()) {
            return fail(problem);
        }
        if !(60.0..=2000.0).contains(&self.height) {
            let height = self.height;
            return fail(format!("a height of {height}; expected 60 to 2000 units"));
        }
        if self.series.is_empty() {
            return fail("it has no series; add one, or leave the figure out".into());
        }
        if self.series.len() > MOST {
            let count = self.series.len();
            return fail(format!(
                "{count} series; {MOST} at most can be told apart: show fewer, or \
                 make two figures"
            ));
        }
        for Series { name, points, .. } in &self.series {
            if points.is_empty() {
                return fail(format!("the series `{name}` has no points"));
            }
            for (i, (x, y)) in points.iter().enumerate() {
                for (axis, which, value) in [(&self.x, "x", x), (&self.y, "y", y)] {
                    if let Some(objection) = axis.objection(*value) {
                        return fail(format!(
                            "the series `{name}`, point {i} counted from 0: its \
                             {which} of {value} {objection}"
                        ));
                    }
                }
            }
            if let Some((low, high)) = self.x.ends
                && !points.iter().any(|(x, _)| (low..=high).contains(x))
            {
                return fail(format!(
                    "the series `{name}` has no point with x from {low} to {high}, the \
                     range of the axis"
                ));
            }
        }
        for (value, label) in &self.references {
            if let Some(objection) = self.y.objection(*value) {
                return fail(format!("the reference `{label}`: {value} {objection}"));
            }
        }
        Ok(())
    }

    /// Each series' colour: its own, or the next that nobody has. From the seventh on
    /// the colours come again, and the lines are dashed.
    fn looks(&self) -> Vec<(Colour, bool)> {
        let taken =
            |colour: &&Colour| self.series.iter().any(|s| s.colour == Some(**colour));
        let (rest, first): (Vec<&Colour>, Vec<&Colour>) =
            Colour::ALL.iter().partition(taken);
        let mut free = first.into_iter().chain(rest).cycle();
        let mut given = Vec::new();
        for series in &self.series {
            let own = series.colour.or_else(|| free.next().copied());
            let colour = own.unwrap_or(Colour::Blue);
            given.push((colour, given.iter().any(|(other, _)| *other == colour)));
        }
        given
    }

    fn summary(&self) -> String {
        let mut words =
            format!("Line chart of {} over {}.", self.y.label, self.x.label);
        for Series { name, points, .. } in &self.series {
            if let (Some(first), Some(last)) = (points.first(), points.last()) {
                let name = if name.is_empty() { "The line" } else { name };
                let y = |value| self.y.format.value(value);
                let x = |value| self.x.format.value(value);
                words.push_str(&format!(
                    " {name}: from {} at {} to {} at {}, {} points.",
                    y(first.1),
                    x(first.0),
                    y(last.1),
                    x(last.0),
                    points.len()
                ));
            }
        }
        for (value, label) in &self.references {
            words.push_str(&format!(
                " A line at {} marks {label}.",
                self.y.format.value(*value)
            ));
        }
        words
    }
}
