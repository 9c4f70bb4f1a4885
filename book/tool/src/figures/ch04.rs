//! The figures of chapter 4.
use super::series;
use crate::book::Sources;
use anyhow::Result;
use viz::{
    Axis, Blocks, Colour, Diagram, Group, LineChart, Matrix, Node, Note, Port, Series,
    Side, Timeline,
};

/// Two replicas and what they have in common.
pub fn replicas(_: &Sources) -> Result<String> {
    let mut figure =
        Diagram::new("ch04-replicas", "A step of two replicas").hide_title().describe(
            "Rank 0 and rank 1 each go from rows of their own through forward and \
             backward to gradients of their own. An all-reduce sums these. From the \
             same sums each rank's AdamW makes the same weights.",
        );
    let sum = Node::new(11.4, 5.7, 4.2, 2.6, "all-reduce").line("one sum");
    let sum = figure.node(sum.colour(Colour::Orange));
    for (rank, y, side) in [(0, 1.0, 0.2), (1, 8.6, 0.8)] {
        let node = |x: f64, width: f64, name: &str, line: &str| {
            Node::new(x, y + 1.1, width, 2.6, name).line(line)
        };
        figure.group(Group::new(0.2, y, 23.6, 4.4, &format!("rank {rank}")));
        let rows = figure.node(node(0.7, 3.9, "rows", "its own"));
        let pass = node(5.7, 4.9, "fwd, bwd", "its gradients");
        let pass = figure.node(pass.colour(Colour::Blue));
        let adamw =
            figure.node(node(15.4, 3.7, "AdamW", "the same").colour(Colour::Blue));
        let weights = figure.node(node(20.1, 3.3, "weights", "the same"));
        figure.arrow(rows.right().to(pass.left()));
        figure.arrow(pass.right().to(sum.left().at(side)).elbow());
        let (from, to) = match rank {
            0 => (sum.right().at(side), adamw.bottom()),
            _ => (sum.right().at(side), adamw.top()),
        };
        figure.arrow(from.to(to).elbow());
        figure.arrow(adamw.right().to(weights.left()));
    }
    Ok(figure.svg()?)
}

