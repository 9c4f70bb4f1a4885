//! Which layers are in which chunk.
use anyhow::{Result, ensure};
use std::ops::Range;

/// The layers of each chunk, one chunk after the other along the model. `given`: how
/// many each has; if nothing is, all have as many as the others, and where that does
/// not come out even, one more in the later ones. The last chunk has one less before
/// any other does, and then the first: the head and the embedding are there.
///
/// # Errors
/// There are not as many chunks as were given, other layers than the model's, or a
/// chunk without anything.
pub fn cut(
    layers: usize,
    chunks: usize,
    given: Option<&[usize]>,
) -> Result<Vec<Range<usize>>> {
    ensure!(
        given.is_some() || chunks <= layers.saturating_add(2),
        "{chunks} chunks: the model's {layers} layers are for at most {} chunks",
        layers + 2
    );
    let counts = match given {
        Some(given) => given.to_vec(),
        None => even(layers, chunks),
    };
    let list: Vec<String> = counts.iter().map(usize::to_string).collect();
    let sum = counts.iter().fold(0, |sum: usize, n| sum.saturating_add(*n));
    let list = list.join(",");
    let list = match given {
        Some(_) => format!("--pp-layers {list}"),
        None => format!("{chunks} chunks of {list} layers"),
    };
    ensure!(
        counts.len() == chunks && sum == layers,
        "{list}: {sum} layers in {} chunks, but the model has {layers} \
         layers, and --pp times --virtual are {chunks} chunks",
        counts.len()
    );
    let idle = (1..chunks.max(1) - 1).find(|chunk| counts[*chunk] == 0);
    ensure!(
        idle.is_none(),
        "{list}: a chunk between the first and the last has no layer; the \
         model's {layers} layers are for at most {} chunks",
        layers + 2
    );
    let mut start = 0;
    let range = |n: usize| {
        start += n;
        start - n..start
    };
    Ok(counts.into_iter().map(range).collect())
}

fn even(layers: usize, chunks: usize) -> Vec<usize> {
    let mut counts = vec![layers / chunks; chunks];
    let (last, more) = (chunks - 1, layers % chunks);
    // From the last but one down; the last is never reached.
    let places = (1..last).rev().chain([0, last]);
    places.take(more).for_each(|chunk| counts[chunk] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_dealt_out() {
        assert_eq!(cut(4, 2, None).unwrap(), [0..2, 2..4]);
        assert_eq!(even(9, 1), [9]);
        assert_eq!(even(5, 2), [3, 2]);
        assert_eq!(even(6, 4), [1, 2, 2, 1]);
        assert_eq!(even(7, 4), [2, 2, 2, 1]);
        assert_eq!(even(2, 4), [0, 1, 1, 0]);
        assert_eq!(cut(3, 3, Some(&[0, 3, 0])).unwrap(), [0..0, 0..3, 3..3]);
        let says = |layers, chunks, given, what: &str| {
            let error = cut(layers, chunks, given).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        says(4, 2, Some(&[1, 2][..]), "--pp-layers 1,2: 3 layers in 2 chunks");
        says(4, 3, Some(&[2, 2][..]), "4 layers in 2 chunks, but the model has 4");
        says(4, 3, Some(&[2, 0, 2][..]), "has no layer");
        says(4, 7, None, "4 layers are for at most 6 chunks");
        says(4, usize::MAX, None, "4 layers are for at most 6 chunks");
        says(4, 2, Some(&[usize::MAX, 5][..]), "but the model has 4");
    }
}
