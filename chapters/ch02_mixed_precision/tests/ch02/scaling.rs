//! Loss scaling in fp16: what an overflow does, and what it leaves alone.
use crate::common::{folder, quick, train, values};
use ch02_mixed_precision::Config;
use ch02_mixed_precision::config::Precision::{Bf16, Fp16};
use runlog::Step;

fn skipped(step: &Step) -> bool {
    step.extra.get("skipped").is_some_and(|skipped| skipped == true)
}

fn scale(step: &Step) -> f64 {
    step.extra["loss_scale"].as_f64().unwrap()
}

#[test]
fn overflows_halve_the_scale_and_steps_without_double_it() {
    let (model, data) = folder();
    let config = Config {
        initial_loss_scale: Some(2f64.powi(40)),
        loss_scale_window: Some(3),
        steps: 40,
        ..quick(model.path(), &data, Fp16)
    };
    let steps = train(&config).steps;
    assert_eq!(steps.len(), 40);
    assert_eq!(scale(&steps[0]), 2f64.powi(40));
    assert!(skipped(&steps[0]) && !steps[0].grad_norm.is_finite());
    let mut good = 0;
    for pair in steps.windows(2) {
        good = if skipped(&pair[0]) { 0 } else { good + 1 };
        let factor = match (skipped(&pair[0]), good) {
            (true, _) => 0.5,
            (false, 3) => 2.0,
            _ => 1.0,
        };
        good %= 3;
        assert_eq!(scale(&pair[1]) / scale(&pair[0]), factor, "step {}", pair[1].step);
        assert_eq!(skipped(&pair[0]), !pair[0].grad_norm.is_finite());
    }
    // It found its place, and was too large again later.
    let first_made = steps.iter().position(|step| !skipped(step)).unwrap();
    assert!(first_made > 5 && steps[first_made..].iter().any(skipped), "{first_made}");
}

/// All rows alike, so that each step has the same gradient: a run whose first steps are
/// skipped must end, bit for bit, as a run of its last step alone.
#[test]
fn a_skipped_step_changes_nothing() {
    let (model, _) = folder();
    let data = model.path().join("same.txt");
    std::fs::write(&data, "a".repeat(20_000)).unwrap();
    let config = Config {
        warmup: Some(0),
        isolate_documents: false,
        initial_loss_scale: Some(2f64.powi(40)),
        ..quick(model.path(), &data, Fp16)
    };
    let enough = train(&Config { steps: 40, ..config.clone() }).steps;
    let skips = enough.iter().position(|step| !skipped(step)).unwrap();
    assert!(skips > 3);
    let steps = skips as u64 + 1;
    let run = train(&Config { steps, ..config.clone() });
    let last = run.steps.last().unwrap();
    assert!(!skipped(last) && run.steps[..skips].iter().all(skipped));
    let initial_loss_scale = Some(scale(last));
    let alone = train(&Config { steps: 1, initial_loss_scale, ..config.clone() });
    assert_eq!(alone.steps[0].loss, last.loss);
    assert_eq!(alone.steps[0].lr, last.lr);
    assert!(values(&run.params) == values(&alone.params), "a state was changed");
    // And a run of skipped steps alone has the weights that it began with.
    let none = train(&Config { steps: skips as u64, ..config.clone() });
    let still = train(&Config { steps: 1, lr: Some(0.0), ..config });
    assert!(values(&none.params) == values(&still.params));
    assert!(values(&none.params) != values(&run.params));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run() {
    let (model, data) = folder();
    for precision in [Fp16, Bf16] {
        let config = Config {
            lr: Some(1e30),
            warmup: Some(0),
            micro_batch: 4,
            ..quick(model.path(), &data, precision)
        };
        let error = ch02_mixed_precision::run(&config).err().expect("a run of NaN");
        let error = format!("{error:#}");
        // The weights after step 1 are enormous: what overflows first depends on the
        // range. Of both micro-batches it is the first that is named.
        let what = match precision {
            Fp16 => "step 2, micro-batch 0: the loss is ",
            _ => "step 2, micro-batch 0: the gradient's norm is ",
        };
        assert!(error.starts_with(what), "{error}");
        assert!(error.contains("no parameter was changed by this step"), "{error}");
    }
}
