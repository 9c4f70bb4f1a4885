//! The drawing of stacked bars.

use super::{Bars, Row};
use crate::canvas::{Anchor, Area, Canvas, Stroke, Style, TEXT};
use crate::colour::BG;
use crate::text::{LEADING, SIZE, widest, wrap};
use crate::{Colour, Error, legend, text_width};

const BAR: f64 = 26.0;
const GAP: f64 = 10.0;
/// The part of the width that the rows' names may take before they are broken.
const NAME_PART: f64 = 0.28;

pub(super) fn draw(
    bars: &Bars,
    categories: &[(String, Colour)],
    mut canvas: Canvas,
) -> Result<String, Error> {
    let width = bars.frame.width;
    legend::draw(categories, width, &mut canvas);
    let names: Vec<Vec<String>> = bars
        .rows
        .iter()
        .map(|row| wrap(&row.name, SIZE, false, width * NAME_PART))
        .collect();
    let named =
        names.iter().map(|lines| widest(lines, SIZE, false)).fold(0.0, f64::max);
    let left = if named > 0.0 { named + 10.0 } else { 1.0 };

    // One scale for all: every bar has to leave room for its total behind it.
    let total = |row: &Row| bars.format.value(row.total());
    let written: Vec<String> = bars.rows.iter().map(total).collect();
    let limit = bars.reference.as_ref().map(|reference| reference.0);
    let scale = scale(bars, &written, width - left, limit);
    let line = limit.map(|value| left + value * scale);

    let mut y = canvas.bottom() + 10.0;
    if let (Some(x), Some((_, label))) = (line, &bars.reference) {
        y = reference_label(x, label, width, y, &mut canvas);
    }
    let top = y;
    // Where the reference line makes way for a total.
    let mut gaps: Vec<(f64, f64)> = Vec::new();
    for ((row, name), total) in bars.rows.iter().zip(&names).zip(&written) {
        let high = BAR.max(name.len() as f64 * LEADING);
        let middle = y + high / 2.0;
        canvas.lines(left - 10.0, middle, name, Style { anchor: Anchor::End, ..TEXT });
        let mut x = left;
        let alone = row.segments.iter().filter(|segment| segment.1 > 0.0).count() == 1;
        for (category, value) in &row.segments {
            let colour = categories.iter().find(|(name, _)| name == category);
            let colour = colour.map_or(Colour::Neutral, |found| found.1);
            let (look, width) = ((colour, alone), value * scale);
            segment(bars, (x, middle), *value, width, look, line, &mut canvas);
            x += width;
        }
        canvas.lines(x + 6.0, middle, &[total], Style { bold: true, ..TEXT });
        let ends = x + 12.0 + text_width(total, SIZE, true);
        if line.is_some_and(|line| x + 1.0 < line && line < ends) {
            gaps.push((middle - 10.0, middle + 10.0));
        }
        y += high + GAP;
    }
    canvas.extend(y - GAP);
    if let Some(x) = line {
        let mut from = top - 2.0;
        for (until, again) in gaps.into_iter().chain([(y - GAP + 4.0, 0.0)]) {
            canvas.line((x, from), (x, until), Stroke::of(BG, 3.2));
            let dashes = Some("5 3");
            let stroke = Stroke { dashes, width: 1.6, ..Stroke::faint(1.0) };
            canvas.line((x, from), (x, until), stroke);
            from = again;
        }
    }
    canvas.finish(&bars.frame, &bars.summary())
}

/// Units of the drawing for each unit of value, the largest at which all totals fit.
fn scale(bars: &Bars, totals: &[String], room: f64, limit: Option<f64>) -> f64 {
    let longest = bars.rows.iter().map(Row::total).fold(limit.unwrap_or(0.0), f64::max);
    if longest == 0.0 {
        return 0.0;
    }
    let fits = |scale: &f64| {
        bars.rows.iter().zip(totals).all(|(row, total)| {
            row.total() * scale + 6.0 + text_width(total, SIZE, true) <= room
        })
    };
    let steps = (1..=200).rev().map(|i| f64::from(i) / 200.0);
    steps.map(|part| (room - 2.0) * part / longest).find(fits).unwrap_or(0.0)
}

/// One segment, with its value if that has room.
fn segment(
    bars: &Bars,
    (x, middle): (f64, f64),
    value: f64,
    width: f64,
    (colour, alone): (Colour, bool),
    line: Option<f64>,
    canvas: &mut Canvas,
) {
    if width <= 0.0 {
        return;
    }
    // A gap between neighbours, unless that would leave nothing of a thin one.
    let gap = if width > 3.0 { 1.0 } else { 0.0 };
    let area = Area::of(x, middle - BAR / 2.0, width - gap, BAR);
    canvas.filled(area, if width > 6.0 { 2.0 } else { 0.0 }, colour);
    if alone {
        return; // the total says it
    }
    let label = bars.format.value(value);
    let long = text_width(&label, SIZE, false);
    let (mut from, mut to) = (area.left, area.right);
    if let Some(line) = line
        && from < line
        && line < to
        && (line - (from + to) / 2.0).abs() < long / 2.0 + 4.0
    {
        // The reference line passes where the label would be: the larger side is left.
        let before = line - from >= to - line;
        (from, to) = if before { (from, line) } else { (line, to) };
    }
    if long + 9.0 <= to - from {
        let style = Style { anchor: Anchor::Middle, on: Some(colour), ..TEXT };
        canvas.lines((from + to) / 2.0, middle, &[label], style);
    }
}

/// The reference's label above its line; answers where the bars may start.
fn reference_label(
    x: f64,
    label: &str,
    width: f64,
    y: f64,
    canvas: &mut Canvas,
) -> f64 {
    let lines = wrap(label, SIZE, false, width * 0.5);
    let half = widest(&lines, SIZE, false) / 2.0;
    let middle = x.clamp(half, (width - half).max(half));
    for (i, line) in lines.iter().enumerate() {
        let baseline = y + SIZE + i as f64 * LEADING;
        let style = Style { anchor: Anchor::Middle, faint: true, ..TEXT };
        canvas.text(middle, baseline, line, style);
    }
    y + lines.len() as f64 * LEADING + 6.0
}
