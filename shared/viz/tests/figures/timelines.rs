//! Timelines: places in time, lanes, errors.

use viz::{Colour, Timeline};

use crate::checks::{check, words};
use crate::xml::Element;
use crate::{message, says};

/// The spans' own rectangles: those of their height.
fn spans(elements: &[Element]) -> Vec<&Element> {
    let high = |e: &&Element| {
        e.name == "rect" && matches!(e.get("height"), Some("16" | "12.5"))
    };
    elements.iter().filter(high).collect()
}

#[test]
fn spans_lie_where_their_time_is() {
    let svg = Timeline::new("fig", "Time")
        .category("b", Colour::Red)
        .track("x", [(0.0, 0.1, "a", ""), (0.3, 0.5, "b", "")])
        .track("y", [(0.4, 1.0, "a", "here")])
        .svg();
    let elements = check(&svg.unwrap());
    let found = spans(&elements);
    let ends = |i: usize| {
        let from: f64 = found[i].number("x");
        (from, from + found[i].number("width") + 0.7)
    };
    let (left, right) = (ends(0).0, ends(2).1);
    for (i, (from, to)) in [(0.0, 0.1), (0.3, 0.5), (0.4, 1.0)].into_iter().enumerate()
    {
        let at = |time: f64| left + time * (right - left);
        assert!((ends(i).0 - at(from)).abs() < 0.05, "{i}");
        assert!((ends(i).1 - at(to)).abs() < 0.05, "{i}");
    }
    assert_eq!(found[0].get("style"), found[2].get("style"));
    assert!(found[1].get("style").unwrap().contains("--viz-6,"));
    assert!(found[0].number("y") == found[1].number("y"));
    assert!(found[2].number("y") > found[0].number("y"));
    let all = words(&elements);
    for text in ["x", "y", "a", "b", "here", "400 ms"] {
        assert!(all.contains(&text), "`{text}` in {all:?}");
    }
}

#[test]
fn what_overlaps_lies_in_lanes_and_labels_need_room() {
    let svg = Timeline::new("fig", "Time")
        .heading("rank 0")
        .track("x", [(0.0, 2.0, "", "1"), (1.0, 3.0, "", "2"), (2.0, 9.0, "", "3")])
        .track("y", [(0.0, 0.001, "", "none")])
        .svg();
    let elements = check(&svg.unwrap());
    let y: Vec<f64> = spans(&elements).iter().map(|span| span.number("y")).collect();
    assert!(y[1] > y[0] && y[2] == y[0] && y[3] > y[1]);
    let all = words(&elements);
    assert!(all.contains(&"rank 0") && all.contains(&"2"));
    assert!(!all.contains(&"none"));
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let fig = || Timeline::new("fig", "Time");
    says(&message(fig().heading("empty").svg()), &["`fig`", "no spans"]);
    for (from, to) in [(2.0, 1.0), (-1.0, 1.0), (0.0, f64::NAN)] {
        let svg = fig().track("x", [(from, to, "a", "")]).svg();
        says(&message(svg), &["the track `x`", "the earlier first"]);
    }
}
