//! Rows: where they are cut, in which order they come, what they may attend to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use corpus::indexed::{Builder, DType};
use corpus::{Batch, Corpus, IGNORE, Options, Position, Tokenizer};

use crate::{Folder, assert_error, options, stories_tokenizer};

/// A dataset of the tokens 1, 2, … `count`, which end in 0: a token tells its place.
fn counting(folder: &Folder, count: u32) -> PathBuf {
    let mut builder = Builder::create(&folder.path("count"), DType::U16).unwrap();
    builder.add_document(&(1..=count).collect::<Vec<_>>()).unwrap();
    builder.finish().unwrap();
    folder.path("count.bin")
}

/// Train: 1 to 1800; validation: 1801 to 1999 and 0.
fn corpus(seq_len: usize, seed: u64) -> Corpus {
    let folder = Folder::new();
    let file = counting(&folder, 1999);
    let options = Options { seed, ..options(&[&file], seq_len) };
    Corpus::open(&options, &stories_tokenizer()).unwrap()
}

fn rows(batch: &Batch) -> Vec<Vec<u32>> {
    batch.tokens.chunks(batch.seq_len).map(<[u32]>::to_vec).collect()
}

#[test]
fn the_last_tenth_is_validation_and_never_trained_on() {
    let corpus = corpus(10, 0);
    assert_eq!((corpus.train.tokens(), corpus.validation.tokens()), (1800, 200));

    let validation = corpus.validation.batch(0, 19).unwrap();
    let expected: Vec<u32> = (1801..1801 + 190).collect();
    assert_eq!(validation.tokens, expected, "in order, not shuffled");
    assert_eq!(corpus.validation.sequences(), 19);

    let train = corpus.train.batch(0, 2000).unwrap();
    assert!(train.tokens.iter().chain(&train.targets).all(|t| (1..=1800).contains(t)));
}

#[test]
fn a_row_is_a_run_of_the_text_and_its_targets_are_the_next_tokens() {
    let corpus = corpus(7, 3);
    for split in [&corpus.train, &corpus.validation] {
        let batch = split.batch(0, 100).unwrap();
        assert_eq!((batch.rows, batch.seq_len), (100, 7));
        assert_eq!((batch.tokens.len(), batch.targets.len()), (700, 700));
        assert_eq!(batch.target_count(), 700);
        assert!(batch.document_starts.is_none());
        for (token, target) in batch.tokens.iter().zip(&batch.targets) {
            assert!(*target == token + 1 || (*token, *target) == (1999, 0));
        }
    }
}

