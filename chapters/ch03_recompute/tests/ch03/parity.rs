//! Whatever is recomputed: losses, gradients, their norm and the weights are those of
//! keeping everything, bit for bit, in every precision; and those of chapter 2.
use crate::common::{bits, folder, models, quick, settings, train};
use ch03_recompute::Config;
use ch03_recompute::config::Precision::{self, Bf16, Fp16, Fp32, Fp64};

fn compare(precision: Precision) {
    for (name, model) in models() {
        let (folder, data) = folder(&model);
        let base = quick(folder.path(), &data, precision);
        let want = bits(&train(&base));
        for config in settings(&base) {
            let got = bits(&train(&config));
            let what = format!(
                "{name}: {:?} {:?} {:?} {:?}",
                config.recompute,
                config.recompute_modules,
                config.recompute_method,
                config.recompute_layers
            );
            assert_eq!(got.0, want.0, "{what}: losses or norms");
            for ((param, got), (_, want)) in got.1.iter().zip(&want.1) {
                assert!(got == want, "{what}: {param}");
            }
        }
    }
}

#[test]
fn fp32_is_the_same_bit_for_bit() {
    compare(Fp32);
}

#[test]
fn fp64_is_the_same_bit_for_bit() {
    compare(Fp64);
}

#[test]
fn bf16_is_the_same_bit_for_bit() {
    compare(Bf16);
}

#[test]
fn fp16_is_the_same_bit_for_bit() {
    compare(Fp16);
}

#[test]
fn without_recomputation_it_is_chapter_2_bit_for_bit() {
    use ch02_mixed_precision::config::Precision as Before;
    let (folder, data) = folder(&models()[2].1);
    for (precision, before) in [(Fp32, Before::Fp32), (Bf16, Before::Bf16)] {
        let config = quick(folder.path(), &data, precision);
        let got = bits(&train(&config));
        let Config { model, data, tokenizer, seq_len, lr, .. } = config;
        let want = ch02_mixed_precision::run(&ch02_mixed_precision::Config {
            model,
            data,
            tokenizer,
            workers: 1,
            threads: 1,
            isolate_documents: true,
            steps: config.steps,
            warmup: config.warmup,
            seq_len,
            micro_batch: config.micro_batch,
            global_batch: config.global_batch,
            lr,
            precision: before,
            validation_sequences: config.validation_sequences,
            quiet: true,
            ..ch02_mixed_precision::Config::default()
        })
        .unwrap();
        let want = ch03_recompute::run::Outcome {
            steps: want.steps,
            val_loss: want.val_loss,
            params: want.params,
            interrupted: want.interrupted,
        };
        assert!(got == bits(&want), "{precision:?}");
    }
}
