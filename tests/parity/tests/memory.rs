//! What tensor and sequence parallelism keep for backward is the closed form.
//!
//! One test, in a process of its own: nobody else uses the ranks' memory accounts.
use ch06_sequence_parallel::{Config, inputs};
use parity::small::wide_models;
use parity::tp_memory::{RECOMPUTE, Setting};

/// Rows of a micro-batch, tokens of each.
const SHAPES: [[usize; 2]; 2] = [[1, 128], [3, 64]];

#[test]
fn saved_for_backward_is_the_closed_form() {
    let config = Config { model: "tiny".into(), ..Config::default() };
    let mut models = vec![("tiny", inputs::open(&config).unwrap().model)];
    // With QK-norm, biases, and fewer key/value heads than ranks.
    models.extend(wide_models());
    let mut seen = 0;
    for (i, (name, model)) in models.into_iter().enumerate() {
        let [rows, seq_len] = SHAPES[i.min(1)];
        let layers = model.num_hidden_layers;
        for (how, recompute) in RECOMPUTE {
            for (tp, sequence) in
                [1, 2, 4, 8].into_iter().flat_map(|tp| [(tp, false), (tp, true)])
            {
                let model = model.clone();
                let setting = Setting { model, rows, seq_len, tp, sequence, recompute };
                assert!(setting.fits());
                let want = setting.bytes(setting.predict().total());
                for (rank, counted) in
                    setting.measure().unwrap().into_iter().enumerate()
                {
                    let more = counted as f64 - want;
                    // Besides: token ids and targets, and the notes on the tape.
                    let mut room = (64 * rows * seq_len + 4096 * layers) as f64;
                    if name == "tiny" && how == "none" {
                        room = room.min(0.02 * want);
                    }
                    assert!(
                        (0.0..room).contains(&more),
                        "{name}, tp {tp}, sequence {}, recompute {how}: rank {rank} \
                         keeps {counted} bytes, the closed form has {want}",
                        if sequence { "cut" } else { "whole" },
                    );
                    seen += 1;
                }
            }
        }
    }
    // All ranks of all layouts.
    assert_eq!(seen, 5 * 3 * 2 * (1 + 2 + 4 + 8));
}
