//! The figures of the book, drawn when it is built, from runs and from the chapters.
use crate::book::Sources;
use crate::runs::Metric;
use anyhow::{Context, Result, anyhow};
use viz::{
    Axis, Bars, Brace, Colour, Diagram, Format, Group, LineChart, Node, Note, Port,
    Series, Side,
};

mod ch04;
mod ch05;
mod ch06;
mod ch07;
mod ch08;
mod gpu;

type Draw = fn(&Sources) -> Result<String>;

/// All figures, by the name under which a page asks for them.
const FIGURES: [(&str, Draw); 30] = [
    ("whole", whole),
    ("bytes_per_parameter", bytes_per_parameter),
    ("ch01_decoder", ch01_decoder),
    ("ch01_memory", ch01_memory),
    ("ch01_learning_rates", ch01_learning_rates),
    ("ch02_types", ch02_types),
    ("ch02_band", ch02_band),
    ("ch02_band_shakespeare", ch02_band_shakespeare),
    ("ch03_segment", ch03_segment),
    ("ch03_saved", ch03_saved),
    ("ch03_segments", ch03_segments),
    ("ch03_over_time", ch03_over_time),
    ("ch04_replicas", ch04::replicas),
    ("ch04_ring", ch04::ring),
    ("ch04_buckets", ch04::buckets),
    ("ch04_timeline", ch04::timeline),
    ("ch04_wrong_group", ch04::wrong_group),
    ("ch05_cut", ch05::cut),
    ("ch05_f_and_g", ch05::f_and_g),
    ("ch05_saved", ch05::saved),
    ("ch05_no_sums", ch05::no_sums),
    ("ch06_layer", ch06::layer),
    ("ch06_kept", ch06::kept),
    ("ch07_micro_batches", ch07::micro_batches),
    ("ch07_schedules", ch07::schedules),
    ("ch07_chunks", ch07::chunks),
    ("ch07_bubbles", ch07::bubbles),
    ("ch07_measured", ch07::measured),
    ("ch08_bytes", ch08::bytes),
    ("gpu_host_and_stream", gpu::host_and_stream),
];

/// `{{#figure id caption="…"}}`; the caption is markdown.
///
/// # Errors
/// There is no such figure, or what it shows is missing.
pub fn figure(sources: &Sources, id: &str, caption: &str) -> Result<String> {
    let Some((_, draw)) = FIGURES.iter().find(|(name, _)| *name == id) else {
        let names = FIGURES.map(|(name, _)| name);
        return Err(anyhow!("no figure `{id}`; there are {}", names.join(", ")));
    };
    let svg = draw(sources).with_context(|| format!("figure `{id}`"))?;
    // A blank line would end the block of HTML for markdown.
    let lines: Vec<_> = svg.lines().filter(|line| !line.trim().is_empty()).collect();
    let (svg, caption) = (lines.join("\n"), caption.trim());
    Ok(format!(
        "<figure class=\"figure\">\n{svg}\n<figcaption>\n\n{caption}\n\n\
         </figcaption>\n</figure>\n\n"
    ))
}

/// A metric that is one number.
fn number(sources: &Sources, run: &str, metric: &str) -> Result<f64> {
    match sources.runs.get(run)?.captured()?.metric(metric)? {
        Metric::Number { value, .. } => Ok(*value),
        Metric::Series(_) => Err(anyhow!("{run}.{metric} is a series, not a number")),
    }
}

/// A metric that is a series.
fn series(sources: &Sources, run: &str, metric: &str) -> Result<Vec<(f64, f64)>> {
    match sources.runs.get(run)?.captured()?.metric(metric)? {
        Metric::Series(points) => Ok(points.clone()),
        Metric::Number { .. } => {
            Err(anyhow!("{run}.{metric} is a number, not a series"))
        }
    }
}

