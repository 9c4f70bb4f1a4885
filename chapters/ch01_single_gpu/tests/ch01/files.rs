//! The records and the folder that a run leaves.
use crate::common::{fixture, program, said};
use serde_json::Value;
use std::fs;
use std::path::Path;

const FLAGS: [&str; 14] = [
    "--steps=5",
    "--seq-len=16",
    "--micro-batch=2",
    "--global-batch=4",
    "--validation-sequences=4",
    "--warmup=2",
    "--lr=0.003",
    "--threads=1",
    "--sample=0",
    "--data",
    "random",
    "--log",
    "logs/run.jsonl",
    "--save=out",
];

fn run(folder: &Path) -> String {
    let output = program(folder, &FLAGS).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn a_run_leaves_its_records_and_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let text = run(folder.path());
    assert!(text.contains("saved the model in out"), "{text}");
    assert!(text.contains("records: logs/run.jsonl"), "{text}");

    let path = folder.path().join("logs/run.jsonl");
    let first_text = fs::read_to_string(&path).unwrap();
    assert!(first_text.ends_with('\n'));
    let records: Vec<Value> =
        first_text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 7, "{first_text}");
    let config = &records[0]["run"]["config"];
    assert_eq!((&config["model"], &config["seed"]), (&"nano".into(), &1.into()));
    assert_eq!(records[0]["steps"], 5);
    assert_eq!((&config["steps"], &config["precision"]), (&5.into(), &"fp32".into()));

    let float = |record: &Value, name: &str| -> f64 {
        let number = record[name].as_f64();
        number.unwrap_or_else(|| panic!("{name} is no number in {record}"))
    };
    for (i, record) in records[1..6].iter().enumerate() {
        assert_eq!(record["step"], i as u64 + 1);
        assert_eq!(record["tokens"], 64);
        assert!(float(record, "seconds") > 0.0);
        // Values, gradients and moments of 800 thousand parameters.
        assert!(float(record, "bytes_peak") > 12e6, "{record}");
        assert!((4.0..7.0).contains(&float(record, "loss")), "{record}");
        assert!(float(record, "grad_norm") > 0.0);
        let lr = match i + 1 {
            step @ 1..=2 => 0.003 * step as f64 / 2.0,
            step => {
                let angle = std::f64::consts::PI * (step - 2) as f64 / 3.0;
                0.003 * (0.1 + 0.45 * (1.0 + angle.cos()))
            }
        };
        assert!((float(record, "lr") / lr - 1.0).abs() < 1e-14, "{record}");
    }
    let last = &records[6];
    assert!((4.0..7.0).contains(&float(last, "val_loss")), "{last}");
    assert_eq!(last["last"]["interrupted"], false);
    assert_eq!(
        (&last["last"]["steps"], &last["last"]["tokens"]),
        (&5.into(), &320.into())
    );

    // The same run again: the same numbers, to the last bit, in a file of its own.
    let text = run(folder.path());
    assert!(text.contains("`logs/run.jsonl` existed: it is now `logs/run.jsonl.1`"));
    let aside = fs::read_to_string(path.with_extension("jsonl.1")).unwrap();
    assert_eq!(aside, first_text);
    let (old, new) =
        (runlog::read(&path.with_extension("jsonl.1")), runlog::read(&path).unwrap());
    for (old, new) in old.unwrap().steps.iter().zip(&new.steps) {
        assert_eq!(old.loss.to_bits(), new.loss.to_bits());
        assert_eq!(old.grad_norm.to_bits(), new.grad_norm.to_bits());
    }
    run(folder.path());
    assert_eq!(fs::read_dir(folder.path().join("logs")).unwrap().count(), 3);
}

/// As many digits as the number has: an fp64 run of the library and of the program
/// agree to the last bit.
#[test]
fn records_have_full_precision() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [&FLAGS[..], &["--precision=fp64"]].concat();
    let output = program(folder.path(), &flags).output().unwrap();
    said(&output);
    let log = runlog::read(&folder.path().join("logs/run.jsonl")).unwrap();

    use clap::Parser;
    let flags: Vec<&str> = FLAGS[..11].to_vec();
    let flags = [&["ch01"], &flags[..], &["--precision=fp64", "--quiet"]].concat();
    let config = ch01_single_gpu::Config::parse_from(flags);
    let outcome = ch01_single_gpu::run(&config).unwrap();
    assert_eq!(log.steps.len(), outcome.steps.len());
    for (read, made) in log.steps.iter().zip(&outcome.steps) {
        assert_eq!(read.loss.to_bits(), made.loss.to_bits());
        assert_eq!(read.grad_norm.to_bits(), made.grad_norm.to_bits());
        assert_eq!(read.lr.to_bits(), made.lr.to_bits());
    }
    let validation = log.last.unwrap()["val_loss"].as_f64().unwrap();
    assert_eq!(validation.to_bits(), outcome.val_loss.unwrap().to_bits());
}

#[test]
fn a_saved_model_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("llama");
    let train = |model: &str, save: &str, log: &str, steps: &str, lr: &str| {
        let flags = [
            "--model",
            model,
            "--data=random",
            "--seq-len=16",
            "--micro-batch=4",
            "--global-batch=4",
            "--warmup=0",
            "--validation-sequences=8",
            "--sample=0",
            "--threads=1",
            "--save",
            save,
            "--log",
            log,
            "--steps",
            steps,
            "--lr",
            lr,
        ];
        let output = program(folder.path(), &flags).output().unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        let log = runlog::read(&folder.path().join(log)).unwrap();
        log.last.unwrap()["val_loss"].as_f64().unwrap()
    };
    let before = train(model.to_str().unwrap(), "a", "a.jsonl", "3", "0.01");
    // A learning rate of 0 moves nothing, so the validation loss is what was saved.
    let after = train("a", "b", "b.jsonl", "1", "0");
    assert_eq!(before.to_bits(), after.to_bits());
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("a/model.safetensors") == bytes("b/model.safetensors"));
    let untrained = fs::read(model.join("model.safetensors")).unwrap();
    assert!(bytes("a/model.safetensors")[..] != untrained[..]);
}
