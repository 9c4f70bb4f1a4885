//! The program: what it refuses, before it does any work, and what it leaves behind.
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ch04_data_parallel");

/// On random tokens, short sequences.
fn program(flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--data=random", "--threads=1", "--seq-len=32", "--micro-batch=2"]);
    command.args(["--validation-sequences=4", "--global-batch=12"]);
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
    refused(&["--dp=0"], &["--dp is 0: expected 1 to 63 ranks"]);
    refused(&["--dp=4"], &["--global-batch 12", "--dp 4", "16 would"]);
    refused(&["--dp=18446744073709551615"], &["expected 1 to 63 ranks"]);
    refused(&["--overlap=maybe"], &["'maybe'", "on, off"]);
    refused(&["--trace=/"], &["cannot write the trace to `/`"]);
    refused(&["--trace=/proc/none/trace.json"], &["cannot write the trace"]);
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_table_says_what_was_sent_and_how_much_was_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let output = program(&["--steps=3", "--dp=3", "--log"]).arg(&log).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("on 3 data-parallel ranks"), "{said}");
    assert!(said.contains("communication of rank 0\nfamily"), "{said}");
    let table: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    let all_reduces = |words: &Vec<&str>| {
        words.starts_with(&["gradients", "data", "all_reduce", "18"])
    };
    assert!(table.iter().any(all_reduces), "{said}");
    assert!(said.contains(" % hidden by backward"), "{said}");
    assert!(said.contains("memory, rank ") && said.contains(" of 3 "), "{said}");
    let log = runlog::read(&log).unwrap();
    for step in &log.steps {
        let comm = step.extra["comm"].as_array().unwrap();
        let gradients = comm.iter().find(|line| line["family"] == "gradients").unwrap();
        assert_eq!(gradients["calls"], 6);
        assert!(gradients["exposed"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(log.last.unwrap()["last"]["memory"].as_array().unwrap().len(), 3);
    // Of one rank there is nothing to say.
    let alone = program(&["--steps=1", "--dp=1"]).output().unwrap();
    assert!(!self::said(&alone).contains("hidden"), "{}", self::said(&alone));
}

/// A rank's events of one kind: where they begin and end, in microseconds.
fn spans(trace: &Value, rank: usize, category: &str) -> Vec<[f64; 2]> {
    let all = trace["traceEvents"].as_array().unwrap();
    let own = all.iter().filter(|event| event["pid"] == rank && event["ph"] == "X");
    let own = own.filter(|event| event["cat"] == category);
    let span = |event: &Value| {
        let [from, dur] = ["ts", "dur"].map(|name| event[name].as_f64().unwrap());
        [from, from + dur]
    };
    own.map(span).collect()
}

#[test]
fn the_trace_shows_buckets_under_way_while_backward_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for (overlap, expected) in [("on", true), ("off", false)] {
        let file = folder.path().join(overlap).join("trace.json");
        let mut command = program(&["--steps=3", "--dp=2", "--quiet"]);
        let output = command.arg(format!("--overlap={overlap}"));
        let output = output.arg("--trace").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let trace = json(&file);
        for rank in 0..2 {
            let backward = spans(&trace, rank, "backward");
            let waits = spans(&trace, rank, "wait");
            let calls = spans(&trace, rank, "communication");
            let compute = ["forward", "backward", "update"];
            let mut compute: Vec<[f64; 2]> =
                compute.iter().flat_map(|kind| spans(&trace, rank, kind)).collect();
            compute.sort_by(|a, b| a[0].total_cmp(&b[0]));
            // Three steps of six buckets, and a few small calls.
            assert!(calls.len() > 18 && backward.len() > 100, "{}", backward.len());
            // One thing at a time; to a nanosecond.
            assert!(compute.windows(2).all(|two| two[0][1] < two[1][0] + 2e-3));
            let meet =
                |a: &[f64; 2], b: &[f64; 2]| a[0] + 1.0 < b[1] && b[0] + 1.0 < a[1];
            // A viewer drops spans of one track that overlap.
            for track in [&waits, &calls] {
                assert!(track.windows(2).all(|two| two[0][1] < two[1][0] + 2e-3));
            }
            let waiting = waits.iter().any(|a| compute.iter().any(|b| meet(a, b)));
            assert!(!waiting, "rank {rank} computes while it waits");
            let hidden = calls.iter().any(|a| backward.iter().any(|b| meet(a, b)));
            assert_eq!(hidden, expected, "rank {rank}, overlap {overlap}");
        }
    }
}

/// How much of the gradients' time on their way, in per cent, hid behind backward.
fn hidden(overlap: &str) -> f64 {
    let flags = ["--steps=6", "--dp=2", "--overlap", overlap, "--sample=0"];
    let said = said(&program(&flags).output().unwrap());
    let line = said.lines().find(|line| line.contains("hidden by backward")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let percent = words.iter().position(|word| *word == "%").unwrap();
    words[percent - 1].parse().unwrap()
}

/// Waiting for one bucket hides no other.
#[test]
fn without_overlap_nothing_is_hidden() {
    let (on, off) = (hidden("on"), hidden("off"));
    // On a busy machine, too, where a rank may be kept from its sums for long.
    assert!(off < 20.0 && off + 5.0 < on, "{on} % with overlap, {off} % without");
}

/// With a loss scale at which a micro-batch of very few tokens may overflow, or may
/// not: the first of six that does, as chapter 4 on so many ranks says.
fn overflows(dp: usize, seed: u64, scale: u32) -> Option<String> {
    let mut command = Command::new(PROGRAM);
    command.args(["--tokenizer=bytes", "--threads=1", "--seq-len=4"]);
    command.args(["--global-batch=6", "--micro-batch=1", "--validation-sequences=1"]);
    command.args(["--precision=fp16", "--steps=1", "--quiet", "--data"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../LICENSE"));
    command.arg(format!("--dp={dp}")).arg(format!("--seed={seed}"));
    command.arg(format!("--initial-loss-scale={scale}"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let said = said(&output);
    let line = said.lines().find(|line| line.contains("a gradient overflows"))?;
    Some(line.split_once(": ").unwrap().0.to_string())
}

/// Micro-batches have the numbers that they have on one rank.
#[test]
fn an_overflow_on_one_rank_is_named() {
    let (mut early, mut late) = (0, 0);
    // Found by trying: in micro-batch 1, 4, 0, and none.
    for (seed, scale) in [(2, 1 << 19), (15, 1 << 18), (4, 1 << 18), (1, 1 << 18)] {
        let (one, three) = (overflows(1, seed, scale), overflows(3, seed, scale));
        let number = one.as_ref().map(|place| place.chars().last().unwrap());
        if matches!(number, Some('3'..='5')) {
            assert_eq!(three.as_deref(), Some("step 1, micro-batches 3 to 5"));
            late += 1;
        } else {
            assert_eq!(three, one, "seed {seed}");
            early += u32::from(matches!(number, Some('1' | '2')));
        }
    }
    assert!(early > 0 && late > 0, "{early} in the ranks' first, {late} in their last");
}

/// Ctrl-C reaches all ranks after the same step, and nothing is lost.
#[test]
#[cfg(unix)]
fn an_interrupted_run_stops_everywhere_and_saves() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("model");
    let mut run = program(&["--steps=100000", "--dp=3", "--save"])
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
    assert!(saved.join("model.safetensors").exists());
}
