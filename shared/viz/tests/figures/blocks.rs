//! Matrices: shapes, parts, errors.

use viz::{Blocks, Colour, Matrix};

use crate::checks::{check, words};
use crate::xml::Element;
use crate::{message, says};

fn blocks() -> Blocks {
    Blocks::new("fig", "Matrices")
}

/// Widths and heights of the outlined rectangles.
fn shapes(elements: &[Element]) -> Vec<(f64, f64)> {
    let outlined = |e: &&Element| e.name == "rect" && e.get("stroke-width").is_some();
    let size = |e: &Element| (e.number("width"), e.number("height"));
    elements.iter().filter(outlined).map(size).collect()
}

#[test]
fn one_scale_serves_all_matrices() {
    let svg = blocks()
        .matrix(Matrix::new("A", 60.0, 30.0))
        .operator("×")
        .matrix(Matrix::new("B", 30.0, 90.0))
        .line("again")
        .matrix(Matrix::new("C", 60.0, 90.0))
        .svg();
    let elements = check(&svg.unwrap());
    let shapes = shapes(&elements);
    let scale = shapes[0].0 / 30.0;
    let expected = [(30.0, 60.0), (90.0, 30.0), (90.0, 60.0)];
    for ((width, height), (columns, rows)) in shapes.iter().zip(expected) {
        assert!((width / columns - scale).abs() < 0.01, "{shapes:?}");
        assert!((height / rows - scale).abs() < 0.01, "{shapes:?}");
    }
    let all = words(&elements);
    assert!(["A", "×", "B", "again", "C"].iter().all(|text| all.contains(text)));
}

#[test]
fn parts_are_in_proportion_along_their_cut() {
    let parts = || [("p", 20.0, Colour::Blue), ("q", 60.0, Colour::Orange)];
    let svg = blocks()
        .matrix(Matrix::new("R", 80.0, 80.0).cut_rows(parts()))
        .operator("+")
        .matrix(Matrix::new("C", 80.0, 80.0).cut_columns(parts()))
        .svg();
    let elements = check(&svg.unwrap());
    // Of each part, a gap is lost on the side of the cut.
    let sizes = shapes(&elements);
    let ratio = |long: f64, short: f64| (long + 1.5) / (short + 1.5);
    assert!((ratio(sizes[1].1, sizes[0].1) - 3.0).abs() < 0.01, "{sizes:?}");
    assert!((ratio(sizes[3].0, sizes[2].0) - 3.0).abs() < 0.01, "{sizes:?}");
    assert!(sizes[0].0 == sizes[1].0 && sizes[2].1 == sizes[3].1, "{sizes:?}");
    let all = words(&elements);
    assert!(["R", "C", "+", "p", "q"].iter().all(|text| all.contains(text)), "{all:?}");
}

#[test]
fn extreme_shapes_keep_room_for_their_labels() {
    let svg = blocks()
        .matrix(Matrix::new("embedding", 50_257.0, 64.0).dimensions("vocab", "hidden"))
        .operator("·")
        .matrix(Matrix::new("x", 1.0, 1.0).dimensions("1", "a long label above"))
        .operator("=")
        .matrix(Matrix::new("rows", 1000.0, 1.0).dimensions("", "one").cut_rows([
            ("a part", 1.0, Colour::Teal),
            ("rest", 999.0, Colour::Neutral),
        ]))
        .svg();
    let elements = check(&svg.unwrap());
    assert!(shapes(&elements).iter().all(|(w, h)| *w >= 18.0 && *h >= 18.0));
}

#[test]
fn what_cannot_be_drawn_is_an_error_that_names_it() {
    says(&message(blocks().svg()), &["`fig`", "no matrix"]);
    says(&message(blocks().operator("=").svg()), &["no matrix"]);
    for (rows, columns) in
        [(0.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)]
    {
        let svg = blocks().matrix(Matrix::new("M", rows, columns)).svg();
        says(&message(svg), &["`fig`", "`M`", "positive"]);
    }
    let part = |size| [("p", size, Colour::Blue), ("q", 4.0, Colour::Red)];
    let cut =
        |size| blocks().matrix(Matrix::new("M", 8.0, 3.0).cut_rows(part(size))).svg();
    check(&cut(4.0).unwrap());
    says(&message(cut(5.0)), &["`M`", "8 rows", "9 together"]);
    says(&message(cut(f64::NAN)), &["`M`", "`p`", "NaN"]);
    let none = blocks().matrix(Matrix::new("M", 8.0, 3.0).cut_columns([])).svg();
    says(&message(none), &["`M`", "3 columns", "0 together"]);
    let wide = (0..12).fold(blocks(), |figure, _| {
        figure.matrix(Matrix::new("a matrix with a long name", 1.0, 1.0))
    });
    says(&message(wide.svg()), &["needs a width of", "it has 478"]);
    let high = blocks().matrix(Matrix::new("M", 1.0, 1.0)).height(f64::NAN);
    says(&message(high.svg()), &["20 to 2000"]);
}

#[test]
fn a_wide_line_fills_the_width_and_no_more() {
    let svg = blocks()
        .matrix(Matrix::new("A", 10.0, 100.0))
        .operator("×")
        .matrix(Matrix::new("B", 10.0, 300.0))
        .svg();
    let elements = check(&svg.unwrap());
    let rects: Vec<&Element> = elements.iter().filter(|e| e.name == "rect").collect();
    let left = rects[0].number("x");
    let right = rects[1].number("x") + rects[1].number("width");
    assert!(left < 2.0 && right > 478.0 && right <= 480.0, "{left} to {right}");
}