/// An all-reduce of four ranks, as two collectives.
pub fn ring(_: &Sources) -> Result<String> {
    const PARTS: [(&str, Colour); 4] = [
        ("a", Colour::Blue),
        ("b", Colour::Orange),
        ("c", Colour::Teal),
        ("d", Colour::Purple),
    ];
    let mut figure = Blocks::new("ch04-ring", "An all-reduce is two collectives")
        .hide_title()
        .height(76.0)
        .describe(
            "Four ranks, each with a buffer of four parts. After the reduce-scatter \
             each rank holds the sum of all ranks for one part. After the all-gather \
             each holds the sums of all parts.",
        );
    // What a rank holds the sum of.
    type Holds = fn(usize, usize) -> bool;
    let stages: [(&str, Holds); 3] = [
        ("Before: each rank has its own numbers in all four parts", |_, _| false),
        ("After reduce-scatter: each has the sum of one part", |rank, part| {
            part == (rank + 1) % 4
        }),
        ("After all-gather: each has all four sums", |_, _| true),
    ];
    for (heading, holds) in stages {
        figure = figure.line(heading);
        for rank in 0..4 {
            let part =
                |(i, (name, colour)): (usize, (&'static str, Colour))| match holds(
                    rank, i,
                ) {
                    true => (["Σa", "Σb", "Σc", "Σd"][i], 1.0, colour),
                    false => (name, 1.0, Colour::Neutral),
                };
            let parts = PARTS.into_iter().enumerate().map(part);
            let matrix = Matrix::new(&format!("rank {rank}"), 4.0, 4.0).cut_rows(parts);
            figure = figure.matrix(matrix);
        }
    }
    Ok(figure.svg()?)
}

/// Which bucket is complete when.
pub fn buckets(_: &Sources) -> Result<String> {
    let mut figure = Diagram::new("ch04-buckets", "Buckets leave from the last on")
        .hide_title()
        .describe(
            "Six buckets: 0 the embedding, 1 to 4 the layers, 5 the last norm and an \
             output matrix of its own. Backward goes from 5 to 0, and each bucket \
             leaves at the mark behind it. A tied embedding gets its first gradient \
             from the loss and its second at the very end.",
        );
    let names = ["embedding", "layer 0", "layer 1", "layer 2", "layer 3", "norm, head"];
    figure.note(Note::new(6.8, 0.6, "forward").bold());
    figure.note(Note::new(15.2, 0.6, "leaves").bold());
    let mut before: Option<viz::Spot> = None;
    let mut ends = vec![];
    for (i, name) in names.into_iter().enumerate() {
        let y = 1.4 + 2.9 * i as f64;
        let node = Node::new(4.0, y, 5.6, 1.7, name).colour(Colour::Blue);
        let node = figure.node(node);
        let bucket = Node::new(12.4, y, 5.6, 1.7, &format!("bucket {i}"));
        let bucket = figure.node(bucket.colour(Colour::Orange));
        figure.arrow(node.right().to(bucket.left()));
        let when = ["sixth", "fifth", "fourth", "third", "second", "first"][i];
        figure.note(Note::new(18.7, y + 0.85, when).start());
        if let Some(before) = before {
            figure.arrow(before.bottom().to(node.top()));
            figure.note(Note::new(7.3, y - 0.6, &format!("mark {i}")).start());
        }
        before = Some(node);
        ends.push(node);
    }
    // What a tied matrix gets from the loss.
    let tied = ends[5].left().to(ends[0].left()).around(1.6).dashed();
    figure.arrow(tied.colour(Colour::Purple));
    figure.note(Note::new(1.2, 8.2, "tied").start());
    let back = Port::point(22.9, 17.6, Side::Top);
    figure.arrow(back.to(Port::point(22.9, 1.6, Side::Bottom)).colour(Colour::Red));
    figure.note(Note::new(22.6, 0.6, "backward").bold().end());
    Ok(figure.svg()?)
}

/// One step on two ranks, with overlap and without.
pub fn timeline(sources: &Sources) -> Result<String> {
    let mut figure = Timeline::new("ch04-timeline", "One step on two ranks")
        .hide_title()
        .category("forward", Colour::Sky)
        .category("backward", Colour::Blue)
        .category("optimizer", Colour::Teal)
        .category("wait", Colour::Neutral)
        .category("bucket under way", Colour::Orange);
    for overlap in ["on", "off"] {
        figure = figure.heading(&format!("--overlap {overlap}"));
        for rank in 0..2 {
            let read = |metric: &str| -> Result<Vec<(f64, f64)>> {
                let metric = format!("{overlap}_{rank}_{metric}");
                let spans = series(sources, "ch04_timeline", &metric)?;
                Ok(spans.into_iter().map(|(from, to)| (from / 1e3, to / 1e3)).collect())
            };
            let mut spans = vec![];
            for (metric, category) in [
                ("forward", "forward"),
                ("backward", "backward"),
                ("update", "optimizer"),
                ("wait", "wait"),
            ] {
                let found = read(metric)?.into_iter();
                spans.extend(found.map(|(from, to)| (from, to, category, "")));
            }
            figure = figure.track(&format!("rank {rank}"), spans);
            let buckets = read("buckets")?;
            // The last one leaves first.
            let names: Vec<String> =
                (0..buckets.len()).rev().map(|i| i.to_string()).collect();
            let buckets = buckets.into_iter().zip(&names);
            figure = figure.track(
                "buckets",
                buckets.map(|((from, to), name)| {
                    (from, to, "bucket under way", name.as_str())
                }),
            );
        }
    }
    Ok(figure.svg()?)
}

/// A loss that falls without a single gradient having been sent.
pub fn wrong_group(sources: &Sources) -> Result<String> {
    let run = "ch04_wrong_group";
    Ok(LineChart::new(
        "ch04-wrong-group",
        "The loss falls all the same",
        Axis::linear("step").from_zero(),
        Axis::linear("loss, nats per token"),
    )
    .series(Series::new("two ranks", series(sources, run, "losses")?))
    .series(Series::new("the wrong group", series(sources, run, "broken_losses")?))
    .height(220.0)
    .svg()?)
}
