//! What the program says to settings that cannot be, before it does any work.
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
