//! The bytes that recomputation keeps and the operations it makes again, predicted and
//! measured; and that backward frees what it has used.
use ch03_recompute::config::{Config, Granularity, Precision};
use testkit::account::Subject;
use testkit::recompute::settings;

/// Three shapes: tied, untied with grouped heads, and one with every variant whose
/// sizes divide nothing, each with sequences that are, and are not, whole blocks.
#[test]
fn bytes_and_operations_are_those_of_the_closed_forms() {
    for (name, rows, seq_len, precision) in [
        ("nano", 4, 128, Precision::Fp32),
        ("nano", 8, 100, Precision::Bf16),
        ("tiny", 4, 128, Precision::Bf16),
        ("tiny", 8, 64, Precision::Fp32),
        ("grouped", 8, 200, Precision::Fp32),
        ("grouped", 12, 70, Precision::Fp64),
        ("grouped", 8, 128, Precision::Fp16),
    ] {
        let subject = Subject::named(name, rows, seq_len).unwrap();
        for (setting, config) in settings(subject.model.num_hidden_layers) {
            let config = Config { precision, ..config };
            let predicted = subject.predict_step(&config).unwrap();
            let measured = subject.measure_step(&config, 54).unwrap();
            let what = format!("{name} {precision:?} {setting}");
            assert_eq!(measured.flops, predicted.flops, "{what}");
            // Tokens, losses and the notes on the tape are not in the closed form.
            let saved = measured.saved as f64 / predicted.saved as f64;
            assert!((1.0..1.01).contains(&saved), "{what}: kept {saved}");
            let peak = measured.peak as f64 / predicted.peak as f64;
            assert!((0.99..1.01).contains(&peak), "{what}: peak {peak}");
        }
    }
}

/// After each layer's backward, what it had kept is gone; after the last, everything.
#[test]
fn backward_frees_what_it_has_used() {
    let subject = Subject::named("nano", 4, 128).unwrap();
    for (setting, config) in settings(subject.model.num_hidden_layers) {
        let moments = subject.watch_step(&config, 55).unwrap();
        let loss = moments.iter().position(|moment| moment.backward).unwrap();
        let at_loss = moments[loss - 1].saved;
        let last = moments.last().unwrap().saved;
        assert!(last < at_loss / 50, "{setting}: {last} is left");
        // Without recomputation nothing is ever added.
        if config.recompute == Granularity::None {
            let backward = &moments[loss..];
            assert!(backward.windows(2).all(|two| two[1].saved <= two[0].saved));
            let half = backward[backward.len() / 2].saved as f64 / at_loss as f64;
            assert!((0.4..0.6).contains(&half), "{half} is kept half way");
        }
    }
}
