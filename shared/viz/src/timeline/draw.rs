//! The drawing of a timeline.

use super::{Line, Span, Timeline, Track};
use crate::canvas::{Anchor, Area, Canvas, Stroke, Style, TEXT};
use crate::text::{LEADING, SIZE, widest, wrap};
use crate::{Axis, Colour, Error, Format, legend, text_width};

/// How high a track of one lane is, and the lanes of one that has several.
const TRACK: f64 = 16.0;
const LANE: f64 = 12.5;
/// The space between lanes, and between tracks.
const GAP: f64 = 1.5;
const APART: f64 = 5.0;
/// The part of the width that the tracks' names may take before they are broken.
const NAME_PART: f64 = 0.22;

pub(super) fn draw(
    timeline: &Timeline,
    categories: &[(String, Colour)],
    end: f64,
    mut canvas: Canvas,
) -> Result<String, Error> {
    let width = timeline.frame.width;
    legend::draw(categories, width, &mut canvas);
    let names: Vec<String> = timeline
        .tracks()
        .flat_map(|track| wrap(&track.name, SIZE, false, width * NAME_PART))
        .collect();
    let left = widest(&names, SIZE, false) + 8.0;
    let axis = Axis::linear("").format(Format::Seconds).from_zero().range(0.0, end);
    // A tick at the very end would reach out of the figure.
    let right = width - 22.0;
    let scale = axis.scale_across(0.0, end, right - left);
    let at = |seconds: f64| left + scale.at(seconds) * (right - left);

    let mut y = canvas.bottom() + 6.0;
    let mut drawn = vec![];
    // Where ticks' lines run: they make way for headings.
    let mut runs = vec![];
    let mut run = y;
    for line in &timeline.lines {
        let Track { name, spans } = match line {
            Line::Heading(words) => {
                runs.push((run, y));
                let style = Style { bold: true, ..TEXT };
                for line in wrap(words, SIZE, true, width) {
                    y += LEADING + 1.0;
                    canvas.text(0.0, y, &line, style);
                }
                y += 9.0;
                run = y - 4.0;
                continue;
            }
            Line::Track(track) => track,
        };
        let lanes = lanes(spans, end / 1000.0);
        let count = lanes.iter().max().map_or(1, |last| last + 1) as f64;
        let name = wrap(name, SIZE, false, width * NAME_PART);
        let lane_high = if count > 1.0 { LANE } else { TRACK };
        let high = (count * (lane_high + GAP)).max(name.len() as f64 * LEADING);
        let style = Style { anchor: Anchor::End, ..TEXT };
        canvas.lines(left - 8.0, y + high / 2.0, &name, style);
        for (span, lane) in spans.iter().zip(lanes) {
            let y = y + lane as f64 * (lane_high + GAP);
            // What is too short to be seen is drawn all the same.
            let wide = (at(span.to) - at(span.from)).max(0.7);
            let gap = if wide > 3.0 { 0.7 } else { 0.0 };
            drawn.push((span, Area::of(at(span.from), y, wide - gap, lane_high)));
        }
        y += high + APART;
    }
    runs.push((run, y));
    runs.retain(|(from, to)| from < to);
    for (value, label) in &scale.ticks {
        let x = at(*value);
        for (from, to) in &runs {
            canvas.line((x, *from), (x, *to), Stroke::faint(0.15));
        }
        let style = Style { anchor: Anchor::Middle, faint: true, ..TEXT };
        canvas.text(x, y + LEADING, label, style);
    }
    for (span, area) in drawn {
        let colour = categories.iter().find(|(name, _)| *name == span.category);
        let colour = colour.map_or(Colour::Neutral, |found| found.1);
        canvas.filled(
            area,
            if area.right - area.left > 6.0 { 2.0 } else { 0.0 },
            colour,
        );
        if text_width(&span.label, SIZE, false) + 4.0 <= area.right - area.left {
            let style = Style { anchor: Anchor::Middle, on: Some(colour), ..TEXT };
            let (x, y) =
                ((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0);
            canvas.lines(x, y, &[&span.label], style);
        }
    }
    canvas.finish(&timeline.frame, &timeline.summary())
}

/// The lane of each span: the first that is free when it begins, or within `slack`.
fn lanes(spans: &[Span], slack: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by(|a, b| spans[*a].from.total_cmp(&spans[*b].from));
    let mut ends: Vec<f64> = vec![];
    let mut lanes = vec![0; spans.len()];
    for i in order {
        let free = ends.iter().position(|end| *end <= spans[i].from + slack);
        let lane = free.unwrap_or_else(|| {
            ends.push(0.0);
            ends.len() - 1
        });
        ends[lane] = ends[lane].max(spans[i].to);
        lanes[i] = lane;
    }
    lanes
}
