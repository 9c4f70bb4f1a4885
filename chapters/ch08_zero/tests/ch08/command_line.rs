//! The program: what it refuses, before it does any work, and what it leaves behind.
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ch08_zero");

fn program(flags: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["--threads=1", "--micro-batch=2", "--global-batch=8"]);
    command.args(["--validation-sequences=4", "--seq-len=32"]).args(flags);
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
fn what_cannot_be_is_refused() {
    refused(&["--zero=4"], &["'4'", "0..=3"]);
    refused(&["--zero=x"], &["'x'"]);
    refused(&["--offload=/no/such/folder/states"], &["/no/such/folder/states.0"]);
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("states");
    std::fs::write(folder.path().join("states.1"), "precious").unwrap();
    let flag = format!("--offload={}", taken.display());
    refused(&[&flag], &["states.1", "cannot make the file"]);
    let kept = std::fs::read(folder.path().join("states.1")).unwrap();
    assert_eq!(kept, b"precious");
    // `nano` is tied: both copies of its embedding are on the stages at the ends.
    let schedule = folder.path().join("inner.csv");
    let row = |chunk| format!("{chunk}F0,{chunk}F1,{chunk}B0,{chunk}B1\n");
    std::fs::write(&schedule, [2, 0, 1].map(row).concat()).unwrap();
    let schedule = format!("--schedule={}", schedule.display());
    let flags = ["--pp=3", &schedule];
    refused(&flags, &["tied", "first chunk on stage 1", "last on stage 0"]);
}

/// Whatever is divided, the same model is learnt, and saved whole; nothing is left of
/// the states.
#[test]
fn all_stages_save_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut first: Option<(Vec<u8>, String)> = None;
    for (i, flags) in [
        &["--zero=0"][..],
        &["--zero=1"],
        &["--zero=2", "--micro-batch=4"],
        &["--zero=3"],
        &["--zero=3", "--pp=2", "--schedule=zb-h1"],
        &["--zero=1", "--pp=2", "--offload=states"],
        &["--zero=2", "--tp=2"],
    ]
    .into_iter()
    .enumerate()
    {
        let save = folder.path().join(i.to_string());
        let mut command = Command::new(PROGRAM);
        command.args(["--threads=1", "--global-batch=8", "--steps=3"]);
        command.args(["--validation-sequences=4", "--seq-len=32"]);
        command.args(["--sample=8", "--precision=fp64"]).args(flags);
        command.arg("--save").arg(&save).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{flags:?}: {}", said(&output));
        let sample = String::from_utf8_lossy(&output.stdout).into_owned();
        // In fp32: what differs in the last bits of fp64 does not show.
        let model = std::fs::read(save.join("model.safetensors")).unwrap();
        match &first {
            None => first = Some((model, sample)),
            Some((want, text)) => {
                let apart = want.iter().zip(&model).filter(|(a, b)| a != b).count();
                assert_eq!(want.len(), model.len());
                assert!(apart * 1000 < model.len(), "{flags:?}: {apart} bytes differ");
                assert_eq!(text, &sample, "{flags:?}");
            }
        }
    }
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
}

#[test]
fn what_matches_badly_is_said() {
    let flags = ["--steps=1", "--sample=0", "--zero=2", "--pp=2"];
    assert!(said(&program(&flags)).contains("--zero 2 and 3 are a poor match"));
    assert!(said(&program(&flags)).contains("ZeRO stage 2"));
    assert!(!said(&program(&flags[..3])).contains("poor match"));
}

/// A loss that is not finite ends all ranks alike, and what was learnt is saved.
#[test]
fn a_run_that_diverges_saves_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    for stage in ["--zero=1", "--zero=3"] {
        let save = folder.path().join(stage);
        let save = save.to_str().unwrap();
        let flags = ["--steps=20", "--lr=1e30", "--warmup=2", stage, "--save", save];
        let output = program(&flags);
        assert!(!output.status.success());
        assert!(said(&output).contains("step "), "{}", said(&output));
        assert!(said(&output).contains("saved the model in"), "{}", said(&output));
    }
}

/// A trace that finds no room on its disk is an error at the end of all the work: the
/// model is saved before it is said.
#[test]
#[cfg(target_os = "linux")]
fn a_trace_without_room_costs_no_model() {
    let folder = tempfile::tempdir().unwrap();
    for stage in ["--zero=1", "--zero=3"] {
        let save = folder.path().join(stage);
        let flag = format!("--save={}", save.display());
        let output = program(&["--steps=1", "--trace=/dev/full", stage, &flag]);
        let said = said(&output);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("cannot write the trace `/dev/full`"), "{said}");
        assert!(!said.contains("could not be saved"), "{said}");
        assert!(save.join("model.safetensors").exists(), "{said}");
    }
}

/// Ctrl-C reaches all ranks after the same step, in whatever parts the model is then;
/// what was saved can be gone on with on another number of ranks.
#[test]
#[cfg(unix)]
fn an_interrupted_run_stops_everywhere_and_saves() {
    for stage in ["--zero=1", "--zero=3"] {
        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join("model");
        let mut run = Command::new(PROGRAM)
            .args(["--threads=1", "--global-batch=8", "--seq-len=32", "--dp=2"])
            .args(["--steps=100000", "--validation-sequences=4", stage, "--save"])
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
        let model = format!("--model={}", saved.display());
        let output =
            program(&["--steps=1", "--sample=0", "--dp=4", "--zero=2", &model]);
        assert!(output.status.success(), "{}", said(&output));
    }
}
