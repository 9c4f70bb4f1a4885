//! What the program holds in memory in each precision, says and leaves behind.
use crate::common::{folder, quick, train, values};
use ch02_mixed_precision::Config;
use ch02_mixed_precision::config::Precision::Bf16;
use hub::Folder;
use params::ParamBuilder;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// The records of a few steps of the preset nano by the program.
fn records(folder: &Path, flags: &[&str]) -> (Vec<Value>, String) {
    let log = folder.join("log.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_ch02_mixed_precision"))
        .args(["--steps=3", "--data", "random", "--threads=1", "--sample=0"])
        .args(["--seq-len=64", "--micro-batch=4", "--global-batch=8"])
        .args(["--validation-sequences=2", "--log"])
        .arg(&log)
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let log = std::fs::read_to_string(log).unwrap();
    let records = log.lines().map(|line| serde_json::from_str(line).unwrap());
    (records.collect(), text)
}

/// Peak bytes of a family.
fn peak(records: &[Value], family: &str) -> f64 {
    let account = &records.last().unwrap()["last"]["memory"][0];
    account[family]["peak"].as_f64().unwrap_or_else(|| panic!("{account}"))
}

#[test]
fn sixteen_bits_halve_activations_and_not_the_states() {
    let folder = tempfile::tempdir().unwrap();
    let run = |precision| records(folder.path(), &["--precision", precision]).0;
    let (fp32, bf16, fp16) = (run("fp32"), run("bf16"), run("fp16"));
    let elements = fp32[0]["run"]["parameters"].as_f64().unwrap();
    for (records, bytes) in [(&fp32, 4.0), (&bf16, 6.0), (&fp16, 6.0)] {
        // A value of 2 bytes and its master of 4.
        assert_eq!(peak(records, "parameters") / elements, bytes);
        assert_eq!(peak(records, "gradients") / elements, 4.0);
        assert_eq!(peak(records, "optimizer") / elements, 8.0);
    }
    for records in [&bf16, &fp16] {
        let share =
            peak(records, "saved_for_backward") / peak(&fp32, "saved_for_backward");
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }
}

#[test]
fn a_skipped_step_is_said_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let scale = (2f64.powi(60)).to_string();
    let (records, said) =
        records(folder.path(), &["--precision=fp16", "--initial-loss-scale", &scale]);
    let line = "step 1, micro-batch 0: a gradient overflows fp16; step skipped, loss \
                scale now";
    assert!(said.contains(line), "{said}");
    let step = records.iter().find(|record| record["step"] == 1).unwrap();
    assert_eq!(step["skipped"], true);
    assert_eq!(step["loss_scale"], 2f64.powi(60));
    assert_eq!(step["grad_norm"], Value::Null);
    assert!(step["nonfinite"]["grad_norm"].is_string(), "{step}");
    assert!(
        records.last().unwrap()["last"]["steps"].as_u64() == Some(3),
        "{records:?}"
    );
}

#[test]
fn a_saved_model_is_the_one_that_was_trained() {
    let (model, data) = folder();
    let saved = model.path().join("saved");
    let config = quick(model.path(), &data, Bf16);
    let run = train(&Config { save: Some(saved.clone()), ..config });
    let folder = Folder::open(saved.to_str().unwrap()).unwrap();
    let mut builder = ParamBuilder::new(0, candle_core::DType::F32);
    let config = folder.config().unwrap();
    let dtype = candle_core::DType::F32;
    ch01_single_gpu::model::Transformer::new(&config, 8, dtype, &mut builder).unwrap();
    let params = builder.build_zeros().unwrap();
    ch01_single_gpu::weights::load(&params, &folder.weights().unwrap()).unwrap();
    // fp32 holds each bf16 number exactly.
    assert!(values(&params) == values(&run.params));
}
