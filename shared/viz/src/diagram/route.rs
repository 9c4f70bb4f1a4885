//! The way of an arrow.

use super::parts::{Arrow, Side};
use crate::canvas::number;

type Point = (f64, f64);

/// How far the corners of an elbow are rounded, in units of the drawing.
const CORNER: f64 = 6.0;

/// The corners an arrow passes, both ends included, in units of the grid.
pub(super) fn route(arrow: &Arrow) -> Vec<Point> {
    let (start, end) = (arrow.from.place(), arrow.to.place());
    let Some(reach) = arrow.elbow else {
        return vec![start, end];
    };
    let is_sideways = |side| matches!(side, Side::Left | Side::Right);
    let (out, back) = (arrow.from.side, arrow.to.side);
    let between = match (is_sideways(out), is_sideways(back)) {
        (true, true) => {
            let x = turn(start.0, end.0, out, back, reach);
            vec![(x, start.1), (x, end.1)]
        }
        (false, false) => {
            let y = turn(start.1, end.1, out, back, reach);
            vec![(start.0, y), (end.0, y)]
        }
        (true, false) => vec![(end.0, start.1)],
        (false, true) => vec![(start.0, end.1)],
    };
    let mut points = vec![start];
    points.extend(between);
    points.push(end);
    points.dedup_by(|a, b| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9);
    straightened(points)
}

/// Where an elbow turns between two sides that face along one axis: half way between
/// sides that face each other, beyond both if they face the same way.
fn turn(start: f64, end: f64, out: Side, back: Side, reach: f64) -> f64 {
    let ahead = out.out().0 + out.out().1;
    if out != back {
        return (start + end) / 2.0;
    }
    if ahead > 0.0 { start.max(end) + reach } else { start.min(end) - reach }
}

/// Without the points between two others on one line along the grid.
fn straightened(points: Vec<Point>) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    for point in points {
        if let [.., a, b] = kept[..] {
            let flat = |p: f64, q: f64, r: f64| (p - q).abs() + (q - r).abs() < 1e-9;
            if flat(a.0, b.0, point.0) || flat(a.1, b.1, point.1) {
                kept.pop();
            }
        }
        kept.push(point);
    }
    kept
}

/// The point at `distance` from `from` on the way to `to`.
pub(super) fn towards(from: Point, to: Point, distance: f64) -> Point {
    let length = (to.0 - from.0).hypot(to.1 - from.1);
    if length == 0.0 {
        return from;
    }
    let part = distance / length;
    (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part)
}

/// The path through `points` with rounded corners.
pub(super) fn rounded(points: &[Point]) -> String {
    let at = |p: Point| format!("{} {}", number(p.0), number(p.1));
    let mut path = String::new();
    for (i, point) in points.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| points[i]);
        match (before, points.get(i + 1)) {
            (None, _) => path.push_str(&format!("M{}", at(*point))),
            (Some(_), None) => path.push_str(&format!("L{}", at(*point))),
            (Some(before), Some(after)) => {
                let half = |p: Point| (p.0 - point.0).hypot(p.1 - point.1) / 2.0;
                let radius = CORNER.min(half(before)).min(half(*after));
                let (into, out) =
                    (towards(*point, before, radius), towards(*point, *after, radius));
                path.push_str(&format!("L{}Q{} {}", at(into), at(*point), at(out)));
            }
        }
    }
    path
}

/// The longest straight part.
pub(super) fn longest(points: &[Point]) -> (Point, Point) {
    let length = |a: Point, b: Point| (a.0 - b.0).hypot(a.1 - b.1);
    points
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .max_by(|p, q| length(p.0, p.1).total_cmp(&length(q.0, q.1)))
        .unwrap_or(((0.0, 0.0), (0.0, 0.0)))
}

#[cfg(test)]
mod tests {
    use super::super::parts::Spot;
    use super::*;

    const A: Spot = Spot { x: 0.0, y: 0.0, width: 4.0, height: 2.0 };
    const B: Spot = Spot { x: 8.0, y: 4.0, width: 4.0, height: 2.0 };

    #[test]
    fn an_elbow_leaves_and_meets_at_right_angles() {
        let way = route(&A.right().to(B.left()).elbow());
        assert_eq!(way, [(4.0, 1.0), (6.0, 1.0), (6.0, 5.0), (8.0, 5.0)]);
        let way = route(&A.right().to(B.top()).elbow());
        assert_eq!(way, [(4.0, 1.0), (10.0, 1.0), (10.0, 4.0)]);
        let way = route(&A.bottom().to(B.left()).elbow());
        assert_eq!(way, [(2.0, 2.0), (2.0, 5.0), (8.0, 5.0)]);
    }

    #[test]
    fn between_same_sides_it_goes_around_beyond_both() {
        let way = route(&A.right().to(B.right()).around(1.5));
        assert_eq!(way, [(4.0, 1.0), (13.5, 1.0), (13.5, 5.0), (12.0, 5.0)]);
        let way = route(&B.left().to(A.left()).around(0.5));
        assert_eq!(way, [(8.0, 5.0), (-0.5, 5.0), (-0.5, 1.0), (0.0, 1.0)]);
    }

    #[test]
    fn an_elbow_between_aligned_sides_is_straight() {
        let below = Spot { y: 5.0, ..A };
        let way = route(&A.bottom().to(below.top()).elbow());
        assert_eq!(way, [(2.0, 2.0), (2.0, 5.0)]);
    }
}
