//! The files a run leaves: every record, every bit, and nobody else's lost.

use memory::Family;
use runlog::{Last, Options, RunLog, Step, read};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn options(path: &Path) -> Options {
    let header = json!({"model": "nano", "seed": 7});
    Options {
        steps: 10,
        jsonl: Some(path.to_path_buf()),
        header,
        quiet: true,
        ..Options::default()
    }
}

fn step(step: u64) -> Step {
    Step {
        step,
        loss: 0.1 + 0.2 / step as f64,
        grad_norm: 1.0 / 3.0,
        lr: 3e-4,
        tokens: 1024,
        seconds: 0.25,
        bytes_peak: u64::MAX,
        ..Step::default()
    }
}

fn error(options: Options) -> String {
    format!("{:#}", RunLog::start(options).unwrap_err())
}

#[test]
fn a_killed_run_keeps_every_step_and_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/run.jsonl");
    let mut log = RunLog::start(options(&path)).unwrap();
    let numbers =
        [5e-324, f64::MAX, 0.1 + 0.2, -0.0, 1e23, 123456789.0, 2.2250738585072014e-308];
    let mut written = Vec::new();
    for (i, &x) in numbers.iter().enumerate() {
        written.push(Step { loss: x, grad_norm: -x, ..step(1 + i as u64) });
        log.step(written.last().unwrap()).unwrap();
        // In the file at once, not when the run ends.
        let back = read(&path).unwrap();
        assert_eq!(back.steps, written);
        assert_eq!(back.steps[i].loss.to_bits(), x.to_bits());
        assert_eq!(back.last, None);
    }
    let first: Value = first_line(&path);
    assert_eq!(first["run"], json!({"model": "nano", "seed": 7}));
    assert_eq!(first["steps"], 10);
}

fn first_line(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn any_number_comes_back_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut log = RunLog::start(options(&path)).unwrap();
    let mut seed = 1u64;
    let mut written = Vec::new();
    for i in 1..=2000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // Any exponent, and the sizes that losses have.
        let any = f64::from_bits(seed.rotate_left(32));
        let usual = seed as f64 / u64::MAX as f64 * 12.0;
        let loss = if any.is_finite() { any } else { usual };
        written.push(Step { loss, grad_norm: usual, ..step(i) });
        log.step(&written[i as usize - 1]).unwrap();
    }
    assert_eq!(read(&path).unwrap().steps, written);
}

#[test]
fn nan_and_infinity_are_valid_json_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut log = RunLog::start(options(&path)).unwrap();
    let bad = Step {
        loss: f64::NAN,
        grad_norm: f64::INFINITY,
        lr: -f64::INFINITY,
        ..step(1)
    };
    log.step(&bad).unwrap();
    log.step(&step(2)).unwrap();
    log.finish(&Last { val_loss: Some(f64::NAN), ..Last::default() }).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["loss"], Value::Null);
    let names = json!({"loss": "NaN", "grad_norm": "inf", "lr": "-inf"});
    assert_eq!(lines[1]["nonfinite"], names);
    assert!(lines[2].get("nonfinite").is_none());
    assert_eq!(lines[3]["val_loss"], Value::Null);
    assert_eq!(lines[3]["nonfinite"], json!({"val_loss": "NaN"}));
    let back = read(&path).unwrap().steps;
    assert!(back[0].loss.is_nan() && back[0].extra.is_empty());
    assert_eq!((back[0].grad_norm, back[0].lr), (f64::INFINITY, -f64::INFINITY));
    assert_eq!(back[1], step(2));
}

#[test]
fn extra_fields_stand_beside_the_others_and_clash_with_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut log = RunLog::start(options(&path)).unwrap();
    let mut with = step(1);
    with.extra.insert("ledger".into(), json!({"all_reduce": 4096}));
    with.extra.insert("loss_scale".into(), json!(65536.0));
    log.step(&with).unwrap();
    assert_eq!(read(&path).unwrap().steps, [with]);
    let text = fs::read_to_string(&path).unwrap();
    let record: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(record["ledger"]["all_reduce"], 4096);
    for name in ["loss", "nonfinite", "last", "run"] {
        let mut clash = step(2);
        clash.extra.insert(name.into(), json!(1));
        let mut log = RunLog::start(options(&folder.path().join(name))).unwrap();
        let message = log.step(&clash).unwrap_err().to_string();
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
}

