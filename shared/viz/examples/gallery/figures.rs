//! One figure of each kind, and the hard cases of each.

use viz::{
    Arrow, Axis, Bars, Blocks, Brace, Colour, Diagram, Error, Format, Group, LineChart,
    Matrix, Node, Note, Port, Series, Side, Timeline,
};

/// The figures: `(file name, SVG)`. The numbers are made up to exercise the drawing.
pub fn all() -> Result<Vec<(&'static str, String)>, Error> {
    Ok(vec![
        ("loss", loss()?),
        ("scaling", scaling()?),
        ("close-ends", close_ends()?),
        ("memory", memory()?),
        ("traffic", traffic()?),
        ("step", step()?),
        ("layer", layer()?),
        ("all-reduce", all_reduce()?),
        ("column-parallel", column_parallel()?),
        ("memory-wide", memory_wide()?),
    ])
}

/// A decay with noise that is the same on every run.
fn curve(low: f64, rate: f64) -> Vec<(f64, f64)> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 16) / 65536.0 - 0.5
    };
    (0..=4000)
        .map(|i| f64::from(i) * 0.5)
        .map(|step| (step, low + 2.6 * (-step * rate).exp() + 0.12 * noise()))
        .collect()
}

fn loss() -> Result<String, Error> {
    let step = Axis::linear("step");
    let nats = Axis::linear("training loss, nats per token");
    LineChart::new("gallery-loss", "The loss falls, then flattens", step, nats)
        .series(Series::new("1 rank", curve(1.62, 0.004)))
        .series(Series::new("lr 1e-4", curve(2.2, 0.0016)))
        .reference(4.17, "uniform guess, ln 65")
        .svg()
}

fn scaling() -> Result<String, Error> {
    let measured = [(1.0, 1.0), (2.0, 1.9), (4.0, 3.6), (8.0, 6.4), (16.0, 9.8)];
    let ranks = Axis::log("data-parallel ranks").ticks([1.0, 2.0, 4.0, 8.0, 16.0]);
    let speed = Axis::log("tokens per second").format(Format::Count);
    let scaled = |by: f64| measured.map(|(x, y)| (x, y * by));
    LineChart::new("gallery-scaling", "Throughput against ranks", ranks, speed)
        .series(Series::new("overlapped all-reduce", scaled(21_000.0)).markers())
        .series(Series::new("all-reduce after backward", scaled(14_500.0)).markers())
        .series(Series::new("no communication", scaled(23_500.0)).markers())
        .height(190.0)
        .svg()
}

fn close_ends() -> Result<String, Error> {
    let names =
        ["fp32", "bf16", "bf16, fp32 master weights", "fp8 e4m3", "tf32", "int8"];
    let mut chart = LineChart::new(
        "gallery-close-ends",
        "Six lines that end at nearly the same place",
        Axis::linear("tokens seen").format(Format::Count),
        Axis::linear("validation loss").range(1.4, 3.0),
    );
    for (i, name) in names.into_iter().enumerate() {
        let points = (0..40).map(|t| f64::from(t) * 262_144.0).map(|tokens| {
            (tokens, 1.5 + 2.6 * (-tokens / (1e6 + 4e5 * i as f64)).exp())
        });
        chart = chart.series(Series::new(name, points));
    }
    chart.svg()
}

fn memory() -> Result<String, Error> {
    Bars::new("gallery-memory", "What one rank holds, by ZeRO stage")
        .format(Format::Bytes)
        .category("weights", Colour::Blue)
        .category("gradients", Colour::Orange)
        .category("optimizer", Colour::Purple)
        .category("activations", Colour::Teal)
        .row("data parallel", parts([16.1e9, 16.1e9, 32.1e9, 9.4e9]))
        .row("stage 1", parts([16.1e9, 16.1e9, 4.02e9, 9.4e9]))
        .row("stage 2", parts([16.1e9, 2.01e9, 4.02e9, 9.4e9]))
        .row("stage 3", parts([2.01e9, 2.01e9, 4.02e9, 9.4e9]))
        .reference(40e9, "a 40 GB GPU")
        .svg()
}

fn memory_wide() -> Result<String, Error> {
    let row = parts([4.2e6, 4.2e6, 8.4e6, 61.3e6]);
    Bars::new("gallery-memory-wide", "A wide figure: activation memory by what is kept")
        .width(720.0)
        .format(Format::Bytes)
        .row("keep all", row)
        .row("recompute attention", parts([4.2e6, 4.2e6, 8.4e6, 22.0e6]))
        .row("recompute layers", parts([4.2e6, 4.2e6, 8.4e6, 7.1e6]))
        .svg()
}

