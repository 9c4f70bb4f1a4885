//! # Fill in: layers that are not all alike
//!
//! All stages go at the pace of the slowest. The chapter's `stages::cut` deals out
//! layers by their number, which is right if all take the same time. They need not: a
//! layer may have more experts, or attend to a window only. Nor do the ends: in front
//! of the first layer there is the embedding, and behind the last the head, which with
//! a large vocabulary takes as long as several layers.
//!
//! Cut the model by time. `layers[i]` is what layer `i` takes; the first chunk takes
//! `embedding` and the last `head` besides. Say which layers each chunk has, one chunk
//! behind the other along the model, such that the slowest chunk takes as little as
//! possible. Every layer is in one chunk. Every chunk between the first and the last
//! has at least one, or it would only pass on what it is given; the first and the last
//! may have none. A single chunk is the first and the last.
//!
//! There are at least as many layers as chunks between the ends. Of all cuts of 200
//! layers into 16 chunks there are too many to try them.
//!
//! ## Hint
//!
//! Filling one chunk after the other up to the average is not it: try `[1, 1, 4]` on
//! two chunks, `[3, 3, 3, 1]` on two, and either with a large head. Suppose you knew,
//! for each `n`, the best cut of the first `n` layers into one chunk less. What is the
//! best cut into all chunks then, if you try every place where the last one could
//! begin?
#![allow(unused_variables)]
use std::ops::Range;

/// The layers of each of so many chunks.
pub fn cut(
    layers: &[u64],
    embedding: u64,
    head: u64,
    chunks: usize,
) -> Vec<Range<usize>> {
    todo!("the cut whose slowest chunk is the fastest")
}