/// The chapters: name, and what it shares out or saves.
const CHAPTERS: [[(&str, &str); 3]; 4] = [
    [
        ("1  one device", "all of it, small"),
        ("2  mixed precision", "fewer bits"),
        ("3  recomputation", "time for memory"),
    ],
    [
        ("4  data parallel", "cuts the batch"),
        ("5  tensor parallel", "cuts each matrix"),
        ("6  sequence parallel", "cuts what is left"),
    ],
    [
        ("7  pipeline parallel", "cuts the layers"),
        ("8  ZeRO", "cuts the states"),
        ("9  expert parallel", "cuts the experts"),
    ],
    [
        ("10  context parallel", "cuts the sequence"),
        ("11  FP8", "fewer bits still"),
        ("12  full system", "all of it, large"),
    ],
];

const ROWS: [&str; 4] = [
    "One device: what a byte and an operation are",
    "Many devices share the work of each layer",
    "Many devices share the model",
    "Longer, faster, all together",
];

fn whole(sources: &Sources) -> Result<String> {
    let mut figure = Diagram::new("whole", "Twelve programs, one technique each")
        .hide_title()
        .describe(
            "The twelve chapters in order; those whose program exists are tinted.",
        );
    let told: Vec<_> =
        sources.house.chapters.iter().filter_map(|chapter| chapter.number()).collect();
    let mut before: Option<viz::Spot> = None;
    for (row, (title, chapters)) in ROWS.iter().zip(CHAPTERS).enumerate() {
        let y = 4.6 * row as f64;
        figure.note(Note::new(0.1, y + 0.6, title).start());
        for (column, (name, what)) in chapters.into_iter().enumerate() {
            let number = (3 * row + column + 1) as u32;
            let x = 8.4 * column as f64;
            let node = Node::new(x, y + 1.3, 7.2, 2.4, name).line(what);
            let node = match told.contains(&number) {
                true => node.colour(Colour::Blue),
                false => node,
            };
            let spot = figure.node(node);
            if let Some(before) = before
                && column > 0
            {
                figure.arrow(before.right().to(spot.left()));
            }
            before = Some(spot);
        }
    }
    Ok(figure.svg()?)
}

fn bytes_per_parameter(_: &Sources) -> Result<String> {
    Ok(Bars::new("bytes-per-parameter", "Bytes of one parameter, in fp32")
        .format(Format::Bytes)
        .row("to use it", [("value", 4.0)])
        .row(
            "to train it",
            [
                ("value", 4.0),
                ("gradient", 4.0),
                ("first moment", 4.0),
                ("second moment", 4.0),
            ],
        )
        .svg()?)
}

fn ch01_decoder(_: &Sources) -> Result<String> {
    let mut figure = Diagram::new("ch01-decoder", "The decoder, and a training step")
        .hide_title()
        .describe(
            "Left: tokens go through the embedding, layers of attention and \
             feed-forward, a norm and the output matrix to the loss. Right: for each \
             micro-batch a recorded forward and a backward pass; then the norm, \
             clipping and AdamW.",
        );
    // The decoder, downwards.
    figure.note(Note::new(5.6, 0.5, "the decoder").bold());
    let node = |y: f64, name: &str| Node::new(3.0, y, 6.0, 1.6, name);
    let sum = |y| Node::new(5.35, y, 1.3, 1.3, "+").round();
    figure.group(Group::new(0.6, 6.2, 10.8, 15.4, "layer"));
    let tokens = figure.node(node(1.4, "tokens").colour(Colour::Neutral));
    let embedding = figure.node(node(3.8, "embedding").colour(Colour::Blue));
    let norm1 = figure.node(node(8.4, "RMSNorm"));
    let attention = figure.node(node(10.8, "attention").colour(Colour::Orange));
    let sum1 = figure.node(sum(13.2));
    let norm2 = figure.node(node(15.5, "RMSNorm"));
    let mlp = figure.node(node(17.8, "feed-forward").colour(Colour::Orange));
    let sum2 = figure.node(sum(20.0));
    let norm = figure.node(node(22.6, "RMSNorm"));
    let head = figure.node(node(25.0, "output matrix").colour(Colour::Blue));
    let loss = figure.node(node(27.4, "loss").colour(Colour::Neutral));
    let chain =
        [tokens, embedding, norm1, attention, sum1, norm2, mlp, sum2, norm, head, loss];
    for pair in chain.windows(2) {
        figure.arrow(pair[0].bottom().to(pair[1].top()));
    }
    for (y, sum) in [(7.8, sum1), (15.0, sum2)] {
        let branch = Port::point(6.0, y, Side::Left);
        figure.arrow(branch.to(sum.left()).around(4.2).colour(Colour::Purple));
    }
    figure.note(Note::new(10.9, 6.9, "× layers").end());

    // The step.
    figure.note(Note::new(19.3, 0.5, "a training step").bold());
    let node =
        |y: f64, name: &str, line: &str| Node::new(15.5, y, 7.6, 2.4, name).line(line);
    figure.group(Group::new(13.0, 4.9, 10.8, 9.6, "each micro-batch"));
    let batch = figure.node(node(1.4, "batch", "a function of the step"));
    let forward =
        figure.node(node(6.5, "forward", "recorded on a tape").colour(Colour::Orange));
    let backward =
        figure.node(node(11.1, "backward", "adds to gradients").colour(Colour::Orange));
    let norm = figure.node(node(16.2, "gradient norm", "of all, as one vector"));
    let clip = figure.node(node(20.2, "clip", "scales all alike"));
    let adamw = figure.node(node(24.2, "AdamW", "moves the weights"));
    for pair in [batch, forward, backward, norm, clip, adamw].windows(2) {
        figure.arrow(pair[0].bottom().to(pair[1].top()));
    }
    let again = "next step";
    figure.brace(Brace::new(Side::Bottom, 27.6, 15.5, 23.1, again).square());
    Ok(figure.svg()?)
}

