//! The figures of chapter 6.
use super::series;
use crate::book::Sources;
use anyhow::{Context, Result};
use viz::{Bars, Blocks, Colour, Format, Matrix};

/// Rows of the activations drawn. How many tokens there are decides nothing.
const TOKENS: f64 = 96.0;
/// Of each rank.
const COLOURS: [Colour; 2] = [Colour::Blue, Colour::Orange];

/// One layer on two ranks: what of its tensors a rank has, in chapter 5 and here.
pub fn layer(sources: &Sources) -> Result<String> {
    let run = "ch06_slices";
    let hidden = super::number(sources, run, "hidden")?;
    let names = ["rank 0", "rank 1"];
    // Of each rank, all that it has of these matrices side by side.
    let inside = |metrics: &[&str]| -> Result<Vec<(&str, f64, Colour)>> {
        let mut widths = [0.0; 2];
        for metric in metrics {
            let rows = series(sources, run, metric)?;
            for (i, width) in widths.iter_mut().enumerate() {
                *width += rows.get(i).context("a rank is missing")?.1;
            }
        }
        Ok((0..2).map(|i| (names[i], widths[i], COLOURS[i])).collect())
    };
    let attention = inside(&["q_rows", "k_rows", "v_rows"])?;
    let mlp = inside(&["gate_rows", "up_rows"])?;
    let tokens = names.into_iter().zip(COLOURS);
    let tokens: Vec<_> =
        tokens.map(|(name, colour)| (name, TOKENS / 2.0, colour)).collect();
    let mut figure = Blocks::new("ch06-layer", "How a layer's tensors are cut")
        .hide_title()
        .height(70.0)
        .describe(
            "Four lines, each a norm's output, f, what lies inside of the pair of \
             matrices, g, and what is added to the residual stream. Inside, tensors \
             are cut by heads or channels. Outside they are whole in chapter 5, and \
             cut by tokens here.",
        );
    for (heading, cut, name, parts) in [
        ("Chapter 5: norms and sums whole on every rank", false, "q, k, v", &attention),
        ("", false, "gate, up", &mlp),
        (
            "Here: by tokens outside, by heads and channels inside",
            true,
            "q, k, v",
            &attention,
        ),
        ("", true, "gate, up", &mlp),
    ] {
        let stream = |name: &str| {
            let matrix = Matrix::new(name, TOKENS, hidden);
            if cut { matrix.cut_rows(tokens.iter().copied()) } else { matrix }
        };
        let width = parts.iter().map(|part| part.1).sum();
        figure = figure
            .line(heading)
            .matrix(stream("norm").dimensions("tokens", ""))
            .operator("f")
            .matrix(Matrix::new(name, TOKENS, width).cut_columns(parts.iter().copied()))
            .operator("g")
            .matrix(stream("sum"));
    }
    Ok(figure.svg()?)
}

/// What a rank keeps for backward.
pub fn kept(sources: &Sources) -> Result<String> {
    let run = "ch06_kept";
    let mut bars = Bars::new("ch06-kept", "Kept for backward on each rank")
        .hide_title()
        .format(Format::Bytes)
        .category("norms, in and out", Colour::Blue)
        .category("inside of pairs", Colour::Orange)
        .category("after the layers", Colour::Neutral);
    let all = |how| -> Result<_> {
        let of = |what| series(sources, run, &format!("{what}_{how}"));
        Ok([of("streams")?, of("pairs")?, of("end")?])
    };
    let [whole, cut] = [all("whole")?, all("cut")?];
    for (i, (ranks, _)) in whole[0].iter().enumerate() {
        for (how, kept) in [("whole", &whole), ("cut", &cut)] {
            let bytes = |entry: usize| -> Result<f64> {
                Ok(kept[entry].get(i).context("fewer numbers of ranks")?.1)
            };
            // One rank has nothing to cut.
            let name = match (*ranks, how) {
                (1.0, "whole") => "1 rank".to_string(),
                (1.0, _) => continue,
                (ranks, how) => format!("{ranks} ranks, {how}"),
            };
            bars = bars.row(
                &name,
                [
                    ("norms, in and out", bytes(0)?),
                    ("inside of pairs", bytes(1)?),
                    ("after the layers", bytes(2)?),
                ],
            );
        }
    }
    Ok(bars.svg()?)
}
