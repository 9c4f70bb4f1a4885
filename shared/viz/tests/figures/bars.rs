//! Bars: lengths, totals, legends, errors.

use viz::{Bars, Colour, Format};

use crate::checks::{check, words};
use crate::xml::Element;
use crate::{message, says};

fn bars() -> Bars {
    Bars::new("fig", "Bars").format(Format::Bytes)
}

/// The bars' own rectangles: those of their height.
fn segments(elements: &[Element]) -> Vec<&Element> {
    let high = |e: &&Element| e.name == "rect" && e.get("height") == Some("26");
    elements.iter().filter(high).collect()
}

#[test]
fn lengths_are_in_proportion_and_segments_follow_each_other() {
    let svg = bars().row("a", [("w", 4e6), ("g", 2e6)]).row("b", [("g", 1e6)]).svg();
    let elements = check(&svg.unwrap());
    let parts = segments(&elements);
    let width = |i: usize| parts[i].number("width") + 1.0; // and the gap
    assert!((width(0) / width(1) - 2.0).abs() < 0.01);
    assert!((width(1) / width(2) - 2.0).abs() < 0.01);
    let end = parts[0].number("x") + width(0);
    assert!((end - parts[1].number("x")).abs() < 0.02);
    assert_eq!(
        parts[1].get("style"),
        parts[2].get("style"),
        "one category, one colour"
    );
    assert_ne!(parts[0].get("style"), parts[1].get("style"));
}

#[test]
fn totals_and_values_are_written() {
    let svg =
        bars().row("a", [("w", 4.1e6), ("g", 2e6)]).row("b", [("g", 1.5e3)]).svg();
    let elements = check(&svg.unwrap());
    let all = words(&elements);
    for text in ["w", "g", "a", "4.1 MB", "2 MB", "6.1 MB", "1.5 kB"] {
        assert_eq!(
            all.iter().filter(|w| **w == text).count(),
            1,
            "`{text}` in {all:?}"
        );
    }
}

#[test]
fn a_pinned_category_keeps_its_colour_and_comes_first() {
    let svg = bars()
        .category("optimizer", Colour::Blue)
        .category("absent", Colour::Red)
        .row("a", [("weights", 1.0), ("optimizer", 2.0)])
        .svg();
    let elements = check(&svg.unwrap());
    let parts = segments(&elements);
    assert!(parts[1].get("style").unwrap().contains("--viz-1,"));
    assert!(!parts[0].get("style").unwrap().contains("--viz-1,"));
    let all = words(&elements);
    let place = |text| all.iter().position(|w| *w == text).unwrap();
    assert!(place("optimizer") < place("weights"));
    assert!(!all.contains(&"absent"));
}

#[test]
fn a_reference_is_part_of_the_scale_and_passes_no_text() {
    for limit in
        [1.0, 40.0, 48.0, 52.0, 60.0, 63.0, 66.0, 69.0, 75.0, 100.0, 180.0, 400.0]
    {
        let svg = bars()
            .row("long", [("a", 50e6), ("b", 50e6)])
            .row("short", [("a", 30e6), ("b", 30e6)])
            .reference(limit * 1e6, "the limit")
            .svg();
        let elements = check(&svg.unwrap());
        let lines = elements.iter().filter(|e| e.get("stroke-dasharray").is_some());
        for line in lines {
            let d: Vec<f64> = line.get("d").unwrap()[1..]
                .split(['L', ' '])
                .map(|n| n.parse().unwrap())
                .collect();
            let area = |e: &&Element| {
                let bold = e.get("font-weight").is_some();
                let half = viz::text_width(&e.text, 12.0, bold);
                let (x, y) = (e.number("x"), e.number("y"));
                let (left, right) = match e.get("text-anchor") {
                    Some("middle") => (x - half / 2.0, x + half / 2.0),
                    Some(_) => (x - half, x),
                    None => (x, x + half),
                };
                left < d[0] && d[0] < right && y - 8.0 < d[3] && y > d[1]
            };
            let crossed = elements.iter().filter(|e| e.name == "text").find(area);
            assert!(crossed.is_none(), "limit {limit}: {crossed:?}");
        }
    }
}

#[test]
fn rows_of_nothing_and_thin_segments_are_drawn() {
    check(&bars().row("none", [("a", 0.0)]).svg().unwrap());
    let svg = bars().row("a", [("thin", 1.0), ("thick", 1e9), ("zero", 0.0)]).svg();
    let elements = check(&svg.unwrap());
    let parts = segments(&elements);
    assert_eq!(parts.len(), 2);
    assert!(parts[0].number("width") >= 0.0);
}

#[test]
fn long_names_take_several_lines() {
    let name = "a configuration whose name is very long and has many words";
    let svg = bars().row(name, [("a", 1.0)]).row("b", [("a", 2.0)]).svg().unwrap();
    let elements = check(&svg);
    assert!(!words(&elements).contains(&name));
}

#[test]
fn what_cannot_be_drawn_is_an_error_that_names_it() {
    says(&message(bars().svg()), &["`fig`", "no rows"]);
    says(&message(bars().row("r", []).svg()), &["`r`", "no segments"]);
    for (bad, why) in
        [(f64::NAN, "not a number"), (-1.0, "negative"), (1e200, "too large")]
    {
        let svg = bars().row("r", [("a", 1.0), ("b", bad)]).svg();
        says(&message(svg), &["`fig`", "`r`", "`b`", why]);
    }
    let limit = bars().row("r", [("a", 1.0)]).reference(f64::NAN, "limit");
    says(&message(limit.svg()), &["`limit`"]);
    let names: Vec<String> = (0..8).map(|i| format!("c{i}")).collect();
    let row = |n: usize| names[..n].iter().map(|name| (name.as_str(), 1.0));
    check(&bars().row("r", row(7)).svg().unwrap());
    says(&message(bars().row("r", row(8)).svg()), &["no colour is left", "`c7`"]);
}