fn ch01_memory(sources: &Sources) -> Result<String> {
    let mut bars =
        Bars::new("ch01-memory", "Peak memory of each family").format(Format::Bytes);
    for (family, metric) in [
        ("parameters", "parameter_bytes"),
        ("gradients", "gradient_bytes"),
        ("optimizer", "optimizer_bytes"),
        ("saved for backward", "saved_bytes"),
        ("scratch", "scratch_bytes"),
        ("other", "other_bytes"),
    ] {
        let bytes = number(sources, "ch01_default", metric)?;
        bars = bars.row(family, [("", bytes)]);
    }
    Ok(bars.svg()?)
}

fn ch01_learning_rates(sources: &Sources) -> Result<String> {
    let points = series(sources, "ch01_learning_rates_nano", "val_loss")?;
    let ticks: Vec<f64> = points.iter().map(|(lr, _)| *lr).collect();
    Ok(LineChart::new(
        "ch01-learning-rates",
        "How high the learning rate may be",
        Axis::log("peak learning rate").ticks(ticks),
        Axis::linear("validation loss, nats per token").from_zero(),
    )
    .series(Series::new("nano", points).markers())
    .height(200.0)
    .svg()?)
}

/// Where each number of a step is rounded to 16 bits, and where it is not.
fn ch02_types(_: &Sources) -> Result<String> {
    let mut figure = Diagram::new("ch02-types", "What is in 16 bits and what is not")
        .hide_title()
        .describe(
            "In 16 bits: the values, from which forward computes activations, and \
             their gradients. In fp32: the main gradients, to which backward adds, the \
             moments and the master weights that the optimizer moves. The masters, \
             rounded, are the values of the next step.",
        );
    figure.group(Group::new(0.3, 1.2, 23.4, 5.2, "16 bits"));
    figure.group(Group::new(0.3, 8.6, 23.4, 5.2, "fp32"));
    let node = |x: f64, y: f64, name: &str, line: &str| {
        Node::new(x, y, 6.4, 2.6, name).line(line)
    };
    let values = figure.node(node(1.2, 2.9, "values", "2 bytes").colour(Colour::Blue));
    let activations =
        figure.node(node(8.8, 2.9, "activations", "2 bytes").colour(Colour::Orange));
    let grads = figure
        .node(node(16.4, 2.9, "their gradients", "2 bytes").colour(Colour::Orange));
    let masters =
        figure.node(node(1.2, 10.3, "masters", "4 bytes").colour(Colour::Blue));
    let moments =
        figure.node(node(8.8, 10.3, "moments", "4 + 4 bytes").colour(Colour::Blue));
    let main =
        figure.node(node(16.4, 10.3, "main gradients", "4 bytes").colour(Colour::Blue));
    for (from, to) in [
        (values.right(), activations.left()),
        (activations.right(), grads.left()),
        (grads.bottom(), main.top()),
        (main.left(), moments.right()),
        (moments.left(), masters.right()),
        (masters.top(), values.bottom()),
    ] {
        figure.arrow(from.to(to));
    }
    figure.note(Note::new(4.0, 7.6, "round").end());
    figure.note(Note::new(19.2, 7.6, "add up").end());
    Ok(figure.svg()?)
}

