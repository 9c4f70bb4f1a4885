//! Beside all cuts of small models, and large ones whose best cut is known.
use super::many;
use crate::answer::ex3_uneven_layers::*;
use std::ops::Range;

struct Model {
    layers: Vec<u64>,
    embedding: u64,
    head: u64,
}

impl Model {
    /// What each chunk takes.
    fn takes(&self, cut: &[Range<usize>]) -> Vec<u64> {
        let sums = cut.iter().map(|part| self.layers[part.clone()].iter().sum());
        let mut takes: Vec<u64> = sums.collect();
        takes[0] += self.embedding;
        takes[cut.len() - 1] += self.head;
        takes
    }
    fn slowest(&self, cut: &[Range<usize>]) -> u64 {
        self.takes(cut).into_iter().max().unwrap_or(0)
    }
    fn words(&self, chunks: usize) -> String {
        let Model { layers, embedding, head } = self;
        format!(
            "layers {layers:?}, embedding {embedding}, head {head}, {}",
            many(chunks, "chunk")
        )
    }
    /// The reader's answer, if it is a cut at all.
    #[track_caller]
    fn answer(&self, chunks: usize) -> Vec<Range<usize>> {
        let (words, n) = (self.words(chunks), self.layers.len());
        let got = cut(&self.layers, self.embedding, self.head, chunks);
        assert!(
            got.len() == chunks,
            "{words}: {} in {got:?}, expected {chunks}",
            many(got.len(), "chunk")
        );
        let mut next = 0;
        for (chunk, part) in got.iter().enumerate() {
            assert!(
                part.start == next && part.start <= part.end,
                "{words}: chunk {chunk} has the layers {part:?}, but those before end \
                 with {next}: each layer belongs to one chunk: {got:?}"
            );
            next = part.end;
            assert!(
                chunk == 0 || chunk + 1 == chunks || !part.is_empty(),
                "{words}: chunk {chunk}, between the first and the last, has no layer: \
                 {got:?}"
            );
        }
        assert!(
            next == n,
            "{words}: {} in all chunks together, expected {n}: {got:?}",
            many(next, "layer")
        );
        got
    }
    /// Compares the reader's answer with all cuts there are.
    fn check(&self, chunks: usize) {
        let got = self.answer(chunks);
        let all = cuts(self.layers.len(), chunks);
        let Some(best) = all.iter().min_by_key(|cut| self.slowest(cut)) else { return };
        let (took, least) = (self.slowest(&got), self.slowest(best));
        assert!(
            took == least,
            "{}: chunks of {:?} take {:?}, the slowest {took}; with {best:?} they take \
             {:?}, the slowest {least}{why}",
            self.words(chunks),
            got,
            self.takes(&got),
            self.takes(best),
            why = blind_to()
        );
    }
}

/// What the reader's cuts may leave out, if they all are the best without it.
fn blind_to() -> &'static str {
    let best_without = |embedding: u64, head: u64| {
        [&[1, 1, 4][..], &[3, 3, 3, 1], &[2, 8, 2, 2, 8, 2, 2]].into_iter().all(
            |layers| {
                ENDS.into_iter().all(|ends| {
                    let own = cut(layers, ends.0, ends.1, 3);
                    let (embedding, head) = (embedding * ends.0, head * ends.1);
                    let model = Model { layers: layers.to_vec(), embedding, head };
                    let all = cuts(layers.len(), 3);
                    let least = all.iter().map(|cut| model.slowest(cut)).min();
                    own.len() == 3 && Some(model.slowest(&own)) == least
                })
            },
        )
    };
    match () {
        _ if best_without(1, 0) => ". Your cuts are the best without a head",
        _ if best_without(0, 1) => ". Your cuts are the best without an embedding",
        _ if best_without(0, 0) => ". Your cuts are the best with neither of the ends",
        _ => "",
    }
}

/// All cuts of `n` layers.
fn cuts(n: usize, chunks: usize) -> Vec<Vec<Range<usize>>> {
    // Where chunks begin.
    let mut all = vec![vec![0]];
    for chunk in 1..chunks {
        let least = usize::from(chunk > 1);
        let longer = |begins: Vec<usize>| {
            let next = begins[chunk - 1] + least..=n;
            next.map(move |next| [&begins[..], &[next]].concat())
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    let ranges = |begins: Vec<usize>| {
        let ends = begins.iter().skip(1).copied().chain([n]);
        begins.iter().zip(ends).map(|(begin, end)| *begin..end).collect()
    };
    all.into_iter().map(ranges).collect()
}

/// The ends: what the embedding and the head take.
const ENDS: [(u64, u64); 6] = [(0, 0), (1, 0), (0, 3), (2, 5), (20, 1), (1, 30)];

fn small(layers: &[u64]) {
    for (embedding, head) in ENDS {
        let model = Model { layers: layers.to_vec(), embedding, head };
        (1..=layers.len() + 2).for_each(|chunks| model.check(chunks));
    }
}

#[test]
fn layers_that_are_all_alike() {
    for n in 1..=7 {
        small(&vec![2; n]);
    }
}

#[test]
fn layers_of_any_cost() {
    for layers in [
        &[1, 1, 4][..],
        &[3, 3, 3, 1],
        &[9, 1, 1, 1, 9],
        &[1, 2, 3, 4, 5, 6, 7],
        &[7, 6, 5, 4, 3, 2, 1],
        &[2, 8, 2, 2, 8, 2, 2],
        &[5, 1, 1, 6, 3, 9, 2, 4],
        &[1, 1, 1, 1, 1, 1, 10],
        &[0, 0, 4, 0, 0, 1],
    ] {
        small(layers);
    }
    for seed in 0..20_u64 {
        let layer = |i: u64| (seed * 7919 + i * i * 31 + i * (seed + 3)) % 11 + 1;
        small(&(0..7).map(layer).collect::<Vec<_>>());
    }
}

/// Chunks that all take 100, put together at random: no cut is better.
#[test]
fn large_models() {
    for (chunks, seed) in [(4, 1), (8, 2), (16, 3), (16, 4), (32, 5)] {
        let mut draw = seed * 7919_u64;
        let mut random = |most: u64| {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (draw >> 33) % most + 1
        };
        let (embedding, head, mut layers) = (random(40), random(60), vec![]);
        for chunk in 0..chunks {
            let mut left = 100;
            left -= if chunk == 0 { embedding } else { 0 };
            left -= if chunk + 1 == chunks { head } else { 0 };
            while left > 0 {
                let layer = random(20).min(left);
                layers.push(layer);
                left -= layer;
            }
        }
        let model = Model { layers, embedding, head };
        let got = model.answer(chunks);
        let slowest = model.slowest(&got);
        assert!(
            slowest == 100,
            "{} in {chunks} chunks, which together take {}: the slowest of yours takes \
             {slowest}, but there is a cut with 100 in each (embedding {embedding}, \
             head {head}, layers {:?})",
            many(model.layers.len(), "layer"),
            100 * chunks,
            model.layers
        );
    }
}
