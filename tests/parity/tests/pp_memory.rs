//! What a stage keeps for backward at its peak is what its schedule promises.
//!
//! One test, in a process of its own: nobody else uses the ranks' memory accounts.
use ch07_pipeline_parallel::config::Granularity;
use parity::pp_stage::{Kept, Setting, schedules};
use parity::small::wide_models;
use parity::tp_memory;

/// Within two hundredths.
fn near(counted: u64, want: f64) -> bool {
    (counted as f64 - want).abs() <= 0.02 * want
}

/// A micro-batch in a chunk keeps what chapter 6 has as a closed form, layer by layer,
/// and of backward's two halves the second needs as much memory as both: of the
/// activations its half is left, and beside them are the gradients, as scratch.
fn check_chunks(setting: &Setting, kept: &Kept, name: &str) {
    let layers = setting.model.num_hidden_layers / setting.pp / setting.chunks;
    let mut model = setting.model.clone();
    model.num_hidden_layers = layers;
    let alone = tp_memory::Setting {
        model,
        rows: setting.rows,
        seq_len: setting.seq_len,
        tp: 1,
        sequence: false,
        recompute: ch06_sequence_parallel::config::Granularity::None,
    };
    let form = alone.predict();
    let want = alone.bytes(form.streams + form.pairs);
    for (chunk, [all, half]) in &kept.chunks {
        assert!(near(*all, want), "{name}: chunk {chunk} keeps {all}, not {want}");
        let later = half + kept.put_off;
        assert!(
            near(later, *all as f64) && half * 2 < *all,
            "{name}: chunk {chunk} keeps {all}, and {half} + {} when half is done",
            kept.put_off
        );
    }
}

#[test]
fn stages_keep_what_the_plan_says() {
    // So wide an MLP that what is on its way between stages is little beside it: a
    // hidden state is an activation until the next stage has it.
    let (_, mut model) = wide_models()[0].clone();
    (model.intermediate_size, model.num_hidden_layers) = (6144, 8);
    let mut seen = 0;
    for (pp, micros) in [(4, 8), (4, 3), (2, 6), (1, 2)] {
        for (name, schedule) in schedules().unwrap() {
            let setting = Setting {
                model: model.clone(),
                chunks: schedule.usual_chunks(),
                schedule,
                pp,
                micros,
                rows: 1,
                seq_len: 16,
                recompute: Granularity::None,
            };
            let plan = setting.plan().unwrap();
            let in_halves = name.starts_with("zb");
            for (stage, kept) in setting.measure().unwrap().iter().enumerate() {
                let name =
                    format!("{name}, {micros} micro-batches, stage {stage}/{pp}");
                check_chunks(&setting, kept, &name);
                let chunk = kept.chunks.values().map(|[all, _]| *all).max().unwrap();
                let promised = plan.most_held(stage) as f64 * chunk as f64;
                let exact = kept.predict(&plan, stage) as f64;
                println!("{name}: {} of {promised}, {exact}", kept.peak);
                assert!(
                    near(kept.peak, exact),
                    "{name}: keeps {} bytes, its actions {exact}",
                    kept.peak
                );
                // In halves, activations are fewer, and the rest is scratch.
                assert!(
                    near(kept.peak, promised)
                        || in_halves && (kept.peak as f64) < promised,
                    "{name}: keeps {} bytes, its plan {promised}",
                    kept.peak
                );
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 5 * (4 + 4 + 2 + 1));
}