/// How far 16 bits lead away from fp32, beside how far another seed does.
fn ch02_band(sources: &Sources) -> Result<String> {
    band(
        sources,
        "ch02-band",
        "How far losses lie apart",
        "ch02_seeds",
        "ch02_precisions",
    )
}

/// The same on text that people wrote.
fn ch02_band_shakespeare(sources: &Sources) -> Result<String> {
    let title = "How far losses lie apart on tinyshakespeare";
    let [seeds, precisions] = ["ch02_shakespeare_seeds", "ch02_shakespeare_precisions"];
    band(sources, "ch02-band-shakespeare", title, seeds, precisions)
}

fn band(
    sources: &Sources,
    id: &str,
    title: &str,
    seeds_run: &str,
    precisions_run: &str,
) -> Result<String> {
    let (mut band, mut bf16, mut fp16) = (vec![], vec![], vec![]);
    for step in (20..=200).step_by(20) {
        let metric = format!("loss_{step:03}");
        let x = f64::from(step);
        let seeds = series(sources, seeds_run, &metric)?;
        let losses = || seeds.iter().map(|(_, loss)| *loss);
        let most = losses().fold(f64::NEG_INFINITY, f64::max);
        let least = losses().fold(f64::INFINITY, f64::min);
        band.push((x, most - least));
        let precisions = series(sources, precisions_run, &metric)?;
        let [(_, fp32), (_, bf), (_, fp)] = precisions[..] else {
            return Err(anyhow!("{precisions_run} is not three precisions"));
        };
        // Zero has no place on a logarithmic axis.
        bf16.push((x, (bf - fp32).abs().max(1e-6)));
        fp16.push((x, (fp - fp32).abs().max(1e-6)));
    }
    Ok(LineChart::new(
        id,
        title,
        Axis::linear("step"),
        Axis::log("difference of the loss, nats per token"),
    )
    .series(Series::new("five seeds, fp32", band).colour(Colour::Neutral).markers())
    .series(Series::new("bf16, from fp32", bf16).markers())
    .series(Series::new("fp16, from fp32", fp16).markers())
    .svg()?)
}

/// Forward through two segments, and back.
fn ch03_segment(_: &Sources) -> Result<String> {
    let mut figure = Diagram::new("ch03-segment", "Two segments, forward and back")
        .hide_title()
        .describe(
            "Forward goes through segment 1 and segment 2 to the loss and keeps the \
             input of each. In backward segment 2 is run again from its input, on a \
             tape, and the gradient that comes from the loss goes back along it; then \
             segment 1 likewise.",
        );
    let rows = [1.2, 6.0, 10.6];
    let box_at = |x: f64, row: usize, name: &str, line: &str| {
        Node::new(x, rows[row], 5.0, 2.4, name).line(line)
    };
    let kept = |x: f64, name: &str| {
        Node::new(x, rows[0], 3.0, 2.4, name).line("kept").colour(Colour::Orange)
    };
    let inputs = [figure.node(kept(0.2, "input")), figure.node(kept(9.8, "input"))];
    let forward = [4.1, 13.7].map(|x| (x, "no tape"));
    let [first, second] = [0, 1].map(|i| {
        let (x, line) = forward[i];
        let name = format!("segment {}", i + 1);
        let ahead = figure.node(box_at(x, 0, &name, line));
        let again = box_at(x, 1, "run again", "on a tape").colour(Colour::Purple);
        let again = figure.node(again);
        let back = box_at(x, 2, "backward", "along the tape").colour(Colour::Blue);
        let back = figure.node(back);
        figure.arrow(inputs[i].right().to(ahead.left()));
        figure.arrow(inputs[i].bottom().to(again.left()).elbow());
        figure.arrow(again.bottom().to(back.top()));
        [ahead, back]
    });
    let loss = Node::new(20.2, rows[0], 3.4, 2.4, "loss").colour(Colour::Neutral);
    let loss = figure.node(loss);
    figure.arrow(first[0].right().to(inputs[1].left()));
    figure.arrow(second[0].right().to(loss.left()));
    figure.arrow(loss.bottom().to(second[1].right()).elbow());
    figure.arrow(second[1].left().to(first[1].right()));
    let out = Port::point(0.4, rows[2] + 1.2, Side::Right);
    figure.arrow(first[1].left().to(out));
    figure.note(Note::new(21.6, 12.6, "gradient"));
    figure.note(Note::new(11.4, 12.6, "gradient"));
    Ok(figure.svg()?)
}

