//! Line charts: ticks, scales, labels, errors.

use viz::{Axis, Colour, Format, LineChart, Series};

use crate::checks::{check, words};
use crate::xml::Element;
use crate::{message, says};

fn chart(x: Axis, y: Axis) -> LineChart {
    LineChart::new("fig", "A chart", x, y)
}

fn linear() -> LineChart {
    chart(Axis::linear("x"), Axis::linear("y"))
}

/// The labels of a one-line chart: ticks only, from the top down and left to right.
fn ticks(chart: LineChart, points: &[(f64, f64)]) -> String {
    let svg = chart.hide_title().series(Series::new("", points.iter().copied())).svg();
    let elements = check(&svg.unwrap());
    let all = words(&elements);
    all.iter()
        .filter(|w| !["x", "y"].contains(w))
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn ticks_are_at_round_values_and_hold_the_data() {
    assert_eq!(
        ticks(linear(), &[(0.0, 1.3), (97.0, 4.1)]),
        "0 10 20 30 40 50 60 70 80 90 1 2 3 4 5"
    );
    assert_eq!(
        ticks(linear(), &[(0.0, -0.13), (3.0, 0.41)]),
        "0.0 0.5 1.0 1.5 2.0 2.5 3.0 −0.2 0.0 0.2 0.4 0.6"
    );
}

#[test]
fn large_values_have_suffixes_and_small_ones_exponents() {
    let points = [(0.0, 0.0), (2e6, 4.5e-5)];
    assert_eq!(
        ticks(linear(), &points),
        "0 500k 1M 1.5M 2M 0 1e−5 2e−5 3e−5 4e−5 5e−5"
    );
    let y = Axis::linear("y").format(Format::Bytes);
    assert_eq!(
        ticks(chart(Axis::linear("x"), y), &[(0.0, 1.2e6), (1.0, 2.1e6)]),
        "0.0 0.2 0.4 0.6 0.8 1.0 1.2 MB 1.4 MB 1.6 MB 1.8 MB 2 MB 2.2 MB"
    );
}

#[test]
fn a_logarithmic_axis_has_powers_of_ten() {
    let y = Axis::log("y");
    let points = [(0.0, 3e-5), (1.0, 4e3)];
    let all = ticks(chart(Axis::linear("x"), y), &points);
    assert!(all.ends_with("1e−5 1e−3 0.1 10 1000"), "{all}");
    let few = [(1.0, 0.0), (100.0, 1.0)];
    let all = ticks(chart(Axis::log("x"), Axis::linear("y")), &few);
    assert!(all.starts_with("1 2 5 10 20 50 100 "), "{all}");
}

#[test]
fn equal_ratios_are_equal_distances_on_a_logarithmic_axis() {
    let chart = chart(Axis::log("x").ticks([1.0, 8.0]), Axis::linear("y"));
    let points = [(1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (8.0, 1.0)];
    let svg = chart.series(Series::new("", points).markers()).svg().unwrap();
    let x: Vec<f64> = circles(&check(&svg)).iter().map(|c| c.number("cx")).collect();
    let steps: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).take(3).collect();
    assert!(
        steps.iter().all(|s| (s - steps[0]).abs() < 0.02 && *s > 10.0),
        "{steps:?}"
    );
}

fn circles(elements: &[Element]) -> Vec<&Element> {
    elements.iter().filter(|e| e.name == "circle").collect()
}

#[test]
fn larger_values_are_higher_and_further_right() {
    let points = [(1.0, 1.0), (2.0, 3.0)];
    let svg = linear().series(Series::new("", points).markers()).svg().unwrap();
    let elements = check(&svg);
    let dots = circles(&elements);
    assert!(dots[1].number("cx") > dots[0].number("cx") + 100.0);
    assert!(dots[1].number("cy") < dots[0].number("cy") - 50.0);
}

#[test]
fn explicit_ticks_are_the_ticks() {
    let x = Axis::log("x").ticks([1.0, 2.0, 4.0, 8.0]);
    let all = ticks(chart(x, Axis::linear("y")), &[(1.0, 0.0), (8.0, 1.0)]);
    assert!(all.starts_with("1 2 4 8 0.0"), "{all}");
}

#[test]
fn zero_is_shown_if_asked() {
    let points = [(0.0, 96.0), (1.0, 99.0)];
    assert!(!ticks(linear(), &points).ends_with("0 20 40 60 80 100"));
    let y = Axis::linear("y").from_zero();
    let all = ticks(chart(Axis::linear("x"), y), &points);
    assert!(all.ends_with("0 20 40 60 80 100"), "{all}");
}

#[test]
fn one_point_and_equal_values_are_drawn() {
    for points in [vec![(5.0, 5.0)], vec![(0.0, 0.0)], vec![(1.0, -3.0), (2.0, -3.0)]] {
        let series = Series::new("s", points).markers();
        check(&linear().series(series).svg().unwrap());
    }
    let logs = chart(Axis::log("x"), Axis::log("y"));
    check(&logs.series(Series::new("s", [(7.0, 7.0)])).svg().unwrap());
}

#[test]
fn labels_at_one_place_are_pushed_apart_and_the_plot_grows_for_them() {
    let mut all = linear().height(60.0);
    for i in 0..12 {
        let name = format!("series {i} with a name that takes two lines");
        all = all.series(Series::new(&name, [(0.0, f64::from(i)), (1.0, 5.0)]));
    }
    let elements = check(&all.reference(5.0, "a limit").svg().unwrap());
    let named = words(&elements).iter().filter(|w| w.starts_with("series ")).count();
    assert_eq!(named, 12);
}

#[test]
fn colours_differ_until_they_are_spent_then_lines_are_dashed() {
    let mut all = linear();
    for i in 0..8 {
        let series = Series::new(&format!("s{i}"), [(0.0, 0.0), (1.0, f64::from(i))]);
        all = all.series(if i == 2 { series.colour(Colour::Blue) } else { series });
    }
    let svg = all.svg().unwrap();
    let wide = |e: &&Element| e.get("stroke-width") == Some("2");
    let elements = check(&svg);
    let looks: Vec<_> = elements
        .iter()
        .filter(wide)
        .map(|e| (e.get("style").unwrap(), e.get("stroke-dasharray").is_some()))
        .collect();
    assert_eq!(looks.len(), 8);
    assert!((1..8).all(|i| !looks[..i].contains(&looks[i])), "{looks:?}");
    assert!(
        looks[2].0.contains("--viz-1") && !looks[2].1 && !looks[0].0.contains("viz-1")
    );
}

#[test]
fn thousands_of_points_are_thinned_out() {
    let points = (0..100_000).map(|i| (f64::from(i), f64::from(i % 97)));
    let svg = linear().series(Series::new("s", points)).svg().unwrap();
    assert!(svg.len() < 40_000, "{} bytes", svg.len());
    check(&svg);
}

#[test]
fn a_range_cuts_lines_off() {
    let y = Axis::linear("y").range(0.0, 1.0);
    let series = Series::new("s", [(0.0, 1e9), (1.0, 0.5), (2.0, -1e9)]);
    let svg = chart(Axis::linear("x"), y).series(series).svg().unwrap();
    let elements = check(&svg);
    assert!(elements.iter().any(|e| e.get("clip-path") == Some("url(#viz-fig-clip)")));
}

#[test]
fn what_cannot_be_drawn_is_an_error_that_names_it() {
    let one =
        |y: f64| linear().series(Series::new("mine", [(0.0, 1.0), (1.0, y)])).svg();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        says(&message(one(bad)), &["`fig`", "`mine`", "point 1", "y", "not a number"]);
    }
    says(&message(one(1e200)), &["too large"]);
    for bad in [0.0, -2.0] {
        let log = chart(Axis::linear("x"), Axis::log("y"));
        let log = log.series(Series::new("mine", [(0.0, 1.0), (1.0, bad)]));
        says(
            &message(log.svg()),
            &["`mine`", "point 1", "not positive", "logarithmic"],
        );
        let log = chart(Axis::log("x"), Axis::linear("y"));
        let log = log.series(Series::new("mine", [(bad, 1.0)]));
        says(&message(log.svg()), &["`mine`", "point 0", "x", "not positive"]);
    }
    says(&message(linear().svg()), &["no series"]);
    says(
        &message(linear().series(Series::new("mine", [])).svg()),
        &["`mine`", "no points"],
    );
    let points = || [(0.0, 1.0), (1.0, 2.0)];
    let with = |x: Axis| chart(x, Axis::linear("y")).series(Series::new("s", points()));
    says(&message(with(Axis::log("x").from_zero()).svg()), &["`x`", "no zero"]);
    let range = Axis::linear("x").range(2.0, 1.0);
    says(&message(with(range).svg()), &["`x`", "from 2 to 1", "lower value first"]);
    let range = Axis::linear("x").range(5.0, 9.0);
    says(&message(with(range).svg()), &["`s`", "no point with x from 5 to 9"]);
    says(&message(with(Axis::linear("x").ticks([])).svg()), &["empty list of ticks"]);
    says(&message(with(Axis::linear("x").ticks([f64::NAN])).svg()), &["`x`", "NaN"]);
    let limit = with(Axis::linear("x")).reference(f64::NAN, "limit");
    says(&message(limit.svg()), &["`limit`", "not a number"]);
    says(&message(with(Axis::linear("x")).height(f64::NAN).svg()), &["height"]);
    let many = (0..13).fold(linear(), |c, _| c.series(Series::new("s", points())));
    says(&message(many.svg()), &["13 series", "12 at most"]);
}

