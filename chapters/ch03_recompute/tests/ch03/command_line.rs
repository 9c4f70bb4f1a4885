//! What the program says to settings that cannot be, before it does any work; and that
//! its settings reach the model.
use std::process::{Command, Stdio};

#[track_caller]
fn refused(flags: &[&str], what: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_ch03_recompute"))
        .args(["--steps=1", "--data", "random", "--threads=1"])
        .args(flags)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{flags:?} was accepted");
    assert!(output.stdout.is_empty(), "{flags:?} did some work");
    for what in what {
        assert!(said.contains(what), "{flags:?}: {said}");
    }
    assert!(said.lines().count() < 6, "{flags:?}: {said}");
}

#[test]
fn flags_that_do_not_fit_are_named() {
    let modules = "--recompute-modules";
    refused(&[modules, "norm"], &[modules, "--recompute selective"]);
    refused(&["--recompute=full", modules, "norm"], &[modules, "selective"]);
    refused(
        &["--recompute=selective", "--recompute-layers=2"],
        &["--recompute-layers", "only --recompute full"],
    );
    refused(&["--recompute-method=block"], &["--recompute-method", "full"]);
    refused(
        &["--recompute=full", "--recompute-method=block"],
        &["needs --recompute-layers"],
    );
    refused(
        &["--recompute=selective", modules, "norm,mlp"],
        &["'mlp'", "norm, swiglu, attention"],
    );
    refused(&["--recompute=some"], &["'some'", "none, selective, full"]);
    // nano has four layers.
    for n in ["0", "5"] {
        let layers = format!("--recompute-layers={n}");
        refused(&["--recompute=full", &layers], &["4 layers", "expected 1 to 4"]);
    }
}

#[test]
fn what_is_recomputed_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let peak = |flags: &[&str]| {
        let log = folder.path().join("log.jsonl");
        let output = Command::new(env!("CARGO_BIN_EXE_ch03_recompute"))
            .args(["--steps=1", "--data", "random", "--threads=1", "--quiet"])
            .args(["--seq-len=64", "--validation-sequences=0", "--log"])
            .arg(&log)
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let log = std::fs::read_to_string(log).unwrap();
        let last: serde_json::Value =
            serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let account = &last["last"]["memory"][0];
        account["saved_for_backward"]["peak"].as_f64().unwrap()
    };
    let none = peak(&[]);
    let selective = peak(&["--recompute=selective"]);
    let two = peak(&["--recompute=full", "--recompute-layers=2"]);
    let full = peak(&["--recompute=full"]);
    // Two of nano's four layers are alive at once, or one.
    assert!(selective < 0.8 * none, "{selective} of {none}");
    assert!(two < 0.65 * none && full < 0.45 * none, "{two} and {full} of {none}");
}
