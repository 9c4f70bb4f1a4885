//! The figures of chapter 5.
use super::{number, series};
use crate::book::Sources;
use anyhow::{Context, Result};
use viz::{
    Axis, Blocks, Colour, Diagram, Format, Group, LineChart, Matrix, Node, Port,
    Series, Side,
};

/// Rows of the activations drawn. How many tokens there are decides nothing.
const TOKENS: f64 = 96.0;
/// Of each rank.
const COLOURS: [Colour; 2] = [Colour::Blue, Colour::Orange];

/// A pair of matrices, the first cut by columns and the second by rows: the shapes that
/// two ranks have of the MLP.
pub fn cut(sources: &Sources) -> Result<String> {
    let run = "ch05_slices";
    let hidden = number(sources, run, "hidden")?;
    let channels = number(sources, run, "channels")?;
    let names = ["rank 0", "rank 1"];
    let parts = |metric| -> Result<Vec<(&str, f64, Colour)>> {
        let sizes = series(sources, run, metric)?;
        let ranks = names.into_iter().zip(COLOURS);
        Ok(ranks.zip(sizes).map(|((name, colour), (_, n))| (name, n, colour)).collect())
    };
    let columns = parts("gate_rows")?;
    let rows = parts("down_columns")?;
    let activations = |name: &str| Matrix::new(name, TOKENS, hidden);
    let between =
        || Matrix::new("Y", TOKENS, channels).cut_columns(columns.iter().copied());
    let (x, a) = (activations("X"), Matrix::new("A", hidden, channels));
    let b = Matrix::new("B", channels, hidden);
    let mut figure =
        Blocks::new("ch05-cut", "A pair of matrices: by columns, then by rows")
            .hide_title()
            .height(190.0)
            .describe(
                "Above: X times A, A cut by columns, is Y, cut by columns. Below: Y, \
                 cut by columns, times B, cut by rows, is a term of each rank; the \
                 terms are summed.",
            )
            .line("A by its columns: each rank has some columns of the result")
            .matrix(x.dimensions("tokens", "hidden"))
            .operator("×")
            .matrix(a.dimensions("", "channels").cut_columns(columns.iter().copied()))
            .operator("=")
            .matrix(between().dimensions("", "channels"))
            .line("B by its rows, which these columns meet: each has a term of a sum")
            .matrix(between().dimensions("tokens", "channels"))
            .operator("×")
            .matrix(b.dimensions("", "hidden").cut_rows(rows));
    for (i, colour) in COLOURS.into_iter().enumerate() {
        figure = figure
            .operator(if i == 0 { "=" } else { "+" })
            .matrix(activations(names[i]).colour(colour).dimensions("", "hidden"));
    }
    Ok(figure.svg()?)
}

/// Where the two operators stand around a pair of matrices.
pub fn f_and_g(_: &Sources) -> Result<String> {
    let mut figure = Diagram::new("ch05-f-and-g", "f and g around a pair of matrices")
        .hide_title()
        .describe(
            "The same input goes through f to both ranks. Each multiplies with its \
                 columns of A, applies the nonlinearity, and multiplies with its rows \
                 of B. g sums what they come to.",
        );
    let end = |x: f64, name: &str, line: &str| {
        Node::new(x, 4.5, 4.9, 2.6, name).line(line).colour(Colour::Teal)
    };
    let f = figure.node(end(1.1, "f", "backward: sum"));
    let g = figure.node(end(18.0, "g", "forward: sum"));
    figure.arrow(Port::point(0.0, 5.8, Side::Right).to(f.left()));
    figure.arrow(g.right().to(Port::point(24.0, 5.8, Side::Left)));
    for (rank, y, colour) in [(0, 0.2, COLOURS[0]), (1, 7.4, COLOURS[1])] {
        let title = format!("rank {rank}");
        figure.group(Group::new(6.5, y, 11.0, 4.0, &title));
        let node = |x: f64, name: &str| Node::new(x, y + 1.3, 2.7, 2.0, name);
        let index = ["₀", "₁"][rank];
        let a = figure.node(node(7.0, &format!("A{index}")).colour(colour));
        let between = figure.node(node(10.6, "swiglu"));
        let b = figure.node(node(14.2, &format!("B{index}")).colour(colour));
        figure.arrow(a.right().to(between.left()));
        figure.arrow(between.right().to(b.left()));
        let (from, to) = match rank {
            0 => (f.top(), g.top()),
            _ => (f.bottom(), g.bottom()),
        };
        figure.arrow(from.to(a.left()).elbow());
        figure.arrow(b.right().to(to).elbow());
    }
    Ok(figure.svg()?)
}

/// What forward leaves on a rank for backward.
pub fn saved(sources: &Sources) -> Result<String> {
    let run = "ch05_held";
    let counted = series(sources, run, "saved")?;
    let (_, one) = *counted.first().context("no rank was counted")?;
    let ticks: Vec<f64> = counted.iter().map(|(ranks, _)| *ranks).collect();
    let divided: Vec<_> = ticks.iter().map(|ranks| (*ranks, one / ranks)).collect();
    Ok(LineChart::new(
        "ch05-saved",
        "Saved for backward on each rank",
        Axis::log("tensor-parallel ranks").ticks(ticks),
        Axis::linear("bytes").format(Format::Bytes).from_zero(),
    )
    .series(Series::new("counted", counted).markers())
    .series(Series::new("never cut", series(sources, run, "on_all")?))
    .series(Series::new("if all were cut", divided).colour(Colour::Neutral))
    .height(220.0)
    .svg()?)
}

/// Losses that fall without one sum or the other.
pub fn no_sums(sources: &Sources) -> Result<String> {
    let run = "ch05_no_sums";
    Ok(LineChart::new(
        "ch05-no-sums",
        "The loss falls all the same",
        Axis::linear("step").from_zero(),
        Axis::linear("loss, nats per token"),
    )
    .series(Series::new("two ranks", series(sources, run, "losses")?))
    .series(Series::new("no sum in f", series(sources, run, "no_f_losses")?))
    .series(Series::new("no g in the MLP", series(sources, run, "no_g_losses")?))
    .height(220.0)
    .svg()?)
}
