//! Fewer points for the same picture.

/// Keeps of a line's points, already in units of the drawing, those that can be seen:
/// in each column one unit wide the first, the lowest, the highest and the last. A line
/// that turns back in x is left as it is, and so is a short one.
pub(super) fn thin(points: Vec<(f64, f64)>, width: f64) -> Vec<(f64, f64)> {
    let forward = points.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    if !forward || (points.len() as f64) <= 2.0 * width {
        return points;
    }
    let mut kept = Vec::new();
    for column in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_y = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
        let lowest = (0..column.len()).min_by(by_y).unwrap_or(0);
        let highest = (0..column.len()).max_by(by_y).unwrap_or(0);
        let mut seen = [0, lowest, highest, column.len() - 1];
        seen.sort_unstable();
        let mut last = None;
        for index in seen {
            if last != Some(index) {
                kept.push(column[index]);
            }
            last = Some(index);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::thin;

    #[test]
    fn peaks_survive_and_most_points_go() {
        let mut points: Vec<(f64, f64)> =
            (0..10_000).map(|i| (i as f64 / 100.0, 50.0)).collect();
        points[5_037].1 = 3.0;
        points[5_061].1 = 97.0;
        let kept = thin(points.clone(), 100.0);
        assert!(kept.len() <= 400, "{} points are left", kept.len());
        assert!(kept.contains(&points[5_037]) && kept.contains(&points[5_061]));
        assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
    }

    #[test]
    fn a_line_that_turns_back_keeps_all() {
        let points: Vec<(f64, f64)> =
            (0..1000).map(|i| (50.0 + (i as f64).sin(), i as f64)).collect();
        assert_eq!(thin(points.clone(), 100.0), points);
    }
}
