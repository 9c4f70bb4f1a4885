//! Labels that would lie over one another, pushed apart.

/// A run of labels that touch.
struct Run {
    /// Sum over its labels of the top the run would have if that label had its wish.
    wishes: f64,
    labels: usize,
    height: f64,
    top: f64,
}

/// Where the centres of labels go so that none overlap, between `top` and `bottom`.
/// `wanted` gives each one's centre and height. All keep the order of their wishes, and
/// are moved as little as possible (least sum of squares, by merging neighbours).
pub(crate) fn spread(wanted: &[(f64, f64)], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].0.total_cmp(&wanted[*b].0));
    let place = |run: &mut Run| {
        let free = run.wishes / run.labels as f64;
        run.top = free.min(bottom - run.height).max(top);
    };

    let mut runs: Vec<Run> = Vec::new();
    for index in &order {
        let (centre, height) = wanted[*index];
        let wishes = centre - height / 2.0;
        let mut run = Run { wishes, labels: 1, height, top: 0.0 };
        place(&mut run);
        while let Some(above) = runs.pop_if(|above| above.top + above.height > run.top)
        {
            // Its labels come lower by the height of the run above.
            run.wishes += above.wishes - above.height * run.labels as f64;
            run.labels += above.labels;
            run.height += above.height;
            place(&mut run);
        }
        runs.push(run);
    }

    let mut centres = vec![0.0; wanted.len()];
    let mut rest = order.into_iter();
    for run in runs {
        let mut y = run.top;
        for index in rest.by_ref().take(run.labels) {
            centres[index] = y + wanted[index].1 / 2.0;
            y += wanted[index].1;
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn labels_with_room_stay_where_they_are() {
        assert_eq!(spread(&[(50.0, 10.0), (20.0, 10.0)], 0.0, 100.0), [50.0, 20.0]);
    }

    #[test]
    fn two_at_one_place_move_apart_by_the_same() {
        assert_eq!(spread(&[(50.0, 10.0), (50.0, 10.0)], 0.0, 100.0), [45.0, 55.0]);
    }

    #[test]
    fn pushing_one_pushes_the_next() {
        let wanted = [(30.0, 10.0), (31.0, 10.0), (45.0, 10.0)];
        // Mean wish of the run's top: (25 + (26 - 10) + (40 - 20)) / 3.
        let top = (25.0 + 16.0 + 20.0) / 3.0;
        let expected = [top + 5.0, top + 15.0, top + 25.0];
        for (got, want) in spread(&wanted, 0.0, 100.0).iter().zip(expected) {
            assert!((got - want).abs() < 1e-9, "{got} is not {want}");
        }
    }

    #[test]
    fn none_leaves_at_either_end_nor_overlaps() {
        let wanted: Vec<(f64, f64)> =
            (0..9).map(|i| (if i < 4 { 1.0 } else { 99.0 - i as f64 }, 10.0)).collect();
        let mut centres = spread(&wanted, 0.0, 100.0);
        centres.sort_by(f64::total_cmp);
        assert!(centres[0] >= 5.0 && centres[8] <= 95.0, "{centres:?}");
        assert!(centres.windows(2).all(|p| p[1] - p[0] >= 10.0 - 1e-9), "{centres:?}");
    }
}
