//! Byte-pair encoding, the training half: which pairs to merge, and in what order.
//!
//! Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword
//! units", ACL 2016; over bytes as in GPT-2. Written here rather than taken from the
//! `tokenizers` crate so that the result is the same on every run and machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

/// Two neighbouring symbols.
type Pair = (u32, u32);

/// A pair must be seen this often to become a token of its own.
const MIN_COUNT: u64 = 2;

/// What training finds.
pub(crate) struct Merges {
    /// All tokens, at their ids: the alphabet first, then one per merge.
    pub(crate) vocabulary: Vec<String>,

    /// The pairs to merge, most important first.
    pub(crate) merges: Vec<(String, String)>,
}

/// A word as the symbols it is made of so far, and how often it was seen.
struct Word {
    symbols: Vec<u32>,
    count: u64,
}

/// Learns merges until the vocabulary has `vocab_size` entries or no pair occurs twice.
///
/// `words` counts each word; `vocabulary` is what ids `0..` already mean and must hold
/// every character of every word as an entry (others are dropped). The most frequent
/// pair is merged first, of equals the one with the lowest ids.
pub(crate) fn train(
    words: &BTreeMap<String, u64>,
    mut vocabulary: Vec<String>,
    vocab_size: usize,
) -> Merges {
    let mut ids: HashMap<String, u32> =
        vocabulary.iter().enumerate().map(|(id, s)| (s.clone(), id as u32)).collect();
    let mut words: Vec<Word> = words
        .iter()
        .map(|(word, &count)| Word {
            symbols: word
                .chars()
                .filter_map(|c| ids.get(c.encode_utf8(&mut [0; 4]) as &str).copied())
                .collect(),
            count,
        })
        .collect();

    // How often each pair occurs, and in which words (a superset: words may lose it).
    let mut counts: HashMap<Pair, u64> = HashMap::new();
    let mut places: HashMap<Pair, Vec<usize>> = HashMap::new();
    for (place, word) in words.iter().enumerate() {
        for pair in pairs(&word.symbols) {
            *counts.entry(pair).or_default() += word.count;
            places.entry(pair).or_default().push(place);
        }
    }
    // The heap may hold stale counts: an entry is checked when it comes up.
    let mut heap: BinaryHeap<(u64, Reverse<Pair>)> =
        counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();

    let mut merges = Vec::new();
    while vocabulary.len() < vocab_size {
        let Some((count, Reverse(pair))) = heap.pop() else { break };
        let now = counts.get(&pair).copied().unwrap_or(0);
        if now != count {
            if now > 0 && now < count {
                heap.push((now, Reverse(pair)));
            }
            continue;
        }
        if count < MIN_COUNT {
            break;
        }

        let (left, right) =
            (&vocabulary[pair.0 as usize], &vocabulary[pair.1 as usize]);
        merges.push((left.clone(), right.clone()));
        let token = format!("{left}{right}");
        // Two ways of joining may spell the same token: it keeps one id.
        let merged = *ids.entry(token).or_insert_with_key(|token| {
            vocabulary.push(token.clone());
            vocabulary.len() as u32 - 1
        });

        let mut affected = places.remove(&pair).unwrap_or_default();
        affected.sort_unstable();
        affected.dedup();
        let mut grown = Vec::new();
        for place in affected {
            let word = &mut words[place];
            for old in pairs(&word.symbols) {
                if let Some(count) = counts.get_mut(&old) {
                    *count -= word.count;
                }
            }
            merge(&mut word.symbols, pair, merged);
            for new in pairs(&word.symbols) {
                *counts.entry(new).or_default() += word.count;
                if new.0 == merged || new.1 == merged {
                    places.entry(new).or_default().push(place);
                    grown.push(new);
                }
            }
        }
        grown.sort_unstable();
        grown.dedup();
        heap.extend(grown.into_iter().map(|pair| (counts[&pair], Reverse(pair))));
    }
    Merges { vocabulary, merges }
}

fn pairs(symbols: &[u32]) -> impl Iterator<Item = Pair> {
    symbols.windows(2).map(|w| (w[0], w[1]))
}

/// Replaces each `pair` in `symbols`, from the left, by `merged`.
fn merge(symbols: &mut Vec<u32>, pair: Pair, merged: u32) {
    let (mut read, mut write) = (0, 0);
    while read < symbols.len() {
        let here = symbols[read];
        if here == pair.0 && symbols.get(read + 1) == Some(&pair.1) {
            symbols[write] = merged;
            read += 2;
        } else {
            symbols[write] = here;
            read += 1;
        }
        write += 1;
    }
    symbols.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train_on(words: &[(&str, u64)], size: usize) -> Merges {
        let words = words.iter().map(|&(w, n)| (w.to_string(), n)).collect();
        let letters = "abcdelow".chars().map(String::from).collect();
        train(&words, letters, size)
    }

    #[test]
    fn the_most_frequent_pair_goes_first() {
        // ow 7, lo 5 (lo + w → low after ow exists: l + ow 5), cow: c + ow 2.
        let result = train_on(&[("low", 5), ("cow", 2), ("dab", 1)], 100);
        let expected = [("o", "w"), ("l", "ow"), ("c", "ow")];
        let merges: Vec<_> =
            result.merges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(merges, expected);
        assert_eq!(result.vocabulary[8..], ["ow", "low", "cow"]);
    }

    #[test]
    fn it_stops_at_the_size_asked_for() {
        let result = train_on(&[("low", 5), ("cow", 2)], 9);
        assert_eq!(result.vocabulary.len(), 9);
        assert_eq!(result.merges.len(), 1);
    }

    #[test]
    fn overlapping_pairs_merge_from_the_left() {
        let mut symbols = vec![1, 1, 1, 2, 1, 1];
        merge(&mut symbols, (1, 1), 9);
        assert_eq!(symbols, [9, 1, 2, 9]);
    }

    #[test]
    fn two_spellings_of_one_token_share_its_id() {
        // "abc" is reached as ab+c and as a+bc.
        let words = [("abc", 10), ("ab", 50), ("bc", 5), ("bcd", 60), ("abcd", 3)];
        let result = train_on(&words, 100);
        let mut unique = result.vocabulary.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), result.vocabulary.len());
    }
}