/// Charts of all sizes and shapes: none may fail, and all have to be sound.
#[test]
fn six_hundred_random_charts_are_sound() {
    let mut state = 7u64;
    let mut random = || {
        state =
            state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    for round in 0..600 {
        let axis = |label: &str, pick: f64| match (pick * 4.0) as u32 {
            0 => Axis::log(label),
            1 => Axis::linear(label).from_zero(),
            _ => Axis::linear(label),
        };
        let formats = [
            Format::Plain,
            Format::Count,
            Format::Bytes,
            Format::Seconds,
            Format::Percent,
        ];
        let mut value_axis = |label| {
            let format = formats[(random() * 5.0) as usize];
            let ends =
                (10f64.powf(random() * 24.0 - 12.0), 10f64.powf(random() * 6.0 - 3.0));
            (axis(label, random()).format(format), ends)
        };
        let (x, x_ends) = value_axis("a quantity on the x axis");
        let (y, y_ends) = value_axis("the other one, with a long label, in some unit");
        let mut all =
            chart(x, y).width(220.0 + 500.0 * random()).height(60.0 + 300.0 * random());
        for s in 0..1 + (random() * 9.0) as u32 {
            let name = &"some name of a series that is rather long".to_string()
                [..1 + (random() * 40.0) as usize];
            let points: Vec<(f64, f64)> = (0..1 + (random() * 30.0) as u32)
                .map(|_| {
                    let at = |(low, span): (f64, f64), r: f64| low * (1.0 + span * r);
                    (at(x_ends, random()), at(y_ends, random()))
                })
                .collect();
            let series = Series::new(&format!("{name} {s}"), points);
            all = all.series(if random() < 0.5 { series.markers() } else { series });
        }
        if random() < 0.3 {
            all = all.reference(y_ends.0, "a reference");
        }
        let svg = all.svg().unwrap_or_else(|error| panic!("round {round}: {error}"));
        check(&svg);
    }
}
