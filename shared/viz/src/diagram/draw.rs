//! The drawing of a diagram.

use super::route::{longest, rounded, route, towards};
use super::{Arrow, Brace, Diagram, Group, Node, Note, Side, Spot, describe};
use crate::canvas::{Anchor, Area, Canvas, Stroke, Style, TEXT, number};
use crate::colour::FG;
use crate::text::{LEADING, SIZE, widest};
use crate::{Colour, Error, text_width};

/// Room for the outline of a box at the figure's edge.
const EDGE: f64 = 1.5;
/// Between a box's text and its outline, at least.
const PADDING: f64 = 3.0;
/// The head of an arrow: length, and half its width.
const HEAD: (f64, f64) = (7.0, 3.6);
/// How far a brace reaches out.
const BRACE: f64 = 12.0;

/// From the grid to the drawing.
#[derive(Clone, Copy)]
struct Grid {
    unit: f64,
    top: f64,
}

impl Grid {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (EDGE + x * self.unit, self.top + y * self.unit)
    }

    fn area(&self, spot: Spot) -> Area {
        let (x, y) = self.at((spot.x, spot.y));
        Area::of(x, y, spot.width * self.unit, spot.height * self.unit)
    }
}

pub(super) fn draw(diagram: &Diagram, mut canvas: Canvas) -> Result<String, Error> {
    let unit = (diagram.frame.width - 2.0 * EDGE) / diagram.columns;
    let top = if canvas.bottom() > 0.0 { canvas.bottom() + 8.0 } else { EDGE };
    let grid = Grid { unit, top };
    for shape in &diagram.groups {
        group(shape, grid, &mut canvas);
    }
    let mut ways = Vec::new();
    for line in &diagram.arrows {
        let points: Vec<(f64, f64)> =
            route(line).into_iter().map(|point| grid.at(point)).collect();
        arrow(line, &points, &mut canvas);
        ways.push((line, points));
    }
    for shape in &diagram.braces {
        brace(shape, grid, &mut canvas);
    }
    for words in &diagram.notes {
        note(words, grid, &mut canvas);
    }
    // What is written so far stands on its own: boxes may not cover it.
    let beside = canvas.texts().len();
    for shape in &diagram.nodes {
        node(diagram, shape, grid, &mut canvas)?;
    }
    check(diagram, &canvas, beside, grid, &ways)?;
    canvas.finish(&diagram.frame, &diagram.summary())
}

fn check(
    diagram: &Diagram,
    canvas: &Canvas,
    beside: usize,
    grid: Grid,
    ways: &[(&Arrow, Vec<(f64, f64)>)],
) -> Result<(), Error> {
    let crossing = |area: &Area| {
        let through = |pair: &[(f64, f64)]| area.is_crossed(pair[0], pair[1]);
        ways.iter().find(|(_, points)| points.windows(2).any(through))
    };
    for Node { spot, lines, .. } in &diagram.nodes {
        let (area, name) = (grid.area(*spot), &lines[0]);

        if let Some((arrow, _)) = crossing(&area.shrunk(1.0)) {
            return diagram.frame.error(format!(
                "{} runs through the box `{name}`; have it leave from another side, or \
                 go around",
                describe(arrow)
            ));
        }
        let covered = |text: &&(String, Area)| area.overlaps(&text.1);
        if let Some((words, _)) = canvas.texts()[..beside].iter().find(covered) {
            return diagram.frame.error(format!(
                "the text `{words}` would lie over the box `{name}`; move one of them"
            ));
        }
    }
    for (words, area) in canvas.texts() {
        let framed = |group: &&Group| grid.area(group.spot).is_outline_on(area);
        if let Some(Group { title, .. }) = diagram.groups.iter().find(framed) {
            return diagram.frame.error(format!(
                "the outline of the group `{title}` runs through the text `{words}`; \
                 move one of them"
            ));
        }
        if let Some((arrow, _)) = crossing(&area.shrunk(1.0)) {
            return diagram.frame.error(format!(
                "{} runs through the text `{words}`; move one of them",
                describe(arrow)
            ));
        }
    }
    Ok(())
}

