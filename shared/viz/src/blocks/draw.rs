//! The drawing of matrices.

use super::{Blocks, Cut, Item, Line, Matrix};
use crate::canvas::{Anchor, Area, Canvas, Style, TEXT};
use crate::text::{ASCENT, DESCENT, LEADING, SIZE, wrap};
use crate::{Error, text_width};

/// The least height of a matrix or part, and the least width.
const LEAST: f64 = 20.0;
/// Around the name in a part.
const PADDING: f64 = 12.0;
/// Between neighbours, on both sides of an operator.
const GAP: f64 = 11.0;
/// Between a dimension's label and its side.
const BESIDE: f64 = 6.0;
const OPERATOR: f64 = 18.0;
/// Between the parts of a matrix.
const APART: f64 = 3.0;

const MIDDLE: Style = Style { anchor: Anchor::Middle, ..TEXT };

/// A matrix at some scale, in units of the drawing.
struct Shape {
    width: f64,
    height: f64,
    /// Lengths of its parts along the cut.
    parts: Vec<f64>,
    /// Left of it, for the label of its rows.
    left: f64,
    /// How far what stands above and below it reaches beyond it, on either side.
    over: f64,
}

impl Shape {
    fn of(matrix: &Matrix, scale: f64) -> Shape {
        let text = |text: &str, bold| text_width(text, SIZE, bold) + PADDING;
        let (mut width, mut height) = (matrix.columns * scale, matrix.rows * scale);
        let mut parts = Vec::new();
        let mut widest = text(&matrix.column_label, false) - PADDING;
        match &matrix.cut {
            None => width = width.max(text(&matrix.name, true)),
            Some(Cut { by_rows: true, parts: named }) => {
                parts = named.iter().map(|part| (part.1 * scale).max(LEAST)).collect();
                height = parts.iter().sum();
                let names = named.iter().map(|part| text(&part.0, false));
                width = names.fold(width, f64::max);
            }
            Some(Cut { parts: named, .. }) => {
                let long = |part: &(String, f64, _)| {
                    (part.1 * scale).max(text(&part.0, false)).max(LEAST)
                };
                parts = named.iter().map(long).collect();
                width = parts.iter().sum();
            }
        }
        if matrix.cut.is_some() {
            widest = widest.max(text(&matrix.name, true) - PADDING);
        }
        let (width, height) = (width.max(LEAST), height.max(LEAST));
        let left = match matrix.row_label.as_str() {
            "" => 0.0,
            label => text_width(label, SIZE, false) + BESIDE,
        };
        Shape { width, height, parts, left, over: ((widest - width) / 2.0).max(0.0) }
    }

    fn span(&self) -> f64 {
        self.left.max(self.over) + self.width + self.over
    }
}

pub(super) fn draw(blocks: &Blocks, mut canvas: Canvas) -> Result<String, Error> {
    let width = blocks.frame.width - 2.0;
    let scale = scale(blocks, width)?;
    for (i, line) in blocks.lines.iter().enumerate() {
        let gap = if i == 0 { 6.0 } else { 16.0 };
        canvas.extend(canvas.bottom() + gap);
        for words in wrap(&line.heading, SIZE, true, width) {
            let baseline = canvas.bottom() + SIZE;
            canvas.text(
                0.0,
                baseline,
                &words,
                Style { bold: true, faint: true, ..TEXT },
            );
            canvas.extend(canvas.bottom() + 5.0);
        }
        draw_line(line, scale, 1.0 + (width - span(line, scale)) / 2.0, &mut canvas);
    }
    canvas.finish(&blocks.frame, &blocks.summary())
}