fn parts(values: [f64; 4]) -> [(&'static str, f64); 4] {
    let [weights, gradients, optimizer, activations] = values;
    [
        ("weights", weights),
        ("gradients", gradients),
        ("optimizer", optimizer),
        ("activations", activations),
    ]
}

fn traffic() -> Result<String, Error> {
    Bars::new("gallery-traffic", "Bytes each rank sends in a step")
        .format(Format::Bytes)
        .row("ring", [("reduce-scatter", 7.0e6), ("all-gather", 7.0e6)])
        .row("tree", [("reduce", 8.0e6), ("broadcast", 8.0e6)])
        .row("one rank", [("reduce", 0.0)])
        .svg()
}

fn step() -> Result<String, Error> {
    let backward = (0.031, 0.09, "backward", "backward");
    Timeline::new("gallery-step", "Buckets leave while backward goes on")
        .heading("rank 0")
        .track("compute", [(0.0, 0.03, "forward", "forward"), backward])
        .track(
            "in flight",
            [
                (0.04, 0.058, "bucket", "3"),
                (0.056, 0.0565, "bucket", "2"),
                (0.09, 0.1, "bucket", "1"),
            ],
        )
        .track("wait", [(0.09, 0.1, "wait", "")])
        .svg()
}

fn layer() -> Result<String, Error> {
    let mut figure = Diagram::new("gallery-layer", "A transformer layer");
    let node = |y, name: &str| Node::new(7.0, y, 6.0, 2.2, name);
    let sum = |y| Node::new(9.25, y, 1.5, 1.5, "+").round();
    figure.group(Group::new(3.6, 3.0, 12.8, 19.2, "layer"));
    let input = figure.node(Node::new(7.0, 0.0, 6.0, 1.7, "x"));
    let norm1 = figure.node(node(5.2, "RMSNorm").colour(Colour::Neutral));
    let attention = node(8.4, "Attention").line("12 heads").colour(Colour::Blue);
    let attention = figure.node(attention);
    let sum1 = figure.node(sum(11.4));
    let norm2 = figure.node(node(14.0, "RMSNorm").colour(Colour::Neutral));
    let mlp = figure.node(node(17.2, "MLP").line("SwiGLU").colour(Colour::Orange));
    let sum2 = figure.node(sum(20.2));
    let out = figure.node(Node::new(7.0, 23.4, 6.0, 1.7, "y"));
    for pair in [input, norm1, attention, sum1, norm2, mlp, sum2, out].windows(2) {
        figure.arrow(pair[0].bottom().to(pair[1].top()));
    }
    for (y, sum) in [(4.4, sum1), (13.4, sum2)] {
        let branch = Port::point(10.0, y, Side::Left);
        figure.arrow(branch.to(sum.left()).around(4.4).colour(Colour::Purple));
    }
    figure.brace(Brace::new(Side::Right, 16.9, 3.0, 22.2, "repeated\n12 times"));
    figure.note(Note::new(14.0, 0.85, "[batch, seq, hidden]").start());
    figure.svg()
}

fn all_reduce() -> Result<String, Error> {
    let mut figure =
        Diagram::new("gallery-all-reduce", "An all-reduce is two collectives");
    figure.group(Group::new(8.3, 1.2, 7.4, 11.2, "").colour(Colour::Neutral));
    for (i, part) in ["a", "b", "c"].into_iter().enumerate() {
        let y = 1.9 + 3.6 * i as f64;
        let rank = format!("rank {i}");
        let before = figure.node(Node::new(0.0, y, 4.6, 2.6, &rank).line("a  b  c"));
        let sum =
            Node::new(9.5, y, 5.0, 2.6, &rank).line(&format!("sum of all {part}"));
        let middle = figure.node(sum.colour(Colour::Teal));
        let after = Node::new(19.4, y, 4.6, 2.6, &rank).line("three sums");
        let after = figure.node(after.colour(Colour::Blue));
        figure.arrow(Arrow::new(before.right(), middle.left()).label("2 parts"));
        figure.arrow(middle.right().to(after.left()).label("1 part").dashed());
    }
    figure.note(Note::new(6.9, 0.4, "reduce-scatter").bold());
    figure.note(Note::new(16.9, 0.4, "all-gather").bold());
    let words = "2 (n − 1) / n of the buffer, sent by each rank";
    figure.brace(Brace::new(Side::Bottom, 12.8, 4.6, 19.4, words).square());
    figure.svg()
}

fn column_parallel() -> Result<String, Error> {
    let cut = |size: f64| {
        [("rank 0", size / 2.0, Colour::Blue), ("rank 1", size / 2.0, Colour::Orange)]
    };
    Blocks::new("gallery-column-parallel", "Two ways to cut a linear layer")
        .line("By columns: each rank has all of X and some columns of Y")
        .matrix(Matrix::new("X", 48.0, 32.0).dimensions("tokens", "hidden"))
        .operator("×")
        .matrix(
            Matrix::new("W", 32.0, 96.0)
                .dimensions("", "4 hidden")
                .cut_columns(cut(96.0)),
        )
        .operator("=")
        .matrix(
            Matrix::new("Y", 48.0, 96.0)
                .dimensions("", "4 hidden")
                .cut_columns(cut(96.0)),
        )
        .line("By rows: each rank has a summand of Y")
        .matrix(
            Matrix::new("X", 48.0, 96.0)
                .dimensions("tokens", "4 hidden")
                .cut_columns(cut(96.0)),
        )
        .operator("×")
        .matrix(
            Matrix::new("W", 96.0, 32.0).dimensions("", "hidden").cut_rows(cut(96.0)),
        )
        .operator("=")
        .matrix(Matrix::new("Y₀", 48.0, 32.0).colour(Colour::Blue))
        .operator("+")
        .matrix(Matrix::new("Y₁", 48.0, 32.0).colour(Colour::Orange))
        .svg()
}
