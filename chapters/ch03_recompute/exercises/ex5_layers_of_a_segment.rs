//! # Fill in: how many layers a segment should have
//!
//! Full recomputation costs one more forward, whether the segments are long or short.
//! Their length decides about memory only. A long segment has few neighbours, each of
//! which keeps its input; but when backward comes to it, all that its layers save is in
//! memory at once. The best length lies in between (Chen et al. 2016, *Training Deep
//! Nets with Sublinear Memory Cost*).
//!
//! `layers` layers are cut into segments of `n`, from the first on, as
//! `--recompute-method uniform` does; the last one is shorter where they do not divide.
//! Each segment keeps `input` bytes from forward until its own backward is over.
//! Backward goes from the last segment to the first. At each, the layers of the segment
//! are computed again and then hold `layer` bytes each, until its backward is over, in
//! addition to all inputs that are still kept. What is in memory for a moment only, and
//! outside of the layers, is left out.
//!
//! Write the peak of that for a given length, exactly, and the length with the lowest
//! peak; of several, the smallest. The checks walk through backward with a tally, and
//! measure the chapter's model.
//!
//! ## Hint
//!
//! With ten layers in segments of four, write down what is in memory at each of the
//! three segments, in the order of backward. Is the peak always at the first of them?
//! If $L/n$ inputs and $n$ layers were all there is to it, the best $n$ would be
//! $\sqrt{L \cdot \text{input} / \text{layer}}$; but that is no whole number, and the
//! last segment may be short. How many lengths are there to try at most?
#![allow(unused_variables)]

/// The most bytes that are in memory during backward with segments of `n` layers, from
/// 1 to `layers`, of which each keeps `input` bytes, and each of its layers `layer`
/// bytes while it is computed again.
pub fn peak(layers: usize, n: usize, input: usize, layer: usize) -> usize {
    todo!("the segment at which most is in memory")
}

/// The length of segments, from 1 to `layers`, with the lowest peak, and the smallest
/// of these; `layers` is 1 or more.
pub fn best(layers: usize, input: usize, layer: usize) -> usize {
    todo!("the length with the lowest peak")
}