/// The largest scale at which every line is narrow enough, and every matrix low enough.
fn scale(blocks: &Blocks, width: f64) -> Result<f64, Error> {
    let matrices = || blocks.lines.iter().flat_map(matrices);
    let highest = matrices().map(|matrix| matrix.rows).fold(0.0, f64::max);
    let mut most = blocks.height / highest;
    let narrow =
        |scale: f64| blocks.lines.iter().all(|line| span(line, scale) <= width);
    if narrow(most) {
        return Ok(most);
    }
    if let Some(line) = blocks.lines.iter().find(|line| span(line, 0.0) > width) {
        return blocks.frame.error(format!(
            "the line {}needs a width of {:.0} for its labels; it has {width:.0}: \
             shorten them, break the line, or give the figure more width",
            if line.heading.is_empty() { "" } else { "with a heading " },
            span(line, 0.0)
        ));
    }
    let mut least = 0.0;
    for _ in 0..50 {
        let middle = (least + most) / 2.0;
        if narrow(middle) { least = middle } else { most = middle }
    }
    Ok(least)
}

fn matrices(line: &Line) -> impl Iterator<Item = &Matrix> {
    line.items.iter().filter_map(|item| match item {
        Item::Matrix(matrix) => Some(matrix),
        Item::Operator(_) => None,
    })
}

fn item_span(item: &Item, scale: f64) -> f64 {
    match item {
        Item::Matrix(matrix) => Shape::of(matrix, scale).span(),
        Item::Operator(sign) => text_width(sign, OPERATOR, false),
    }
}

fn span(line: &Line, scale: f64) -> f64 {
    let items: f64 = line.items.iter().map(|item| item_span(item, scale)).sum();
    items + GAP * (line.items.len() as f64 - 1.0)
}

fn draw_line(line: &Line, scale: f64, mut x: f64, canvas: &mut Canvas) {
    let above = matrices(line).any(|matrix| !matrix.column_label.is_empty());
    let top = canvas.bottom() + if above { LEADING + 3.0 } else { 2.0 };
    let high = matrices(line).map(|matrix| Shape::of(matrix, scale).height);
    let middle = top + high.fold(0.0, f64::max) / 2.0;
    for item in &line.items {
        let span = item_span(item, scale);
        match item {
            Item::Operator(sign) => {
                let baseline = middle + (ASCENT - DESCENT) * OPERATOR / 2.0;
                canvas.sized_text(x + span / 2.0, baseline, sign, OPERATOR, MIDDLE);
            }
            Item::Matrix(matrix) => {
                let shape = Shape::of(matrix, scale);
                draw_matrix(matrix, &shape, x, middle, canvas);
            }
        }
        x += span + GAP;
    }
}

fn draw_matrix(
    matrix: &Matrix,
    shape: &Shape,
    x: f64,
    middle: f64,
    canvas: &mut Canvas,
) {
    let left = x + shape.left.max(shape.over);
    let area = Area::of(left, middle - shape.height / 2.0, shape.width, shape.height);
    let centre = left + shape.width / 2.0;
    let faint = Style { faint: true, ..MIDDLE };
    canvas.text(centre, area.top - BESIDE, &matrix.column_label, faint);
    let end = Style { anchor: Anchor::End, ..faint };
    canvas.lines(left - BESIDE, middle, &[&matrix.row_label], end);
    let name = Style { bold: true, ..MIDDLE };
    let Some(cut) = &matrix.cut else {
        canvas.surface(area, 2.0, matrix.colour);
        canvas.lines(centre, middle, &[&matrix.name], name);
        return;
    };
    let (mut start, last) = (0.0, cut.parts.len() - 1);
    for (i, (words, _, colour)) in cut.parts.iter().enumerate() {
        let length = shape.parts[i];
        // Parts stand apart, and end where the whole would.
        let from = start + if i == 0 { 0.0 } else { APART / 2.0 };
        let long = start + length - from - if i == last { 0.0 } else { APART / 2.0 };
        let part = if cut.by_rows {
            Area::of(left, area.top + from, shape.width, long)
        } else {
            Area::of(left + from, area.top, long, shape.height)
        };
        canvas.surface(part, 2.0, Some(*colour));
        let (x, y) = ((part.left + part.right) / 2.0, (part.top + part.bottom) / 2.0);
        canvas.lines(x, y, &[words], MIDDLE);
        start += length;
    }
    canvas.text(centre, area.bottom + LEADING, &matrix.name, name);
}
