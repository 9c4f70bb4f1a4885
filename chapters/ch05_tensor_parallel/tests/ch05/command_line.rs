//! The program: what it refuses, before it does any work, and what it leaves behind.
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ch05_tensor_parallel");

/// On random tokens, short sequences.
fn program(flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--data=random", "--threads=1", "--seq-len=32", "--micro-batch=2"]);
    command.args(["--validation-sequences=4", "--global-batch=4"]);
    command.args(flags).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn refused(flags: &[&str], what: &[&str]) {
    let output = program(&["--steps=1"]).args(flags).output().unwrap();
    let said = said(&output);
    assert!(!output.status.success(), "{flags:?} was accepted");
    assert!(output.stdout.is_empty() && !said.contains("step "), "{flags:?}: {said}");
    for what in what {
        assert!(said.contains(what), "{flags:?}: {said}");
    }
    assert!(said.lines().count() < 6, "{flags:?}: {said}");
}

#[test]
fn layouts_that_cannot_be_are_named() {
    refused(&["--tp=0"], &["--tp 0 times --dp 1: expected 1 to 63 ranks in all"]);
    refused(&["--tp=8", "--dp=8"], &["--tp 8 times --dp 8: expected 1 to 63 ranks"]);
    refused(&["--tp=18446744073709551615", "--dp=2"], &["expected 1 to 63 ranks"]);
    refused(&["--tp=3"], &["--tp 3 does not fit", "its 4 heads", "; 1, 2, 4 would"]);
    let shared = ["--tp=6", "--model=small"];
    refused(&shared, &["6 ranks can neither divide its 4 key/value heads nor share"]);
    refused(&["--dp=3"], &["--global-batch 4", "--dp 3", "6 would"]);
}

#[test]
fn a_width_that_does_not_divide_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().to_str().unwrap();
    let made = program(&["--steps=1", "--tp=1", "--save", saved]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("344", "342")).unwrap();
    refused(
        &["--tp=4", "--model", saved],
        &["the 342 channels of its MLP", "1, 2 would"],
    );
}

#[test]
fn the_table_says_what_was_sent_for_what() {
    let output = program(&["--steps=3", "--tp=2", "--dp=2"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("nano: 0.82 million parameters"), "all of them: {said}");
    assert!(said.contains("on 4 ranks, tp 2 × dp 2"), "{said}");
    let table: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    // Four layers and the two ends of the model, three steps of one micro-batch.
    for words in [
        ["f", "tp", "all_reduce", "27"],
        ["g", "tp", "all_reduce", "27"],
        ["gradients", "data", "all_reduce", "18"],
    ] {
        assert!(table.iter().any(|line| line.starts_with(&words)), "{said}");
    }
    assert!(said.contains("of all this time, "), "{said}");
    assert!(said.contains("memory, rank ") && said.contains(" of 4 "), "{said}");
}

/// What all ranks that hold the model draw together is shown once, and is what one
/// rank draws.
#[test]
fn the_sample_is_that_of_one_rank() {
    let sample = |tp: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["--steps=2", "--precision=fp64", "--sample=12", tp]);
        command.args(["--validation-sequences=1", "--seq-len=32"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let one = sample("--tp=1");
    assert!(one.len() > 12, "{one}");
    assert_eq!(sample("--tp=4"), one);
}

/// Ctrl-C reaches all ranks after the same step, and what was saved can be gone on with
/// on another number of ranks.
#[test]
#[cfg(unix)]
fn an_interrupted_run_stops_everywhere_and_saves() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("model");
    let mut run = program(&["--steps=100000", "--tp=2", "--dp=2", "--save"])
        .arg(&saved)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let first = lines.find(|line| line.as_ref().unwrap().starts_with("step "));
    assert!(first.is_some(), "it ended before its first step");
    let kill = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let rest = rest.join("\n");
    assert_eq!(run.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted after step "), "{rest}");
    assert!(rest.contains("saved the model in "), "{rest}");
    let mut again = program(&["--steps=1", "--tp=4", "--model"]);
    let output = again.arg(&saved).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// While the model is measured, too: ranks that hold it together stop together.
#[test]
#[cfg(unix)]
fn an_interrupt_while_measuring_ends_all_ranks() {
    let flags = "--threads=1 --seq-len=4 --steps=1 --tp=2 --sample=0";
    let mut run = Command::new(PROGRAM)
        .args(flags.split(' '))
        .arg("--validation-sequences=1000000")
        .arg("--validation-fraction=0.9")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("step 1/1")));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let kill = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let code = run.wait().unwrap().code();
    assert_eq!(code, Some(130), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("error")), "{rest:?}");
}