/// What a layer keeps of a token, entry by entry, for each choice of what is dropped.
fn ch03_saved(sources: &Sources) -> Result<String> {
    let mut bars = Bars::new("ch03-saved", "Kept by a layer, per token")
        .format(Format::Bytes)
        .category("norms, in", Colour::Blue)
        .category("queries, keys, values", Colour::Teal)
        .category("gate and up", Colour::Sky)
        .category("norms, out", Colour::Orange)
        .category("swiglu, out", Colour::Red)
        .category("attention, out", Colour::Purple)
        .category("the layer's input", Colour::Neutral);
    for (row, dropped) in [
        ("none", vec![]),
        ("norm", vec!["norms_out"]),
        ("swiglu", vec!["swiglu_out"]),
        ("attention", vec!["attention_out"]),
        ("norm,swiglu", vec!["norms_out", "swiglu_out"]),
        ("all three", vec!["norms_out", "swiglu_out", "attention_out"]),
    ] {
        let mut entries = vec![];
        for (entry, metric) in [
            ("norms, in", "norms_in"),
            ("queries, keys, values", "qkv"),
            ("gate and up", "gate_up"),
            ("norms, out", "norms_out"),
            ("swiglu, out", "swiglu_out"),
            ("attention, out", "attention_out"),
        ] {
            if !dropped.contains(&metric) {
                entries.push((entry, number(sources, "ch03_layer", metric)?));
            }
        }
        bars = bars.row(row, entries);
    }
    let full = number(sources, "ch03_layer", "full")?;
    Ok(bars.row("full", [("the layer's input", full)]).svg()?)
}

/// Why a segment has one layer, or two.
fn ch03_segments(sources: &Sources) -> Result<String> {
    let bytes = |metric| -> Result<Vec<(f64, f64)>> {
        let points = series(sources, "ch03_segments", metric)?;
        Ok(points.into_iter().map(|(n, kilobytes)| (n, 1e3 * kilobytes)).collect())
    };
    Ok(LineChart::new(
        "ch03-segments",
        "Activations at their most, of 64 layers",
        Axis::log("layers of a segment").ticks([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
        Axis::log("bytes per token").format(Format::Bytes),
    )
    .series(Series::new("closed form", bytes("predicted")?))
    .series(Series::new("counted", bytes("measured")?).markers())
    .svg()?)
}

/// Activations over one step.
fn ch03_over_time(sources: &Sources) -> Result<String> {
    let run = "ch03_over_time";
    let line = |metric| -> Result<Vec<(f64, f64)>> {
        let points = series(sources, run, metric)?;
        Ok(points.into_iter().map(|(mflop, kb)| (mflop / 1e3, 1e3 * kb)).collect())
    };
    let backward = number(sources, run, "backward")? / 1e3;
    let most = 1e3 * number(sources, run, "none_most")?;
    let upright = [(backward, 0.0), (backward, most)];
    Ok(LineChart::new(
        "ch03-over-time",
        "Activations over one step",
        Axis::linear("operations so far, in GFLOP").from_zero(),
        Axis::linear("bytes of activations").format(Format::Bytes).from_zero(),
    )
    .series(Series::new("", upright).colour(Colour::Neutral))
    .series(Series::new("none", line("none")?))
    .series(Series::new("norm, swiglu", line("norm_swiglu")?))
    .series(Series::new("uniform, 1 layer", line("uniform")?))
    .svg()?)
}
