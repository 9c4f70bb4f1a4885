//! # Fill in: how many layers a segment should have
//!
//! At segment $i$ of $s$, counted from 1, the inputs of the $i$ first ones are kept and
//! the layers of segment $i$ are in memory. All segments but the last have $n$ layers,
//! and of these the last but one has most inputs beside it. So the peak is there, or at
//! the last, which has one more input and maybe fewer layers. $\lceil L/n \rceil$
//! inputs and $n$ layers is what it comes to where $n$ divides $L$, and too much
//! elsewhere.
//!
//! There are only `layers` lengths, so they are tried. The square root says what to
//! expect: a layer that saves as much as its input gives $n = \sqrt{L}$, and a peak
//! that grows as $2 \sqrt{L}$. A decoder's layer saves far more than its input; by the
//! count of exercise 3, about 16 times as much in the shape of Llama 7B. With its 32
//! layers the formula gives 1.4: segments of 1 and of 2 layers are nearly equal, and
//! longer ones are worse.

/// The most bytes that are in memory during backward with segments of `n` layers, from
/// 1 to `layers`, of which each keeps `input` bytes, and each of its layers `layer`
/// bytes while it is computed again.
pub fn peak(layers: usize, n: usize, input: usize, layer: usize) -> usize {
    let segments = layers.div_ceil(n);
    let last = layers - (segments - 1) * n;
    let at_the_last = segments * input + last * layer;
    match segments {
        1 => at_the_last,
        _ => at_the_last.max((segments - 1) * input + n * layer),
    }
}

/// The length of segments, from 1 to `layers`, with the lowest peak, and the smallest
/// of these; `layers` is 1 or more.
pub fn best(layers: usize, input: usize, layer: usize) -> usize {
    // Of equal ones, `min_by_key` returns the first.
    let lengths = (1..=layers).min_by_key(|n| peak(layers, *n, input, layer));
    lengths.unwrap_or(1)
}
