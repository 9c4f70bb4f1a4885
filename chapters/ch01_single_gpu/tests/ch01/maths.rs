//! What may not depend on how a step is computed.
use crate::common::{self, SEQ_LEN, build, distance, numbers, tiny, train, values};
use candle_core::{D, DType};
use ch01_single_gpu::config::Precision;
use ch01_single_gpu::{Config, model::Transformer, weights};
use corpus::{Batch, Corpus, IGNORE, Tokenizer};
use hub::Family;
use std::path::Path;

/// Runs 1×8 and every division of it into micro-batches; every loss, norm and final
/// weight agrees within `bound`, relative to its size (of a tensor: its norm).
fn micro_batches_agree(base: &Config, bound: f64) {
    let whole = train(base);
    for micro_batch in [4, 2, 1] {
        let parts = train(&Config { micro_batch, ..base.clone() });
        assert_eq!(parts.steps.len(), whole.steps.len());
        for (part, want) in parts.steps.iter().zip(&whole.steps) {
            assert_eq!(part.tokens, want.tokens);
            let loss = (part.loss / want.loss - 1.0).abs();
            let norm = (part.grad_norm / want.grad_norm - 1.0).abs();
            let at = format!("micro-batch {micro_batch}, step {}", want.step);
            assert!(loss <= bound, "{at}: loss {} {}", part.loss, want.loss);
            assert!(norm <= bound, "{at}: norm {} {}", part.grad_norm, want.grad_norm);
        }
        let both = values(&parts.params).into_iter().zip(values(&whole.params));
        for ((name, part), (_, want)) in both {
            let off = distance(&part, &want);
            assert!(
                off <= bound,
                "micro-batch {micro_batch}: {name} is off by {off:e}"
            );
        }
    }
}

#[test]
fn micro_batches_change_nothing_in_fp64() {
    let model = common::folder(&tiny(Family::Llama));
    let data = common::uneven_text(model.path());
    let config = common::quick(model.path(), &data);
    // Worth something only if rows have different numbers of targets.
    let batch = corpus(&config).train.batch(0, 8).unwrap();
    let count = |row: &[u32]| row.iter().filter(|&&t| t != IGNORE).count();
    let counts: Vec<usize> = batch.targets.chunks(SEQ_LEN).map(count).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least > 0 && *most >= least + 6, "{counts:?}");

    micro_batches_agree(&config, 1e-12);
}

/// In fp32 a gradient is off by δ ≈ 2⁻²⁰ of its typical size (some tens of
/// additions in another order, each off by 2⁻²⁴). Adam divides by that size:
/// elements with gradients larger than δ move by δ · lr, and the share δ of them
/// that is smaller moves anywhere, by up to lr. Together √(2δ) · lr per step, norm-
/// wise; against weights of 0.02 and four steps of 2e-5 that is 1.4e-3 · 4 · 2e-5 /
/// 0.02 = 5.5e-6. Losses and norms are off by δ and by what such weights make of
/// it.
#[test]
fn micro_batches_change_rounding_only_in_fp32() {
    let model = common::folder(&tiny(Family::Llama));
    let data = common::uneven_text(model.path());
    let base = Config {
        precision: Precision::Fp32,
        lr: Some(2e-5),
        ..common::quick(model.path(), &data)
    };
    micro_batches_agree(&base, 1e-5);
}

/// What a run with `config` reads, and starts from.
fn corpus(config: &Config) -> Corpus {
    let options = corpus::Options {
        files: config.data.clone(),
        seq_len: config.seq_len,
        seed: config.seed,
        isolate_documents: config.isolate_documents,
        quiet: true,
        ..corpus::Options::default()
    };
    Corpus::open(&options, &Tokenizer::Bytes).unwrap()
}

fn loaded(config: &Config) -> Transformer {
    let (model, params) = build(&tiny(Family::Llama), 0, DType::F64).unwrap();
    let files = hub::Folder::open(&config.model).unwrap().weights().unwrap();
    weights::load(&params, &files).unwrap();
    model
}

