//! The drawing of a line chart.

use std::fmt::Write;

use super::{LineChart, Series, thin::thin};
use crate::axis::Scale;
use crate::canvas::{Anchor, Area, Canvas, Stroke, Style, TEXT, number};
use crate::colour::FG;
use crate::text::{LEADING, SIZE, widest, wrap};
use crate::{Colour, Error, labels::spread, text_width};

/// From the plot to its labels: the length of a leader, and space around it.
const LEADER: f64 = 14.0;
const GAP: f64 = 5.0;
/// The part of the width that labels may take before they are broken.
const LABEL_PART: f64 = 0.3;

const FAINT: Style = Style { faint: true, ..TEXT };

/// A label beside the plot, and the line it names.
struct Label {
    lines: Vec<String>,
    /// Where its line ends.
    end: (f64, f64),
    /// The line's colour; none for a reference.
    colour: Option<Colour>,
}

/// The plot: where it is, and its two scales.
struct Plot {
    area: Area,
    x: Scale,
    y: Scale,
}

impl Plot {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let Area { left, top, right, bottom } = self.area;
        let across = left + self.x.at(x) * (right - left);
        // Far outside the plot, where it cannot be seen, it does not matter how far.
        let far = 10.0 * (bottom - top);
        let down = bottom - self.y.at(y) * (bottom - top);
        (across.clamp(left - far, right + far), down.clamp(top - far, bottom + far))
    }
}

pub(super) fn draw(chart: &LineChart, mut canvas: Canvas) -> Result<String, Error> {
    for line in wrap(&chart.y.label, SIZE, false, chart.frame.width) {
        let baseline = canvas.bottom() + LEADING;
        canvas.text(0.0, baseline, &line, FAINT);
    }
    let plot = plot(chart, canvas.bottom() + 12.0);
    grid(&plot, &mut canvas);
    x_label(chart, &plot, &mut canvas);

    let looks = chart.looks();
    let lines = |canvas: &mut Canvas| {
        for (value, _) in &chart.references {
            let y = plot.at((plot.x.low, *value)).1;
            let stroke = Stroke { dashes: Some("5 4"), ..Stroke::faint(0.75) };
            canvas.line((plot.area.left, y), (plot.area.right, y), stroke);
        }
        for (series, look) in chart.series.iter().zip(&looks) {
            line(series, *look, &plot, canvas);
        }
    };
    if chart.x.ends.is_some() || chart.y.ends.is_some() {
        let Area { left, top, right, bottom } = plot.area;
        let room =
            Area { left: left - 4.0, top: top - 1.0, right: right + 4.0, bottom };
        canvas.clipped(&chart.frame.id, room, lines);
    } else {
        lines(&mut canvas);
    }
    labels(chart, &looks, &plot, &mut canvas);
    canvas.finish(&chart.frame, &chart.summary())
}

/// A label's lines.
fn broken(chart: &LineChart, name: &str) -> Vec<String> {
    wrap(name, SIZE, false, chart.frame.width * LABEL_PART)
}

/// Lays the plot out: as wide as the labels on both sides leave.
fn plot(chart: &LineChart, top: f64) -> Plot {
    let names = chart.series.iter().map(|series| &series.name);
    let names = names.chain(chart.references.iter().map(|(_, label)| label));
    let broken: Vec<Vec<String>> = names.map(|name| broken(chart, name)).collect();
    let beside =
        broken.iter().map(|lines| widest(lines, SIZE, false)).fold(0.0, f64::max);
    let rows: usize = broken.iter().map(Vec::len).sum();
    let height = chart.height.max(rows as f64 * LEADING + 3.0 * broken.len() as f64);

    let points = || chart.series.iter().flat_map(|series| &series.points);
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let references = chart.references.iter().map(|(value, _)| *value);
    let (low, high) = ends(&mut points().map(|point| point.1).chain(references));
    let y = chart.y.scale(low, high, (height / 44.0).max(2.0) as usize, true);
    let (low, high) = ends(&mut points().map(|point| point.0));

    let tick_labels: Vec<&String> = y.ticks.iter().map(|(_, label)| label).collect();
    let mut left = widest(&tick_labels, SIZE, false) + 8.0;
    let mut right = match beside {
        0.0 => chart.frame.width - 5.0,
        beside => chart.frame.width - beside - LEADER - 2.0 * GAP,
    };
    // The first and the last label of the x axis stand out on both sides.
    let x = chart.x.scale_across(low, high, right - left);
    if let (Some(first), Some(last)) = (x.ticks.first(), x.ticks.last()) {
        let half = |label: &str| text_width(label, SIZE, false) / 2.0;
        let width = right - left;
        left = left.max(half(&first.1) - x.at(first.0) * width);
        let beyond = (1.0 - x.at(last.0)) * width;
        right = right.min(chart.frame.width - half(&last.1) + beyond);
    }
    Plot { area: Area::of(left, top, right - left, height), x, y }
}

