//! Ranks that stop, skip and fail together.
use ch05_tensor_parallel::config::Precision;
use ch05_tensor_parallel::{Config, run};
use std::path::Path;

/// A few quick, quiet steps on four ranks, two of which hold the model together.
fn quick(text: &Path) -> Config {
    Config {
        data: vec![text.to_owned()],
        tokenizer: Some("bytes".into()),
        workers: 1,
        threads: 1,
        steps: 4,
        seq_len: 16,
        micro_batch: 1,
        global_batch: 4,
        validation_sequences: 4,
        quiet: true,
        tp: 2,
        dp: 2,
        ..Config::default()
    }
}

fn text() -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
    let letter = |i: u32| char::from(b'a' + (i * i % 7 + i % 19) as u8);
    std::fs::write(file.path(), (0..30_000).map(letter).collect::<String>()).unwrap();
    file
}

#[test]
fn all_ranks_skip_the_same_steps() {
    let text = text();
    let config = Config {
        precision: Precision::Fp16,
        initial_loss_scale: Some(2f64.powi(30)),
        steps: 30,
        loss_scale_window: Some(4),
        ..quick(text.path())
    };
    let ranks = run(&config).unwrap_or_else(|error| panic!("{error:#}"));
    let told = |rank: usize| {
        let step = |step: &runlog::Step| {
            let skipped = step.extra.contains_key("skipped");
            assert_eq!(skipped, !step.grad_norm.is_finite());
            (skipped, step.extra["loss_scale"].as_f64(), step.loss.to_bits())
        };
        ranks[rank].steps.iter().map(step).collect::<Vec<_>>()
    };
    let first = told(0);
    assert!(first == told(1) && first == told(2) && first == told(3));
    let skipped = first.iter().filter(|step| step.0).count();
    assert!((2..29).contains(&skipped), "{skipped} of 30 steps were skipped");
}

#[test]
fn a_run_that_diverges_ends_on_all_ranks_and_says_where() {
    let text = text();
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Bf16] {
        let config =
            Config { precision, lr: Some(1e30), warmup: Some(0), ..quick(text.path()) };
        let error = run(&config).err().expect("a run of NaN").to_string();
        assert!(error.contains(": step 2, micro-batch"), "{error}");
        assert!(error.contains("no parameter was changed by this step"), "{error}");
        // Although all ranks fail alike.
        assert!(error.lines().count() <= 3, "{error}");
        if precision == Precision::Fp32 {
            assert_eq!(error.matches("the gradient's norm is").count(), 1, "{error}");
        }
    }
}

/// Each rank alone goes over its own micro-batches; the report is of all.
#[test]
fn what_is_reported_is_of_all_ranks() {
    let text = text();
    let ranks = run(&quick(text.path())).unwrap();
    let one = Config { tp: 1, dp: 1, ..quick(text.path()) };
    let one = &run(&one).unwrap()[0];
    for rank in &ranks {
        for (step, want) in rank.steps.iter().zip(&one.steps) {
            assert_eq!(want.tokens, 64);
            assert_eq!(step.tokens, 64);
            assert!((step.loss / want.loss - 1.0).abs() < 1e-5);
        }
        assert_eq!(rank.val_loss, ranks[0].val_loss);
    }
    let [got, want] = [&ranks[0], one].map(|run| run.val_loss.unwrap());
    assert!((got / want - 1.0).abs() < 1e-5, "{got}, expected {want}");
}

/// All ranks end after the same step, and none leaves before those that hold the model
/// have put it together.
#[test]
fn what_was_learnt_before_a_run_diverged_is_saved() {
    let text = text();
    for (tp, dp) in [(2, 2), (4, 1), (1, 4)] {
        for precision in [Precision::Fp32, Precision::Bf16] {
            let folder = tempfile::tempdir().unwrap();
            let config = Config {
                tp,
                dp,
                precision,
                lr: Some(1e30),
                warmup: Some(0),
                save: Some(folder.path().to_owned()),
                ..quick(text.path())
            };
            let error = run(&config).err().expect("a run of NaN").to_string();
            assert!(error.contains(": step 2, micro-batch"), "{error}");
            let model = hub::Folder::open(&folder.path().to_string_lossy()).unwrap();
            assert!(model.weights().unwrap().names().count() > 10, "tp {tp}, dp {dp}");
        }
    }
}
