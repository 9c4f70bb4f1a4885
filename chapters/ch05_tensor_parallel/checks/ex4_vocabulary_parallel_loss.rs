//! Losses of logits in parts beside those of whole rows.
use super::{many, numbers, ranks};
use crate::answer::ex4_vocabulary_parallel_loss::*;
use corpus::IGNORE;
use std::ops::Range;

/// Whole rows of logits, and their targets.
#[derive(Clone)]
struct Rows {
    vocab: usize,
    /// `[tokens, vocab]`
    logits: Vec<f64>,
    targets: Vec<u32>,
}

impl Rows {
    /// So many tokens, with logits between `middle - spread` and `middle + spread`.
    fn new(tokens: usize, vocab: usize, middle: f64, spread: f64) -> Rows {
        let all = numbers(tokens * vocab, 1);
        let logits = all.iter().map(|x| middle + spread * x);
        let targets = (0..tokens).map(|i| ((i * 7 + 3) % vocab) as u32);
        Rows { vocab, logits: logits.collect(), targets: targets.collect() }
    }
    fn rows(&self) -> impl Iterator<Item = (&[f64], u32)> {
        self.logits.chunks_exact(self.vocab).zip(self.targets.iter().copied())
    }
    /// A rank's words, and how many columns it has.
    fn part(&self, n: usize, rank: usize) -> (Range<usize>, usize) {
        let each = self.vocab.div_ceil(n);
        let end = |rank: usize| self.vocab.min(rank * each);
        (end(rank)..end(rank + 1), each)
    }
    /// What a rank has, with `padding` in the columns of no word.
    fn cut(&self, n: usize, rank: usize, padding: f64) -> Vec<f64> {
        let (words, each) = self.part(n, rank);
        let rows = self.rows().flat_map(|(row, _)| {
            let padding = vec![padding; each - words.len()];
            [&row[words.clone()], &padding].concat()
        });
        rows.collect()
    }
}

/// `ln Σ exp(x)`.
fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = x.clone().fold(f64::NEG_INFINITY, f64::max);
    max + x.map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// Whether the two are the same but for rounding, where logits are of size `largest`.
fn close(a: f64, b: f64, tokens: usize, largest: f64) -> bool {
    (a - b).abs() <= 1e-13 * largest.max(1.0) * tokens.max(1) as f64
}

/// Losses that mistakes lead to, and these in words.
fn mistakes(rows: &Rows, n: usize, padding: f64) -> Vec<(f64, &'static str)> {
    let counted = || rows.rows().filter(|(_, target)| *target != IGNORE);
    let loss = |(row, target): (&[f64], u32)| {
        log_sum_exp(row.iter().copied()) - row[target as usize]
    };
    let want: f64 = counted().map(loss).sum();
    let (_, each) = rows.part(n, 0);
    let pads = vec![padding; each * n - rows.vocab];
    let padded = counted().map(|(row, target)| {
        log_sum_exp(row.iter().chain(&pads).copied()) - row[target as usize]
    });
    let ignored = rows.rows().filter(|(_, target)| *target == IGNORE);
    let ignored = ignored.map(|(row, _)| log_sum_exp(row.iter().copied()));
    let apart = counted().map(|(row, target)| {
        let of = |rank| {
            let own = &row[rows.part(n, rank).0];
            let max = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (max, own.iter().map(|x| (x - max).exp()).sum::<f64>())
        };
        let max = (0..n).map(|rank| of(rank).0).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..n).map(|rank| of(rank).1).sum();
        max + sum.ln() - row[target as usize]
    });
    let tokens = rows.targets.len() as f64;
    vec![
        (padded.sum(), "the columns of padding count as words"),
        (want + ignored.sum::<f64>(), "tokens without a target count, too"),
        (apart.sum(), "the ranks' sums are added as they are, each less another max"),
        (want * n as f64, "every rank's loss is added"),
        (want / counted().count().max(1) as f64, "it is a mean over the targets"),
        (want / tokens, "it is a mean over the tokens"),
    ]
}