/// The negative log-likelihood of each target that counts, from the logits, by candle.
fn plain_losses(model: &Transformer, batch: &Batch) -> Vec<f64> {
    let logits = model.logits(batch).unwrap().flatten(0, 1).unwrap();
    let highest = logits.max_keepdim(D::Minus1).unwrap();
    let shifted = logits.broadcast_sub(&highest).unwrap();
    let sums = shifted.exp().unwrap().sum_keepdim(D::Minus1).unwrap();
    let log_probabilities = shifted.broadcast_sub(&sums.log().unwrap()).unwrap();
    let rows = log_probabilities.to_vec2::<f64>().unwrap();
    let targets = batch.targets.iter().zip(rows);
    let counted = targets.filter(|&(&target, _)| target != IGNORE);
    counted.map(|(&target, row)| -row[target as usize]).collect()
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn losses_are_means_over_tokens() {
    let folder = common::folder(&tiny(Family::Llama));
    let data = common::uneven_text(folder.path());
    // Nothing moves, so that both losses are of the weights in the folder.
    let base = Config {
        steps: 1,
        lr: Some(0.0),
        micro_batch: 2,
        validation_sequences: 7,
        ..common::quick(folder.path(), &data)
    };
    let (model, corpus) = (loaded(&base), corpus(&base));
    let training = plain_losses(&model, &corpus.train.batch(0, 8).unwrap());
    let validation = plain_losses(&model, &corpus.validation.batch(0, 7).unwrap());
    for (micro_batch, global_batch) in [(2, 8), (1, 8), (8, 8), (4, 8)] {
        let config = Config { micro_batch, global_batch, ..base.clone() };
        let outcome = train(&config);
        let step = &outcome.steps[0];
        assert_eq!(step.tokens, training.len() as u64);
        let off = (step.loss / mean(&training) - 1.0).abs();
        assert!(off <= 1e-12, "{} {}", step.loss, mean(&training));
        let (got, want) = (outcome.val_loss.unwrap(), mean(&validation));
        assert!((got / want - 1.0).abs() <= 1e-12, "validation: {got} {want}");
    }
}

#[test]
fn isolated_documents_do_not_see_each_other() {
    let folder = common::folder(&tiny(Family::Llama));
    let data = common::uneven_text(folder.path());
    let config = common::quick(folder.path(), &data);
    let (model, corpus) = (loaded(&config), corpus(&config));
    let row = (0..50).map(|row| corpus.train.batch(row, 1).unwrap()).find(|batch| {
        let start = batch.document_starts.as_ref().unwrap()[SEQ_LEN - 1];
        (3..SEQ_LEN as u32 - 3).contains(&start)
    });
    let row = row.unwrap();
    let start = row.document_starts.as_ref().unwrap()[SEQ_LEN - 1] as usize;
    let mut other = row.clone();
    other.tokens[..start].iter_mut().for_each(|token| *token = (*token + 1) % 256);
    let logits = |batch: &Batch| numbers(&model.logits(batch).unwrap());
    let (row, other) = (logits(&row), logits(&other));
    assert!(row[start * 256..] == other[start * 256..], "a document sees another");
    assert!(row[..start * 256] != other[..start * 256]);
}

#[test]
fn a_seed_decides_everything_and_threads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let base = Config {
        precision: Precision::Fp32,
        steps: 2,
        seq_len: 64,
        micro_batch: 4,
        lr: None,
        ..common::quick(Path::new("nano"), &common::uneven_text(folder.path()))
    };
    let curve = |config: &Config| {
        let outcome = train(config);
        let bits =
            |step: &runlog::Step| (step.loss.to_bits(), step.grad_norm.to_bits());
        let steps: Vec<_> = outcome.steps.iter().map(bits).collect();
        (steps, values(&outcome.params))
    };
    let first = curve(&base);
    assert!(first == curve(&base), "the same seed gave another run");
    let threads = Config { threads: 2, workers: 2, ..base.clone() };
    assert!(first == curve(&threads), "two threads gave another run");

    // Another seed: other weights (nothing moves them here), and, from the same
    // weights, another order of the data.
    let still = Config { lr: Some(0.0), steps: 1, ..base };
    let other = curve(&Config { seed: 2, ..still.clone() });
    assert!(curve(&still).1 != other.1, "another seed drew the same weights");
    let folder = common::folder(&tiny(Family::Llama));
    let model = folder.path().to_string_lossy().into_owned();
    let loaded = Config { model, seq_len: SEQ_LEN, ..still };
    let other = curve(&Config { seed: 2, ..loaded.clone() });
    let first = curve(&loaded);
    assert!(first.1 == other.1 && first.0 != other.0, "the same order of the data");
}

#[test]
fn the_loss_falls() {
    let config = Config {
        data: vec![],
        steps: 60,
        micro_batch: 8,
        global_batch: 8,
        seq_len: 64,
        validation_sequences: 100,
        quiet: true,
        sample: 0,
        ..Config::default()
    };
    let outcome = train(&config);
    let loss = |i: usize| outcome.steps[i].loss;
    assert!(loss(59) < loss(0) - 2.0, "from {} to {}", loss(0), loss(59));
    let validation = outcome.val_loss.unwrap();
    assert!((validation - loss(59)).abs() < 0.5, "{validation} {}", loss(59));
}
