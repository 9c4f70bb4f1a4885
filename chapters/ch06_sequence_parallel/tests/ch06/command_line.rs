//! The program: what it refuses, before it does any work, and what it leaves behind.
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ch06_sequence_parallel");

fn program(flags: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["--threads=1", "--micro-batch=2", "--global-batch=4"]);
    command.args(["--validation-sequences=4"]).args(flags);
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn refused(flags: &[&str], what: &[&str]) {
    let output = program(flags);
    let said = said(&output);
    assert!(!output.status.success(), "{flags:?} was accepted");
    assert!(output.stdout.is_empty() && !said.contains("step "), "{flags:?}: {said}");
    for what in what {
        assert!(said.contains(what), "{flags:?}: {said}");
    }
    assert!(said.lines().count() < 6, "{flags:?}: {said}");
}

#[test]
fn lengths_that_do_not_divide_are_named_with_the_nearest_that_do() {
    let odd = ["--steps=1", "--seq-len=30", "--tp=4"];
    refused(&odd, &["--seq-len 30", "--tp 4", "28 or 32 would, or --sp off"]);
    refused(&["--seq-len=3", "--tp=4", "--sp"], &["wants it: 4 would"]);
    refused(&["--sp=perhaps"], &["'perhaps'", "on, off"]);
    refused(&["--tp=3", "--seq-len=12"], &["its 4 heads do not divide by 3"]);
    let off = ["--steps=1", "--seq-len=30", "--tp=4", "--sp=off", "--sample=0"];
    let output = program(&off);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_introduction_and_the_table_say_what_is_cut() {
    let flags = ["--steps=2", "--seq-len=32", "--tp=2", "--sample=0", "--data=random"];
    let on = said(&program(&flags));
    assert!(
        on.contains("on 2 tensor-parallel ranks, which divide the sequence"),
        "{on}"
    );
    let off = said(&program(&[&flags[..], &["--sp", "off"]].concat()));
    assert!(off.contains("on 2 tensor-parallel ranks; learning rate"), "{off}");
    // Two steps of two micro-batches, four layers, and the two ends of the model.
    for words in [
        "f tp all_gather 36",
        "f tp reduce_scatter 36",
        "f again tp all_gather 32",
        "g tp all_gather 36",
        "g tp reduce_scatter 36",
        "partial gradients tp all_reduce 2",
    ] {
        let found = |said: &str| {
            let line =
                |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            said.lines().any(|text| line(text).starts_with(words))
        };
        assert!(found(&on) && !found(&off), "{words}: {on}");
    }
}

/// Of any length: what the ranks cannot divide is filled up.
#[test]
fn the_sample_is_that_of_one_rank() {
    let sample = |flags: &[&str]| {
        let all = ["--steps=2", "--precision=fp64", "--sample=12", "--seq-len=16"];
        let output = program(&[&all[..], flags].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let one = sample(&["--tp=1"]);
    assert!(one.len() > 12, "{one}");
    assert_eq!(sample(&["--tp=4"]), one);
    assert_eq!(sample(&["--tp=4", "--sp=off"]), one);
    let prompt = ["--prompt=Once upon a time there"];
    let one = sample(&[&prompt[..], &["--tp=1"]].concat());
    assert_eq!(sample(&[&prompt[..], &["--tp=2"]].concat()), one);
}
