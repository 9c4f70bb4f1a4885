//! Diagrams: what the checks on the author's coordinates find.

use viz::{Brace, Colour, Diagram, Group, Node, Note, Port, Side};

use crate::checks::{check, words};
use crate::{message, says};

fn diagram() -> Diagram {
    Diagram::new("fig", "A diagram")
}

fn node(x: f64, y: f64, name: &str) -> Node {
    Node::new(x, y, 6.0, 2.0, name)
}

#[test]
fn boxes_arrows_and_labels_are_drawn_and_described() {
    let mut figure = diagram();
    let a = figure
        .node(node(0.0, 0.0, "first").line("one").line("two").colour(Colour::Red));
    let b = figure.node(node(14.0, 5.0, "second").round());
    figure.arrow(a.right().to(b.left()).elbow().label("words"));
    figure.arrow(a.bottom().to(b.bottom()).around(2.0).dashed().both());
    figure.brace(Brace::new(Side::Right, 20.5, 5.0, 7.0, "two\nlines"));
    figure.brace(Brace::new(Side::Top, 4.6, 14.0, 20.0, "above").square());
    figure.note(Note::new(10.0, 10.5, "a note").bold());
    let svg = figure.svg();
    // Three lines of text need more than two units.
    says(&message(svg), &["the box `first`", "6 by 2", "needs", "by 2.5"]);

    let mut figure = diagram();
    let a = Node::new(0.0, 0.0, 6.0, 3.0, "first").line("one").line("two");
    let a = figure.node(a.colour(Colour::Red));
    let b = figure.node(node(14.0, 5.0, "second").round());
    figure.arrow(a.right().to(b.left()).elbow().label("words"));
    figure.arrow(a.bottom().to(b.bottom()).around(2.0).dashed().both());
    figure.brace(Brace::new(Side::Right, 20.5, 5.0, 7.0, "two\nlines"));
    figure.brace(Brace::new(Side::Top, 4.6, 14.0, 20.0, "above").square());
    figure.note(Note::new(10.0, 10.5, "a note").bold());
    let elements = check(&figure.svg().unwrap());
    let all = words(&elements);
    for text in ["first", "one", "two", "second", "words", "lines", "above", "a note"] {
        assert!(all.contains(&text), "`{text}` in {all:?}");
    }
    let desc = elements.iter().find(|e| e.name == "desc").unwrap();
    says(&desc.text, &["first, one, two.", "first to second: words."]);
    // Three heads: one arrow has two.
    let heads =
        elements.iter().filter(|e| e.get("d").is_some_and(|d| d.ends_with('Z')));
    assert_eq!(heads.count(), 3);
}

#[test]
fn text_that_does_not_fit_its_box_is_an_error_with_the_size_it_needs() {
    let mut figure = diagram();
    figure.node(Node::new(0.0, 0.0, 3.0, 2.0, "a long name in a small box"));
    says(&message(figure.svg()), &["`fig`", "a long name", "3 by 2 units", "needs"]);
}

#[test]
fn text_over_text_is_an_error() {
    let mut figure = diagram();
    figure.note(Note::new(5.0, 2.0, "one"));
    figure.note(Note::new(5.5, 2.3, "other"));
    says(&message(figure.svg()), &["`one`", "`other`", "over each other"]);
}

#[test]
fn text_over_a_box_is_an_error() {
    let mut figure = diagram();
    figure.node(Node::new(0.0, 0.0, 8.0, 8.0, "box"));
    figure.note(Note::new(4.0, 7.0, "note"));
    says(&message(figure.svg()), &["`note`", "over the box `box`"]);
}

#[test]
fn text_outside_the_figure_is_an_error() {
    let mut figure = diagram();
    figure.note(Note::new(23.5, 2.0, "leaves on the right"));
    says(
        &message(figure.svg()),
        &["`leaves on the right`", "outside the figure's 0 to 480"],
    );
    let mut figure = diagram().hide_title();
    figure.note(Note::new(5.0, 0.0, "leaves at the top"));
    says(&message(figure.svg()), &["`leaves at the top`", "outside"]);
}

