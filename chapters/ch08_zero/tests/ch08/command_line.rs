//! The program: what it refuses, before it does any work, and what it leaves behind.
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