#[test]
fn an_epoch_visits_every_row_once_and_epochs_differ() {
    let corpus = corpus(10, 1);
    let per_epoch = corpus.train.sequences();
    assert_eq!(per_epoch, 178);
    let mut orders = BTreeSet::new();
    let mut offsets = BTreeSet::new();
    for epoch in 0..20 {
        let rows = rows(&corpus.train.batch(epoch * per_epoch, 178).unwrap());
        let order: Vec<u32> = rows.iter().map(|row| row[0]).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        // Neighbours share one token: starts are seq_len apart, from the offset on.
        assert!(sorted.windows(2).all(|w| w[1] == w[0] + 10), "epoch {epoch}");
        assert_ne!(order, sorted, "epoch {epoch} is not shuffled");
        offsets.insert(sorted[0] - 1);
        orders.insert(order.iter().map(|start| start - sorted[0]).collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 20, "each epoch has its own order");
    assert!(offsets.len() > 5, "cuts move: {offsets:?}");
}

#[test]
fn every_token_gets_its_turn() {
    let corpus = corpus(10, 1);
    let batch = corpus.train.batch(0, 178 * 200).unwrap();
    let seen: BTreeSet<u32> = batch.tokens.into_iter().chain(batch.targets).collect();
    assert_eq!(seen, (1..=1800).collect());
}

#[test]
fn a_batch_is_a_pure_function_of_seed_and_row() {
    let corpus = corpus(10, 5);
    // Over the end of an epoch, too.
    let all = rows(&corpus.train.batch(0, 400).unwrap());
    for (first, count) in [(0, 1), (5, 3), (170, 20), (399, 1)] {
        let some = rows(&corpus.train.batch(first as u64, count).unwrap());
        assert_eq!(some, all[first..first + count]);
    }
    let again = self::corpus(10, 5).train.batch(0, 400).unwrap();
    assert_eq!(rows(&again), all);
    let other = self::corpus(10, 6).train.batch(0, 400).unwrap();
    assert_ne!(rows(&other), all);
    assert!(corpus.train.batch(9, 0).unwrap().tokens.is_empty());
}

#[test]
fn a_saved_position_goes_on_exactly() {
    let corpus = corpus(10, 5);
    let mut batches = corpus.train.iter_from(Position::default());
    for _ in 0..30 {
        batches.next_batch(7).unwrap();
    }
    let saved = serde_json::to_string(&batches.position()).unwrap();
    assert_eq!(saved, "{\"next\":210}");
    let expected: Vec<Batch> =
        (0..30).map(|_| batches.next_batch(7).unwrap()).collect();

    let position: Position = serde_json::from_str(&saved).unwrap();
    let mut resumed = self::corpus(10, 5).train.iter_from(position);
    let actual: Vec<Batch> = (0..30).map(|_| resumed.next_batch(7).unwrap()).collect();
    assert_eq!(actual, expected);
}

#[test]
fn validation_starts_over_at_its_end() {
    let corpus = corpus(10, 1);
    let first = corpus.validation.batch(0, 2).unwrap();
    assert_eq!(corpus.validation.batch(19, 2).unwrap(), first);
}

#[test]
fn isolated_documents_do_not_see_each_other() {
    let folder = Folder::new();
    let text = "{\"text\":\"ab\"}\n{\"text\":\"c\"}\n{\"text\":\"defg\"}\n";
    let file = folder.write("a.jsonl", text);
    let open = |isolate_documents, seq_len| {
        let validation_fraction = 0.0;
        let options = options(&[&file], seq_len);
        let options = Options { isolate_documents, validation_fraction, ..options };
        Corpus::open(&options, &Tokenizer::Bytes).unwrap().train
    };
    let letters = |ids: &[u32]| -> String {
        let letter = |&id: &u32| match id {
            IGNORE => '-',
            0 => '.',
            id => char::from(id as u8),
        };
        ids.iter().map(letter).collect()
    };

    let batch = open(true, 9).batch(0, 1).unwrap();
    assert_eq!(letters(&batch.tokens), "ab.c.defg");
    assert_eq!(letters(&batch.targets), "b.-.-efg.");
    assert_eq!(batch.document_starts.as_ref().unwrap(), &[0, 0, 0, 3, 3, 5, 5, 5, 5]);
    assert_eq!(batch.target_count(), 7);

    let batch = open(false, 9).batch(0, 1).unwrap();
    assert_eq!(letters(&batch.targets), "b.c.defg.");
    assert_eq!(batch.document_starts, None);
    assert_eq!(batch.target_count(), 9);

    // In every row of a shuffled epoch: counted from the row's own start.
    let split = open(true, 3);
    let batch = split.batch(0, 50).unwrap();
    let starts = batch.document_starts.as_ref().unwrap();
    for row in 0..50 {
        let at = row * 3..row * 3 + 3;
        match letters(&batch.tokens[at.clone()]).as_str() {
            "ab." => assert_eq!(starts[at], [0, 0, 0]),
            "b.c" => assert_eq!(starts[at], [0, 0, 2]),
            ".c." => assert_eq!(starts[at], [0, 1, 1]),
            "c.d" => assert_eq!(starts[at], [0, 0, 2]),
            ".de" => assert_eq!(starts[at], [0, 1, 1]),
            "def" | "efg" => assert_eq!(starts[at], [0, 0, 0]),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn too_little_text_is_an_error_that_says_what_to_do() {
    let folder = Folder::new();
    let file = folder.write("a.txt", "x".repeat(99)); // and its end: 100 tokens
    let open = |seq_len, fraction| {
        let options = options(&[&file], seq_len);
        let options = Options { validation_fraction: fraction, ..options };
        Corpus::open(&options, &Tokenizer::Bytes)
    };
    // 90 tokens to train, 10 to validate.
    assert_eq!(open(9, 0.1).unwrap().validation.sequences(), 1);
    assert_error(
        open(10, 0.1),
        &["validation split has 10 tokens", "the 11 of one row"],
    );
    assert_error(open(90, 0.1), &["training split has 90 tokens", "the 91 of one row"]);

    let none = open(99, 0.0).unwrap();
    assert_eq!((none.train.sequences(), none.validation.sequences()), (1, 0));
    assert_error(none.validation.batch(0, 1), &["split without rows"]);

    assert_error(open(0, 0.1), &["rows of 0 tokens"]);
    for fraction in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert_error(open(5, fraction), &["validation fraction", "0.1"]);
    }
    assert_error(open(9, 0.1).unwrap().train.batch(u64::MAX, 2), &["64-bit"]);
}

#[test]
fn random_tokens_are_uniform_and_repeatable() {
    let options = Options { seed: 4, ..options(&[], 32) };
    let corpus = Corpus::random(10, &options).unwrap();
    let batch = corpus.train.batch(1000, 1000).unwrap();
    let mut hits = [0u32; 10];
    for &token in &batch.tokens {
        hits[token as usize] += 1;
    }
    assert!(hits.iter().all(|&n| (2900..3500).contains(&n)), "{hits:?}");
    assert!(batch.document_starts.is_none());
    assert_eq!(corpus.validation.sequences(), 64);

    let train = |options| Corpus::random(10, options).unwrap().train;
    assert_eq!(train(&options).batch(1000, 1000).unwrap(), batch);
    let other = Options { seed: 5, ..options.clone() };
    assert_ne!(train(&other).batch(1000, 1000).unwrap(), batch);

    let isolated = Options { isolate_documents: true, ..options.clone() };
    let batch = train(&isolated).batch(0, 3).unwrap();
    assert_eq!(batch.document_starts, Some(vec![0; 96]));
    assert_eq!(batch.target_count(), 96);
    assert_error(Corpus::random(0, &options), &["vocabulary of 0"]);
}
