//! The two counts that every chapter starts from, predicted and measured.
use hub::ModelConfig;
use testkit::account::{Counts, Subject};

/// Both, measured on so many threads; memory is booked to `rank`.
fn both(name: &str, rows: usize, seq_len: usize, rank: usize) -> [Counts; 2] {
    let subject = Subject::named(name, rows, seq_len).unwrap();
    [subject.predict(), subject.measure(rank).unwrap()]
}

/// What must agree exactly: everything but what is held besides.
fn exact(counts: Counts) -> Counts {
    Counts { held: 0, saved: 0, ..counts }
}

#[track_caller]
fn agree(name: &str, [predicted, measured]: [Counts; 2]) {
    assert_eq!(exact(measured), exact(predicted), "{name}");
    // Names and tables of angles: little. (What is known about the speed of products is
    // shared by all ranks, and so may move between their accounts meanwhile.)
    let held = measured.held as f64 / predicted.held as f64;
    assert!(
        (0.995..1.05).contains(&held),
        "{name}: {held} of what was predicted is held"
    );
    // Tokens, losses and the notes on the tape, beside the activations themselves.
    let saved = measured.saved as f64 / predicted.saved as f64;
    assert!((1.0..1.005).contains(&saved), "{name}: {saved} of what was predicted");
}

#[test]
fn a_step_needs_and_makes_what_the_closed_forms_say() {
    // Sequences that are, and are not, whole blocks of attention; one shorter than one.
    for (name, rows, seq_len) in [
        ("nano", 8, 128),
        ("tiny", 4, 128),
        ("grouped", 8, 200),
        ("grouped", 3, 64),
        ("grouped", 16, 37),
    ] {
        agree(name, both(name, rows, seq_len, 51));
    }
}

#[test]
fn a_parameter_costs_sixteen_bytes() {
    let [_, measured] = both("nano", 1, 16, 52);
    let n = measured.elements;
    let three = [measured.parameters, measured.gradients, measured.optimizer];
    assert_eq!(three, [4 * n, 4 * n, 8 * n]);
}

#[test]
fn only_activations_grow_with_the_batch() {
    let [one, three] = [2, 6].map(|rows| both("grouped", rows, 70, 53)[1]);
    let states = |c: Counts| [c.parameters, c.gradients, c.optimizer];
    assert_eq!(states(one), states(three));
    assert_eq!(three.matrices, 3 * one.matrices);
    let growth = three.saved as f64 / one.saved as f64;
    assert!((2.9..=3.0).contains(&growth), "{growth}");
}

#[test]
fn threads_change_no_count() {
    let counts = |threads| {
        let _threads = ops::threads::own(threads);
        exact(both("grouped", 2, 200, 54)[1])
    };
    let alone = counts(1);
    for threads in [2, 5] {
        assert_eq!(counts(threads), alone, "{threads} threads");
    }
}

/// Chapter 1's convention is what its matrices really made, and attention by half.
#[test]
fn the_convention_of_the_first_chapter_counts_its_matrices_exactly() {
    for name in ["nano", "tiny", "grouped"] {
        let subject = Subject::named(name, 2, 128).unwrap();
        let measured = subject.measure(55).unwrap();
        let model = &subject.model;
        let width = model.num_attention_heads * model.head_dim;
        let half = 6 * model.num_hidden_layers * 128 * width;
        let want = measured.matrices / subject.tokens() + half as u64;
        assert_eq!(subject.conventions().ours, want as f64, "{name}");
    }
}

/// Of two blocks, three quarters are computed where half would do, and backward
/// computes the scores again: seven products for six.
#[test]
fn attention_makes_more_than_its_convention() {
    let subject = Subject::named("nano", 8, 128).unwrap();
    let measured = subject.measure(56).unwrap();
    let convention = subject.conventions().ours * subject.tokens() as f64;
    let half = convention - measured.matrices as f64;
    assert_eq!(measured.attention as f64 / half, (0.75 / 0.5) * 7.0 / 6.0);
}

#[test]
fn closed_forms_agree_with_what_is_published() {
    // meta-llama/Llama-2-7b on the Hugging Face hub.
    let llama = Subject::named("llama-2-7b", 1, 4096).unwrap();
    assert_eq!(llama.predict().elements, 6_738_415_616);
    assert_eq!(llama.model.parameters(), 6_738_415_616);

    // Narayanan et al. 2021, §5.1: a GPT whose MLP has 8 h² elements; our gated one has
    // as many with 8/3 h.
    let (layers, h, s, vocab) = (80, 12_288, 2048, 51_200);
    let model = ModelConfig {
        vocab_size: vocab,
        num_hidden_layers: layers,
        hidden_size: h,
        num_attention_heads: 96,
        num_key_value_heads: 96,
        intermediate_size: 8 * h / 3,
        ..llama.model
    };
    let found =
        Subject { name: "gpt".into(), model, rows: 1, seq_len: s }.conventions();
    let [layers, h, s, vocab] = [layers, h, s, vocab].map(|n| n as f64);
    let paper = |factor: f64, logits: f64| {
        factor * layers * h * h * (1.0 + s / (6.0 * h) + vocab / (logits * h * layers))
    };
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
    assert!(close(found.sc21_recompute, paper(96.0, 16.0)));
    assert!(close(found.sc21, paper(72.0, 12.0)));
}

#[test]
fn a_model_of_no_known_name_is_refused() {
    let error = Subject::named("huge", 1, 8).err().expect("an error");
    let error = format!("{error:#}");
    assert!(error.contains("huge") && error.contains("grouped"), "{error}");
}
