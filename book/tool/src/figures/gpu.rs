//! The figure of the page on GPUs: calculated, of what others published.
use crate::book::Sources;
use anyhow::Result;
use viz::{Colour, Timeline};

/// Microseconds of the host for one launch.
const LAUNCH: f64 = 4.0;
/// Bytes that an H100 SXM moves in a microsecond.
const BYTES: f64 = 3.35e6;

/// A model, and what it is computed on.
struct Layer {
    name: &'static str,
    tokens: f64,
    /// Tokens of a sequence.
    seq: f64,
    hidden: f64,
    mlp: f64,
    /// Bytes of a number.
    size: f64,
    /// Operations of a product in a microsecond.
    peak: f64,
}

const LAYERS: [Layer; 2] = [
    Layer {
        name: "nano, fp32, 8 sequences of 128 tokens",
        tokens: 1024.0,
        seq: 128.0,
        hidden: 128.0,
        mlp: 344.0,
        size: 4.0,
        peak: 67e6,
    },
    Layer {
        name: "125m, bf16, one sequence of 2048 tokens",
        tokens: 2048.0,
        seq: 2048.0,
        hidden: 768.0,
        mlp: 2048.0,
        size: 2.0,
        peak: 989e6,
    },
];

impl Layer {
    /// The kernels of its forward pass, with as many key/value heads as heads, and how
    /// many microseconds each needs at least.
    fn kernels(&self) -> [(&'static str, &'static str, f64); 11] {
        let Layer { tokens, seq, hidden, mlp, size, peak, .. } = *self;
        let pass = |name, numbers: f64| (name, "other kernel", numbers * size / BYTES);
        let product = |name, inputs: f64, outputs: f64| {
            let numbers = tokens * (inputs + outputs) + inputs * outputs;
            let flops = 2.0 * tokens * inputs * outputs;
            (name, "product", (numbers * size / BYTES).max(flops / peak))
        };
        let stream = tokens * hidden;
        let scores = 2.0 * stream * seq / peak;
        [
            pass("norm", 2.0 * stream),
            product("q, k, v", hidden, 3.0 * hidden),
            pass("rope", 6.0 * stream),
            ("attention", "attention", scores.max(4.0 * stream * size / BYTES)),
            product("o", hidden, hidden),
            pass("add", 3.0 * stream),
            pass("norm", 2.0 * stream),
            product("gate, up", hidden, 2.0 * mlp),
            pass("swiglu", 3.0 * tokens * mlp),
            product("down", mlp, hidden),
            pass("add", 3.0 * stream),
        ]
    }
}

/// One layer's launches, and when its kernels run.
pub fn host_and_stream(_: &Sources) -> Result<String> {
    let mut figure = Timeline::new("gpu-host-and-stream", "One layer's launches")
        .hide_title()
        .category("launch", Colour::Neutral)
        .category("product", Colour::Blue)
        .category("attention", Colour::Purple)
        .category("other kernel", Colour::Orange)
        .describe(
            "Eleven launches of 4 microseconds each on the host. For nano nearly every \
             kernel is shorter than its launch, and the GPU is idle most of the time. \
             For 125m the kernels are longer in sum: from the second on, each begins \
             when the one before ends, and the host is done early.",
        );
    for layer in &LAYERS {
        let (mut launches, mut spans, mut end) = (vec![], vec![], 0.0);
        for (i, (name, kind, time)) in layer.kernels().into_iter().enumerate() {
            let from = i as f64 * LAUNCH;
            launches.push((from / 1e6, (from + LAUNCH) / 1e6, "launch", ""));
            // After its launch, and after all that was started before.
            let start = f64::max(from + LAUNCH, end);
            end = start + time;
            spans.push((start / 1e6, end / 1e6, kind, name));
        }
        figure = figure.heading(layer.name);
        figure = figure.track("host", launches).track("GPU", spans);
    }
    Ok(figure.svg()?)
}
