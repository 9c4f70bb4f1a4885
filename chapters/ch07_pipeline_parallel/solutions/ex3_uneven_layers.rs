//! # Fill in: layers that are not all alike
//!
//! The best cut of all layers has a last chunk, and what is before that is cut as well
//! as can be into one chunk less: otherwise it could be exchanged for something better.
//! So we find the best cuts of the first $n$ layers, for all $n$, into one chunk, into
//! two, and so on, each from those before: $\text{chunks} \times \text{layers}^2$ steps
//! at most.
//!
//! Going along the model and beginning a new chunk whenever one is full does not find
//! it. How full a chunk may be is known only when all that follows is cut. (It does
//! find *whether* there is a cut that takes no more than a given time, and so one can
//! look for the least time for which there is.)
//!
//! A head that takes as long as three layers is three layers less for the last stage.
//! Megatron-LM has flags that count the embedding and the head as one layer each, and
//! one for a layout that is given stage by stage, as our `--pp-layers`.
use std::ops::Range;

/// The layers of each of so many chunks.
pub fn cut(
    layers: &[u64],
    embedding: u64,
    head: u64,
    chunks: usize,
) -> Vec<Range<usize>> {
    let takes = |chunk: usize, part: Range<usize>| {
        let ends = if chunk == 0 { embedding } else { 0 }
            + if chunk + 1 == chunks { head } else { 0 };
        ends + layers[part].iter().sum::<u64>()
    };
    // For each number of layers, the best cut of so many into the first chunks: what
    // its slowest chunk takes, and where chunks begin. None, where there is none.
    let mut best: Vec<Option<(u64, Vec<usize>)>> =
        (0..=layers.len()).map(|n| Some((takes(0, 0..n), vec![0]))).collect();
    for chunk in 1..chunks {
        let least = usize::from(chunk + 1 < chunks);
        let cut = |n: usize| {
            let begins = 0..(n + 1).saturating_sub(least);
            let all = begins.filter_map(|begin| {
                let (slowest, before) = best[begin].as_ref()?;
                Some(((*slowest).max(takes(chunk, begin..n)), begin, before))
            });
            let (slowest, begin, before) = all.min_by_key(|(slowest, ..)| *slowest)?;
            Some((slowest, [&before[..], &[begin]].concat()))
        };
        best = (0..=layers.len()).map(cut).collect();
    }
    let begins = best.pop().flatten().map_or(vec![], |(_, begins)| begins);
    let ends = begins.iter().skip(1).copied().chain([layers.len()]);
    begins.iter().zip(ends).map(|(begin, end)| *begin..end).collect()
}