fn grid(plot: &Plot, canvas: &mut Canvas) {
    let Area { left, top, right, bottom } = plot.area;
    for (value, label) in &plot.x.ticks {
        let x = plot.at((*value, plot.y.low)).0;
        canvas.line((x, top), (x, bottom), Stroke::faint(0.07));
        canvas.line((x, bottom), (x, bottom + 4.0), Stroke::faint(0.5));
        let style = Style { anchor: Anchor::Middle, ..FAINT };
        canvas.text(x, bottom + 17.0, label, style);
    }
    for (value, label) in &plot.y.ticks {
        let y = plot.at((plot.x.low, *value)).1;
        canvas.line((left, y), (right, y), Stroke::faint(0.13));
        canvas.lines(left - 7.0, y, &[label], Style { anchor: Anchor::End, ..FAINT });
    }
    canvas.line((left, bottom), (right, bottom), Stroke::faint(0.5));
}

fn x_label(chart: &LineChart, plot: &Plot, canvas: &mut Canvas) {
    let Area { left, right, .. } = plot.area;
    let middle = (left + right) / 2.0;
    let room = 2.0 * middle.min(chart.frame.width - middle);
    for line in wrap(&chart.x.label, SIZE, false, room) {
        let style = Style { anchor: Anchor::Middle, ..FAINT };
        let baseline = canvas.bottom() + LEADING;
        canvas.text(middle, baseline, &line, style);
    }
}

fn line(series: &Series, look: (Colour, bool), plot: &Plot, canvas: &mut Canvas) {
    let (colour, again) = look;
    let all: Vec<(f64, f64)> =
        series.points.iter().map(|point| plot.at(*point)).collect();
    let mut path = String::new();
    for (i, (x, y)) in
        thin(all.clone(), plot.area.right - plot.area.left).into_iter().enumerate()
    {
        let letter = if i == 0 { "M" } else { "L" };
        let _ = write!(path, "{letter}{} {}", number(x), number(y));
    }
    let dashes = again.then_some("6 3");
    // Where noise fills every column, a thin line is less of a band.
    let crowded = all.len() as f64 > plot.area.right - plot.area.left;
    let width = if crowded { 1.3 } else { 2.0 };
    canvas.path(&path, Stroke { dashes, ..Stroke::of(colour.css(), width) });
    if series.markers {
        for (x, y) in all {
            canvas.dot(x, y, 3.2, colour.css());
        }
    }
}

/// Names the lines beside the plot, each joined to its line's end.
fn labels(
    chart: &LineChart,
    looks: &[(Colour, bool)],
    plot: &Plot,
    canvas: &mut Canvas,
) {
    let Area { top, right, bottom, .. } = plot.area;
    let mut labels: Vec<Label> = Vec::new();
    for (series, (colour, _)) in chart.series.iter().zip(looks) {
        let seen = |p: &&(f64, f64)| (plot.x.low..=plot.x.high).contains(&p.0);
        let Some(last) = series.points.iter().rev().find(seen) else { continue };
        let end = plot.at(*last);
        if (top - 0.1..=bottom + 0.1).contains(&end.1) {
            canvas.dot(end.0, end.1, 3.2, colour.css());
        }
        let lines = broken(chart, &series.name);
        labels.push(Label { lines, end, colour: Some(*colour) });
    }
    for (value, label) in &chart.references {
        let end = (right, plot.at((plot.x.high, *value)).1);
        labels.push(Label { lines: broken(chart, label), end, colour: None });
    }
    labels.retain(|label| !label.lines.is_empty());

    let wanted: Vec<(f64, f64)> = labels
        .iter()
        .map(|label| (label.end.1, label.lines.len() as f64 * LEADING + 2.0))
        .collect();
    let centres = spread(&wanted, top - 6.0, bottom + 6.0);
    for (label, centre) in labels.iter().zip(centres) {
        let from = (right + GAP, label.end.1.clamp(top, bottom));
        let to = (right + GAP + LEADER, centre);
        let colour = label.colour.map_or(FG, Colour::css);
        let stroke = Stroke { opacity: 0.75, ..Stroke::of(colour, 1.2) };
        if label.end.0 + GAP < right {
            let dotted = Stroke { dashes: Some("1.5 3.5"), ..stroke };
            canvas.line((label.end.0 + GAP, from.1), from, dotted);
        }
        let middle = number((from.0 + to.0) / 2.0);
        let (y0, y1) = (number(from.1), number(to.1));
        let path = format!(
            "M{} {y0}C{middle} {y0} {middle} {y1} {} {y1}",
            number(from.0),
            number(to.0)
        );
        canvas.path(&path, stroke);
        canvas.lines(to.0 + GAP, to.1, &label.lines, TEXT);
    }
}