#[test]
fn an_arrow_through_a_box_or_text_is_an_error() {
    let mut figure = diagram();
    let a = figure.node(node(0.0, 0.0, "a"));
    figure.node(node(8.0, 0.0, "between"));
    let c = figure.node(node(16.0, 0.0, "c"));
    let mut around = figure.clone();
    figure.arrow(a.right().to(c.left()).label("x"));
    says(
        &message(figure.svg()),
        &["arrow `x`", "through the box `between`", "go around"],
    );
    around.arrow(a.bottom().to(c.bottom()).around(1.0));
    check(&around.svg().unwrap());

    let mut figure = diagram();
    let a = figure.node(node(0.0, 0.0, "a"));
    let b = figure.node(node(14.0, 0.0, "b"));
    figure.note(Note::new(10.0, 1.0, "words"));
    figure.arrow(a.right().to(b.left()));
    says(&message(figure.svg()), &["runs through the text `words`"]);
    // Out of the wrong side it runs through its own box.
    let mut figure = diagram();
    let a = figure.node(node(0.0, 0.0, "a"));
    let b = figure.node(node(14.0, 0.0, "b"));
    figure.arrow(a.left().to(b.left()));
    says(&message(figure.svg()), &["through the box `a`"]);
}

#[test]
fn text_on_the_outline_of_a_group_is_an_error() {
    let mut figure = diagram();
    figure.group(Group::new(2.0, 2.0, 10.0, 6.0, "group"));
    figure.note(Note::new(12.0, 5.0, "words"));
    says(&message(figure.svg()), &["outline of the group `group`", "`words`"]);
}

#[test]
fn coordinates_outside_the_grid_are_errors() {
    for (x, y) in [(-1.0, 0.0), (0.0, -0.5), (19.0, 0.0), (f64::NAN, 0.0), (0.0, 1e300)]
    {
        let mut figure = diagram();
        figure.node(node(x, y, "box"));
        says(&message(figure.svg()), &["the box `box`", "inside the grid, 0 to 24"]);
    }
    let mut figure = diagram();
    figure.node(Node::new(0.0, 0.0, 0.0, 2.0, "flat"));
    says(&message(figure.svg()), &["`flat`"]);
    let mut figure = diagram();
    let a = figure.node(node(0.0, 0.0, "a"));
    let b = figure.node(node(0.0, 5.0, "b"));
    figure.arrow(a.left().to(b.left()).elbow());
    says(&message(figure.svg()), &["the arrow", "passes (-1, 1)", "outside the grid"]);
    let mut figure = diagram();
    figure.note(Note::new(f64::INFINITY, 0.0, "far"));
    says(&message(figure.svg()), &["`far`", "inf"]);
    let mut figure = diagram();
    figure.note(Note::new(5.0, 5.0, "words"));
    figure.brace(Brace::new(Side::Left, 1.0, 0.0, f64::NAN, "brace"));
    says(&message(figure.svg()), &["`brace`", "NaN"]);
}

#[test]
fn an_empty_diagram_four_lines_and_an_arrow_to_itself_are_errors() {
    says(&message(diagram().svg()), &["neither boxes nor notes"]);
    let mut figure = diagram();
    let lines = Node::new(0.0, 0.0, 9.0, 9.0, "a").line("b").line("c").line("d");
    figure.node(lines);
    says(&message(figure.svg()), &["`a`", "4 lines", "one to three"]);
    let mut figure = diagram();
    let a = figure.node(node(0.0, 0.0, "a"));
    for (from, to) in
        [(a.right(), a.right()), (Port::point(6.0, 1.0, Side::Top), a.right())]
    {
        let mut figure = figure.clone();
        figure.arrow(from.to(to).elbow());
        says(&message(figure.svg()), &["no length"]);
    }
    says(&message(figure.columns(0.0).svg()), &["grid of 0 columns"]);
}