fn node(
    diagram: &Diagram,
    node: &Node,
    grid: Grid,
    canvas: &mut Canvas,
) -> Result<(), Error> {
    let area = grid.area(node.spot);
    let bold = text_width(&node.lines[0], SIZE, true);
    let wide = bold.max(widest(&node.lines[1..], SIZE, false)) + 2.0 * PADDING;
    let high = node.lines.len() as f64 * LEADING + PADDING;
    let (width, height) = (area.right - area.left, area.bottom - area.top);
    if wide > width || high > height {
        let units = |length: f64| (length / grid.unit * 10.0).ceil() / 10.0;
        return diagram.frame.error(format!(
            "the box `{}` is {} by {} units; its text needs {} by {}",
            node.lines[0],
            node.spot.width,
            node.spot.height,
            units(wide),
            units(high)
        ));
    }
    let radius = if node.round { width.min(height) / 2.0 } else { 5.0 };
    canvas.surface(area, radius, node.colour);
    let middle = ((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0);
    let style = Style { anchor: Anchor::Middle, ..TEXT };
    let rest = &node.lines[1..];
    let shift = rest.len() as f64 * LEADING / 2.0;
    let name = Style { bold: true, ..style };
    canvas.lines(middle.0, middle.1 - shift, &node.lines[..1], name);
    canvas.lines(middle.0, middle.1 + LEADING / 2.0, rest, style);
    Ok(())
}

fn group(group: &Group, grid: Grid, canvas: &mut Canvas) {
    let area = grid.area(group.spot);
    match group.colour {
        Some(colour) => canvas.ground(area, 8.0, colour),
        None => canvas.dashed(area, 8.0),
    }
    let style = Style { bold: true, faint: true, ..TEXT };
    canvas.text(area.left + 9.0, area.top + 17.0, &group.title, style);
}

fn arrow(arrow: &Arrow, points: &[(f64, f64)], canvas: &mut Canvas) {
    let mut line = points.to_vec();
    let colour = arrow.colour.map_or(FG, Colour::css);
    let last = line.len() - 1;
    let lowest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    canvas.extend(lowest + HEAD.1);
    if arrow.heads.1 {
        head(points[last - 1], points[last], colour, canvas);
        line[last] = towards(points[last], points[last - 1], HEAD.0 - 1.0);
    }
    if arrow.heads.0 {
        head(points[1], points[0], colour, canvas);
        line[0] = towards(points[0], points[1], HEAD.0 - 1.0);
    }
    let dashes = arrow.dashed.then_some("5 4");
    canvas.path(&rounded(&line), Stroke { dashes, ..Stroke::of(colour, 1.5) });

    let (from, to) = longest(points);
    let (x, y) = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
    let flat = (from.1 - to.1).abs() < 0.01;
    let (anchor, x, y) = match (flat, arrow.other_side) {
        (true, false) => (Anchor::Middle, x, y - 11.5),
        (true, true) => (Anchor::Middle, x, y + 11.5),
        (false, false) => (Anchor::Start, x + 7.0, y),
        (false, true) => (Anchor::End, x - 7.0, y),
    };
    canvas.lines(x, y, &[&arrow.label], Style { anchor, ..TEXT });
}

fn head(from: (f64, f64), tip: (f64, f64), colour: &str, canvas: &mut Canvas) {
    let back = towards(tip, from, HEAD.0);
    let (dx, dy) = ((tip.0 - back.0) / HEAD.0, (tip.1 - back.1) / HEAD.0);
    let at = |p: (f64, f64)| format!("{} {}", number(p.0), number(p.1));
    let left = (back.0 - dy * HEAD.1, back.1 + dx * HEAD.1);
    let right = (back.0 + dy * HEAD.1, back.1 - dx * HEAD.1);
    canvas.shape(&format!("M{}L{}L{}Z", at(tip), at(left), at(right)), colour);
}

fn note(note: &Note, grid: Grid, canvas: &mut Canvas) {
    let (x, y) = grid.at((note.x, note.y));
    let anchor = match note.side {
        Some(Side::Left) => Anchor::Start,
        Some(Side::Right) => Anchor::End,
        _ => Anchor::Middle,
    };
    let lines: Vec<&str> = note.text.lines().collect();
    canvas.lines(x, y, &lines, Style { anchor, bold: note.bold, ..TEXT });
}

/// Along its length a brace is drawn once, and turned to its side.
fn brace(brace: &Brace, grid: Grid, canvas: &mut Canvas) {
    let (dx, dy) = brace.side.out();
    let upright = dx != 0.0;
    let spot = |along: f64| if upright { (brace.at, along) } else { (along, brace.at) };
    let (from, to) = (grid.at(spot(brace.from)), grid.at(spot(brace.to)));
    let (start, end) = if upright { (from.1, to.1) } else { (from.0, to.0) };
    let (start, end) = (start.min(end), start.max(end));
    // A point by its distance out of the base line and its place along it.
    let at = |out: f64, along: f64| match upright {
        true => (from.0 + dx * out, along),
        false => (along, from.1 + dy * out),
    };
    let p = |out: f64, along: f64| {
        let (x, y) = at(out, along);
        format!("{} {}", number(x), number(y))
    };
    let middle = (start + end) / 2.0;
    let path = if brace.square {
        let out = BRACE / 2.0;
        format!("M{}L{}L{}L{}", p(0.0, start), p(out, start), p(out, end), p(0.0, end))
    } else {
        let half = BRACE / 2.0;
        let bend = half.min((end - start) / 4.0);
        format!(
            "M{}Q{} {}L{}Q{} {}Q{} {}L{}Q{} {}",
            p(0.0, start),
            p(half, start),
            p(half, start + bend),
            p(half, middle - bend),
            p(half, middle),
            p(BRACE, middle),
            p(half, middle),
            p(half, middle + bend),
            p(half, end - bend),
            p(half, end),
            p(0.0, end)
        )
    };
    canvas.path(&path, Stroke::faint(0.75));
    let lowest = at(BRACE, start).1.max(at(0.0, end).1);
    canvas.extend(lowest);

    let lines: Vec<&str> = brace.label.lines().collect();
    let deep = lines.len() as f64 * LEADING / 2.0 + 2.0;
    let (anchor, out) = match brace.side {
        Side::Left => (Anchor::End, BRACE + 5.0),
        Side::Right => (Anchor::Start, BRACE + 5.0),
        Side::Top | Side::Bottom => (Anchor::Middle, BRACE + deep),
    };
    let (x, y) = at(out, middle);
    canvas.lines(x, y, &lines, Style { anchor, ..TEXT });
}
