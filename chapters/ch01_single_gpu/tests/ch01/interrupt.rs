//! Ctrl-C.
#![cfg(unix)]
use crate::common::program;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The program, its stderr line by line.
struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Running {
    fn start(folder: &Path, flags: &[&str]) -> Running {
        let mut child = program(folder, flags).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| send.send(line).is_ok())
        });
        Running { child, lines, seen: String::new() }
    }
    /// Waits for a line with `word`.
    fn until(&mut self, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {word:?} in: {}", self.seen));
            self.seen += &format!("{line}\n");
            if line.contains(word) {
                return;
            }
        }
    }
    fn press(&self) {
        self.signal("-INT");
    }
    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
    /// Waits for the end, for `limit` at most; what else was said is in `seen`.
    fn end(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < limit, "still running: {}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        };
        for line in self.lines.iter() {
            self.seen += &format!("{line}\n");
        }
        assert!(!self.seen.contains("panicked"), "{}", self.seen);
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn during_validation_it_ends_too() {
    let folder = tempfile::tempdir().unwrap();
    let text = "The cat sat on the mat and saw a dog.\n".repeat(20_000);
    fs::write(folder.path().join("text.txt"), text).unwrap();
    let flags = [
        "--data=text.txt",
        "--steps=1",
        "--seq-len=64",
        "--micro-batch=1",
        "--global-batch=1",
        "--threads=1",
        "--validation-sequences=1000000",
        "--log=run.jsonl",
    ];
    let mut run = Running::start(folder.path(), &flags);
    run.until("step 1/1");
    run.press();
    let status = run.end(Duration::from_secs(20));
    assert_eq!(status.code(), Some(130), "{}", run.seen);
    let log = runlog::read(&folder.path().join("run.jsonl")).unwrap();
    let last = log.last.unwrap();
    assert!(
        last["last"]["interrupted"] == true && last["val_loss"].is_null(),
        "{last}"
    );
}

#[test]
fn once_finishes_the_step_and_saves() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--data=random",
        "--steps=1000000",
        "--seq-len=16",
        "--micro-batch=2",
        "--global-batch=4",
        "--threads=1",
        "--save=out",
        "--log=run.jsonl",
    ];
    let mut run = Running::start(folder.path(), &flags);
    run.until("step       3/1000000");
    run.press();
    let status = run.end(Duration::from_secs(20));
    assert_eq!(status.code(), Some(130), "{}", run.seen);
    for word in ["press again to quit", "saved the model in out", "interrupted after"] {
        assert!(run.seen.contains(word), "expected {word:?} in: {}", run.seen);
    }

    let text = fs::read_to_string(folder.path().join("run.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    let log = runlog::read(&folder.path().join("run.jsonl")).unwrap();
    let last = log.last.unwrap();
    assert_eq!(last["last"]["interrupted"], true);
    assert_eq!(last["val_loss"], serde_json::Value::Null);
    assert!(log.steps.len() >= 3);
    assert_eq!(last["last"]["steps"], log.steps.len());
    let numbers: Vec<u64> = log.steps.iter().map(|step| step.step).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");

    let flags = [
        "--model=out",
        "--data=random",
        "--steps=1",
        "--seq-len=16",
        "--micro-batch=2",
        "--global-batch=2",
        "--validation-sequences=2",
        "--sample=0",
    ];
    let again = program(folder.path(), &flags).output().unwrap();
    let text = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{text}");
}

/// What a batch system sends before it takes the machine, and a closed terminal.
#[test]
fn other_signals_save_too() {
    for signal in ["-TERM", "-HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let flags = [
            "--data=random",
            "--steps=1000000",
            "--seq-len=16",
            "--micro-batch=2",
            "--global-batch=4",
            "--threads=1",
            "--save=out",
        ];
        let mut run = Running::start(folder.path(), &flags);
        run.until("step       3/1000000");
        run.signal(signal);
        let status = run.end(Duration::from_secs(20));
        assert_eq!(status.code(), Some(130), "{signal}: {}", run.seen);
        assert!(run.seen.contains("saved the model in out"), "{}", run.seen);
    }
}

#[test]
fn twice_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // A step of many minutes.
    let flags = [
        "--data=random",
        "--steps=10",
        "--seq-len=256",
        "--micro-batch=16",
        "--global-batch=16384",
        "--threads=1",
        "--save=out",
        "--log=run.jsonl",
    ];
    let mut run = Running::start(folder.path(), &flags);
    run.until("MFU:");
    std::thread::sleep(Duration::from_millis(200));
    run.press();
    run.until("press again to quit");
    // It is in no hurry to end: the step is not done.
    std::thread::sleep(Duration::from_millis(300));
    assert!(run.child.try_wait().unwrap().is_none(), "{}", run.seen);
    run.press();
    let status = run.end(Duration::from_secs(1));
    assert_eq!(status.code(), Some(130), "{}", run.seen);
    assert!(!run.seen.contains("saved"), "{}", run.seen);
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 0);
    let log = runlog::read(&folder.path().join("run.jsonl")).unwrap();
    assert!(log.last.is_none() && log.steps.is_empty());
}