fn agrees(what: &str, rows: &Rows, n: usize, padding: f64) {
    let all = ranks(n, what, |group| {
        let (words, width) = rows.part(n, group.rank());
        let values = rows.cut(n, group.rank(), padding);
        let logits = Logits { values: &values, width, words };
        let loss = loss(&logits, &rows.targets, &group)?;
        let sent: u64 = group.ledger().lines().iter().map(|l| l.entry.bytes).sum();
        comm::Result::Ok((loss, sent))
    });
    let counted = rows.rows().filter(|(_, target)| *target != IGNORE);
    let of = |(row, target): (&[f64], u32)| {
        log_sum_exp(row.iter().copied()) - row[target as usize]
    };
    let want: f64 = counted.map(of).sum();
    let tokens = rows.targets.len();
    let largest = rows.logits.iter().fold(padding.abs(), |max, x| max.max(x.abs()));
    let case = format!(
        "{what}: {}, {} of {}",
        many(n, "rank"),
        many(tokens, "token"),
        many(rows.vocab, "word")
    );
    for (rank, (got, sent)) in all.iter().enumerate() {
        let mistakes = mistakes(rows, n, padding);
        let mistake = mistakes.iter().find(|m| close(*got, m.0, tokens, largest));
        let why = match mistake {
            Some((_, mistake)) => format!("that comes out if {mistake}"),
            None if !got.is_finite() => {
                "something overflows, underflows, or is the difference of two \
                 infinities: is each token's largest logit, of all ranks, taken off \
                 before anything is an exponent? And what does a rank send that has \
                 no word, or has not got the target?"
                    .into()
            }
            None => "see whether each sum has the same largest logit taken off, and \
                     whether the target's logit is found on one rank, and only there"
                .into(),
        };
        assert!(
            close(*got, want, tokens, largest),
            "{case}: rank {rank} says a loss of {got}, expected {want}: {why}"
        );
        assert!(
            got.to_bits() == all[0].0.to_bits(),
            "{case}: rank {rank} says {got:e} and rank 0 {:e}: the bits differ",
            all[0].0
        );
        let most = (6 * 8 * tokens * (n - 1)) as u64;
        assert!(
            *sent <= most,
            "{case}: rank {rank} sends {sent} bytes, expected at most {most}: numbers \
             of each token, and not of each of its logits"
        );
    }
}

#[test]
fn a_vocabulary_that_divides() {
    for n in [1, 2, 3, 4] {
        agrees("small logits", &Rows::new(5, 48, 0.0, 3.0), n, 0.0);
        agrees("a single token", &Rows::new(1, 48, 0.0, 3.0), n, 0.0);
    }
}

#[test]
fn a_vocabulary_that_is_padded() {
    for padding in [0.0, -1.0, 50.0, -1e4] {
        let what = format!("padding of {padding}");
        for (vocab, n) in [(47, 2), (46, 4), (50, 3)] {
            agrees(&what, &Rows::new(5, vocab, -2.0, 3.0), n, padding);
        }
    }
}

#[test]
fn a_rank_that_has_only_padding() {
    for padding in [0.0, 50.0] {
        let what = format!("a rank of padding alone, of {padding}");
        // 2, 2, 1 and 0 words; and 1, 1 and three times 0.
        agrees(&what, &Rows::new(4, 5, 1.0, 2.0), 4, padding);
        agrees(&what, &Rows::new(4, 2, 1.0, 2.0), 5, padding);
    }
}

#[test]
fn logits_that_overflow() {
    for n in [1, 2, 4] {
        for middle in [1e4, -1e4] {
            let what = format!("logits around {middle}");
            agrees(&what, &Rows::new(5, 47, middle, 2.0), n, 0.0);
        }
        agrees("logits up to 10000 apart", &Rows::new(5, 47, 0.0, 1e4), n, 0.0);
        // One token far above zero, the next far below.
        let mut rows = Rows::new(6, 47, 0.0, 2.0);
        for (i, row) in rows.logits.chunks_exact_mut(47).enumerate() {
            let middle = if i.is_multiple_of(2) { 1e4 } else { -1e4 };
            row.iter_mut().for_each(|x| *x += middle);
        }
        agrees("tokens far apart", &rows, n, 0.0);
    }
}

#[test]
fn targets_that_do_not_count() {
    for n in [1, 2, 4] {
        let mut rows = Rows::new(6, 47, 0.0, 2.0);
        for i in [0, 3, 4] {
            rows.targets[i] = IGNORE;
        }
        agrees("three ignored targets", &rows, n, 0.0);
        rows.targets.fill(IGNORE);
        agrees("all targets ignored", &rows, n, 0.0);
    }
}

#[test]
fn a_target_on_every_rank() {
    let mut rows = Rows::new(47, 47, 0.0, 2.0);
    rows.targets = (0..47).collect();
    for n in [1, 2, 4, 5] {
        agrees("each word the target of a token", &rows, n, 0.0);
    }
}

#[test]
fn the_same_bits_on_every_rank() {
    // The target's logit is the largest, so that the loss is small, and shows the last
    // bit of the sum.
    for n in [2, 3, 4, 5] {
        let mut all = vec![Rows::new(1, 60, -4.0, 2.0); 40];
        for (seed, rows) in all.iter_mut().enumerate() {
            let spread = numbers(60, seed).into_iter().map(|x| 2.0 * x - 4.0);
            rows.logits = spread.collect();
            rows.logits[rows.targets[0] as usize] = 0.0;
        }
        let losses = ranks(n, "tokens one by one", |group| {
            let one = |rows: &Rows| {
                let (words, width) = rows.part(n, group.rank());
                let values = rows.cut(n, group.rank(), 0.0);
                loss(&Logits { values: &values, width, words }, &rows.targets, &group)
            };
            all.iter().map(one).collect::<comm::Result<Vec<f64>>>()
        });
        for (rank, own) in losses.iter().enumerate() {
            for (token, (got, first)) in own.iter().zip(&losses[0]).enumerate() {
                assert!(
                    got.to_bits() == first.to_bits(),
                    "{}, token {token}: rank {rank} says a loss of {got:e} and rank 0 \
                     {first:e}: the bits differ. Do all ranks add in the same order?",
                    many(n, "rank")
                );
            }
        }
    }
}