#[test]
fn an_older_file_is_moved_aside_and_an_empty_one_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    fs::write(&path, "first").unwrap();
    drop(RunLog::start(options(&path)).unwrap());
    assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "first");
    let second = fs::read_to_string(&path).unwrap();
    drop(RunLog::start(options(&path)).unwrap());
    assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "first");
    assert_eq!(fs::read_to_string(aside(&path, 2)).unwrap(), second);
    fs::write(&path, "").unwrap();
    drop(RunLog::start(options(&path)).unwrap());
    assert!(!aside(&path, 3).exists());
    assert!(first_line(&path).get("run").is_some());
}

fn aside(path: &Path, n: u32) -> PathBuf {
    path.with_file_name(format!("run.jsonl.{n}"))
}

#[test]
fn a_file_that_another_run_is_writing_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut log = RunLog::start(options(&path)).unwrap();
    let message = error(options(&path));
    assert!(message.contains("another run is writing it"), "{message}");
    assert!(message.contains("run.jsonl"), "{message}");
    log.step(&step(1)).unwrap();
    assert_eq!(read(&path).unwrap().steps.len(), 1);
    drop(log);
    RunLog::start(options(&path)).unwrap();
}

#[test]
fn what_cannot_be_written_is_said_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let message = error(options(folder.path()));
    assert!(message.contains("it is a folder"), "{message}");
    let below = file.join("run.jsonl");
    let message = error(options(&below));
    assert!(message.contains(&below.display().to_string()), "{message}");
    let events = Options { tensorboard: Some(file.clone()), ..options(&below) };
    let message = error(events);
    assert!(message.contains("TensorBoard") && message.contains("file"), "{message}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    // Failing on the events leaves an older file where it was.
    let older = folder.path().join("older.jsonl");
    fs::write(&older, "mine").unwrap();
    error(Options { tensorboard: Some(file), ..options(&older) });
    assert_eq!(fs::read_to_string(&older).unwrap(), "mine");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let message = error(options(Path::new("/dev/full")));
    assert!(message.contains("/dev/full") && message.contains("space"), "{message}");
    // A device is written to, not moved aside.
    let mut log = RunLog::start(options(Path::new("/dev/null"))).unwrap();
    log.step(&step(1)).unwrap();
    log.finish(&Last::default()).unwrap();
    assert!(Path::new("/dev/null").exists());
}

#[test]
fn steps_go_upwards_from_one() {
    let mut log = RunLog::start(Options { quiet: true, ..Options::default() }).unwrap();
    assert!(log.step(&step(0)).is_err());
    log.step(&step(4)).unwrap();
    let message = log.step(&step(4)).unwrap_err().to_string();
    assert!(message.contains("step 4") && message.contains("upwards"), "{message}");
}

#[test]
fn the_last_record_has_the_loss_and_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    memory::set_rank(40);
    let _tag = memory::tag(Family::Activations);
    let saved = std::hint::black_box(vec![1u8; 1_000_000]);
    let mut log = RunLog::start(options(&path)).unwrap();
    log.step(&step(1)).unwrap();
    let last = Last {
        steps: 1,
        val_loss: Some(1.0 / 3.0),
        tokens: 1024,
        seconds: 0.25,
        memory: vec![memory::account(40), memory::account(41)],
        interrupted: true,
    };
    log.finish(&last).unwrap();
    drop(saved);
    let record = read(&path).unwrap().last.unwrap();
    assert_eq!(record["val_loss"].as_f64(), last.val_loss);
    assert_eq!(record["last"]["steps"], 1);
    assert_eq!(record["last"]["interrupted"], true);
    let used = &record["last"]["memory"][0]["saved_for_backward"];
    assert!(used["peak"].as_u64() >= Some(1_000_000), "{record}");
    assert_eq!(record["last"]["memory"][1]["total"], json!({"live": 0, "peak": 0}));
    assert!(record["last"]["process_peak"].as_u64() > Some(1_000_000));
}

#[test]
fn reading_skips_a_torn_end_and_names_a_broken_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut log = RunLog::start(options(&path)).unwrap();
    log.step(&step(1)).unwrap();
    drop(log);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{{\"step\":2,\"lo")).unwrap();
    assert_eq!(read(&path).unwrap().steps, [step(1)]);
    fs::write(&path, format!("{text}{{\"step\":2,\"lo\n{text}")).unwrap();
    let message = format!("{:#}", read(&path).unwrap_err());
    assert!(message.contains("line 3"), "{message}");
    let missing = folder.path().join("missing");
    let message = format!("{:#}", read(&missing).unwrap_err());
    assert!(message.contains("missing"), "{message}");
}
