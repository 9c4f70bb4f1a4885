//! What all figures share.

use viz::{Axis, Bars, Blocks, Diagram, Format, LineChart, Matrix, Node, Series};

use crate::checks::{check, words};
use crate::{gallery, message, says};

#[test]
fn every_figure_of_the_gallery_is_sound() {
    let figures = gallery::all().unwrap();
    assert!(figures.len() >= 8);
    for (name, svg) in figures {
        println!("{name}");
        check(&svg);
    }
}

#[test]
fn figures_on_one_page_share_no_ids() {
    let svg = |id: &str| {
        let axis = Axis::linear("x").range(0.0, 1.0);
        LineChart::new(id, "t", axis.clone(), axis)
            .series(Series::new("s", [(0.0, 0.0), (1.0, 2.0)]))
            .svg()
            .unwrap()
    };
    let ids = |svg: &str| -> Vec<String> {
        check(svg).iter().filter_map(|e| e.get("id").map(str::to_string)).collect()
    };
    let (a, b) = (ids(&svg("a")), ids(&svg("b")));
    assert_eq!(a.len(), 3, "title, description and clip: {a:?}");
    assert!(a.iter().all(|id| !b.contains(id)));
}

#[test]
fn markup_in_any_text_stays_text() {
    let nasty = "<b a=\"1\">&amp; 'x'";
    let chart = LineChart::new("a", nasty, Axis::linear(nasty), Axis::linear(nasty))
        .series(Series::new(nasty, [(0.0, 0.0), (1.0, 1.0)]))
        .reference(0.5, "ref <&>");
    let bars = Bars::new("b", nasty).row(nasty, [(nasty, 1.0), ("<&>", 2.0)]);
    let mut diagram = Diagram::new("c", nasty);
    diagram.node(Node::new(0.0, 0.0, 12.0, 2.0, nasty).line("<&>"));
    let blocks =
        Blocks::new("d", nasty).operator("<").matrix(Matrix::new(nasty, 9.0, 9.0));
    for svg in [chart.svg(), bars.svg(), diagram.svg(), blocks.svg()] {
        let elements = check(&svg.unwrap());
        let all = words(&elements).concat();
        assert!(all.contains("&amp; 'x'"), "{all}");
        assert!(!elements.iter().any(|e| e.name == "b"));
    }
}

#[test]
fn control_characters_do_not_break_the_document() {
    let bars = Bars::new("b", "a\u{0}b\u{7}\u{ffff}").row("x\u{1b}y", [("c\n", 1.0)]);
    check(&bars.svg().unwrap());
}

#[test]
fn the_title_and_the_description_are_there_for_those_who_do_not_see() {
    let bars = Bars::new("b", "Memory").row("all", [("weights", 2.0), ("rest", 1.0)]);
    let texts = |bars: &Bars| {
        let elements = check(&bars.svg().unwrap());
        let of = |tag: &str| {
            elements.iter().find(|e| e.name == tag).map(|e| e.text.clone()).unwrap()
        };
        (of("title"), of("desc"), words(&elements).contains(&"Memory"))
    };
    let (title, summary, shown) = texts(&bars);
    assert_eq!(title, "Memory");
    says(&summary, &["all: 3 in all", "weights 2", "rest 1"]);
    assert!(shown);
    let told = bars.describe("Two thirds are weights.").hide_title();
    let (title, summary, shown) = texts(&told);
    assert_eq!(
        (title.as_str(), summary.as_str()),
        ("Memory", "Two thirds are weights.")
    );
    assert!(!shown);
}

#[test]
fn a_long_title_takes_several_lines() {
    let title = "A title of very many words ".repeat(6);
    let svg = Bars::new("b", &title).row("r", [("c", 1.0)]).svg().unwrap();
    let elements = check(&svg);
    let bold = elements.iter().filter(|e| e.get("font-size") == Some("14")).count();
    assert!((2..6).contains(&bold), "{bold} lines");
}

#[test]
fn bad_ids_titles_and_widths_are_refused() {
    let row = |bars: Bars| message(bars.row("r", [("c", 1.0)]).svg());
    says(&row(Bars::new("a b", "t")), &["`a b`", "letters, digits"]);
    says(&row(Bars::new("", "t")), &["letters, digits"]);
    says(&row(Bars::new("a", " ")), &["`a`", "title"]);
    for width in [f64::NAN, 0.0, -5.0, 1e9] {
        says(&row(Bars::new("a", "t").width(width)), &["width", "160 to 4000"]);
    }
    let error = Bars::new("fig", "t").svg().unwrap_err();
    assert_eq!(error.figure(), "fig");
}

#[test]
fn the_width_is_that_of_the_view() {
    let svg = |bars: Bars| bars.row("r", [("c", 1.0)]).svg().unwrap();
    assert!(svg(Bars::new("a", "t")).contains("viewBox=\"0 0 480 "));
    assert!(svg(Bars::new("a", "t").width(720.0)).contains("viewBox=\"0 0 720 "));
}

#[test]
fn values_have_three_digits_and_the_right_unit() {
    let cases = [
        (Format::Bytes, 0.0, "0 B"),
        (Format::Bytes, 999.0, "999 B"),
        (Format::Bytes, 999.6, "1 kB"),
        (Format::Bytes, 1e3, "1 kB"),
        (Format::Bytes, 1_234_567.0, "1.23 MB"),
        (Format::Bytes, 12_345_678.0, "12.3 MB"),
        (Format::Bytes, 80e9, "80 GB"),
        (Format::Bytes, 1.5e18, "1500 PB"),
        (Format::Count, 999_499.0, "999k"),
        (Format::Count, 999_500.0, "1M"),
        (Format::Count, -2_500.0, "−2.5k"),
        (Format::Seconds, 0.0015, "1.5 ms"),
        (Format::Seconds, 12e-6, "12 µs"),
        (Format::Seconds, 90.0, "90 s"),
        (Format::Percent, 0.125, "12.5%"),
        (Format::Percent, 0.0004, "0.04%"),
        (Format::Plain, 0.25, "0.25"),
        (Format::Plain, 0.0123, "0.0123"),
        (Format::Plain, 4096.0, "4096"),
        (Format::Plain, 3e-5, "3e−5"),
        (Format::Plain, -1.0, "−1"),
    ];
    for (format, value, text) in cases {
        assert_eq!(format.value(value), text, "{format:?} of {value}");
    }
}
