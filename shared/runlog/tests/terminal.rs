//! What a user sees: this test program starts itself as a small run, its stderr being a
//! pipe or a terminal, and presses Ctrl-C.
#![cfg(unix)]

use runlog::{Interrupt, Last, Options, RunLog, Step};
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The run itself; does nothing unless started by `child`. In words of RUNLOG_CHILD:
/// `slow` steps take long, `stuck` ones for ever, `fail` ends without `finish`.
#[test]
fn run() {
    let Ok(how) = std::env::var("RUNLOG_CHILD") else { return };
    let has = |word: &str| how.split_whitespace().any(|w| w == word);
    let interrupt = Interrupt::install().unwrap();
    let again = Interrupt::install().unwrap();
    let mut log = RunLog::start(Options {
        steps: 40,
        flops_per_token: 1e6,
        peak_flops: 1e9,
        convention: "six per parameter".into(),
        quiet: has("quiet"),
        ..Options::default()
    })
    .unwrap();
    let mut last = Last::default();
    for step in 1..=40 {
        let seconds = if has("slow") { 0.2 } else { 0.01 };
        sleep(Duration::from_secs_f64(seconds));
        let report = Step { step, loss: 2.5, tokens: 10, seconds, ..Step::default() };
        log.step(&report).unwrap();
        last.steps = step;
        if step == 2 {
            log.say("a word in between");
        }
        if has("fail") && step == 9 {
            return;
        }
        last.interrupted = again.requested();
        if last.interrupted && !has("stuck") {
            break;
        }
        while has("stuck") {
            sleep(Duration::from_secs(1));
        }
    }
    assert_eq!(interrupt.requested(), again.requested());
    last.memory = vec![memory::account(0), memory::account(1)];
    log.finish(&last).unwrap();
}

/// A child, what it wrote so far, and the thread that reads it.
struct Seen(Child, Arc<Mutex<Vec<u8>>>, JoinHandle<()>);

impl Seen {
    fn end(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(5));
            if start.elapsed() > Duration::from_secs(60) {
                self.0.kill().unwrap();
            }
        }
        let status = self.0.wait().unwrap();
        self.2.join().unwrap();
        (status, String::from_utf8_lossy(&self.1.lock().unwrap()).into_owned())
    }

    /// Waits until it has written this.
    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        loop {
            let seen = String::from_utf8_lossy(&self.1.lock().unwrap()).into_owned();
            if seen.contains(text) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no `{text}`: {seen}");
            sleep(Duration::from_millis(5));
        }
    }

    fn press_ctrl_c(&self) {
        // SAFETY: signals our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) }, 0);
    }
}

fn child(how: &str, terminal: bool) -> Seen {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "run", "--nocapture"]).env("RUNLOG_CHILD", how);
    command.env("TERM", "xterm").stdout(Stdio::null());
    let (mut reader, theirs): (Box<dyn Read + Send>, Stdio) = if terminal {
        let (ours, theirs) = open_terminal();
        (Box::new(ours), theirs.into())
    } else {
        let (ours, theirs) = std::io::pipe().unwrap();
        (Box::new(ours), theirs.into())
    };
    let child = command.stderr(theirs).spawn().unwrap();
    // The parent's copy of the other end, or reading would never end.
    drop(command);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_so_far = seen.clone();
    let reading = std::thread::spawn(move || {
        let mut some = [0; 4096];
        // A terminal's end is an error (EIO).
        while let Ok(n @ 1..) = reader.read(&mut some) {
            seen_so_far.lock().unwrap().extend(&some[..n]);
        }
    });
    Seen(child, seen, reading)
}

fn open_terminal() -> (File, File) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: writes two descriptors, which are ours alone from then on.
    unsafe {
        let (size, name) = ((&raw const size).cast_mut(), null_mut());
        assert_eq!(libc::openpty(&mut ours, &mut theirs, name, null_mut(), size), 0);
        // The child must not hold our end.
        assert_eq!(libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC), 0);
        assert_eq!(libc::fcntl(theirs, libc::F_SETFD, libc::FD_CLOEXEC), 0);
        (File::from_raw_fd(ours), File::from_raw_fd(theirs))
    }
}

#[test]
fn into_a_pipe_go_whole_lines_now_and_then() {
    let (status, seen) = child("", false).end();
    assert!(status.success(), "{seen}");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "MFU: six per parameter, of 1.00 GFLOP/s", "{seen}");
    let at =
        |line: &&str| line.strip_prefix("step ").map(|l| l[..2].trim().to_string());
    let steps: Vec<String> = lines.iter().filter_map(at).collect();
    let mut expected: Vec<String> = ["1", "2", "3"].map(String::from).into();
    expected.extend((4..=40).step_by(2).map(|n| n.to_string()));
    assert_eq!(steps, expected, "{seen}");
    assert!(lines[1].contains("loss  2.5000  1.00k tok/s  MFU  100 %"), "{seen}");
    assert!(lines.contains(&"a word in between"));
    assert!(!seen.contains(['\r', '\x1b']), "{seen:?}");
    assert!(seen.contains("40 steps"), "{seen}");
    assert!(
        seen.contains("memory, rank 0 of 2") && seen.contains("saved for backward")
    );
}

#[test]
fn on_a_terminal_one_line_lives_and_the_last_stays() {
    let (status, seen) = child("", true).end();
    assert!(status.success(), "{seen}");
    let lines: Vec<&str> = seen.split('\n').collect();
    // Drawn again and again in place, so the steps are few lines.
    let stays = lines.iter().filter(|line| line.contains("step 40/40")).count();
    assert!(stays >= 1 && lines.len() < 25, "{seen:?}");
    assert!(seen.contains("\x1b[2K"), "the line is cleared: {seen:?}");
    let word = lines.iter().find(|line| line.contains("a word in between")).unwrap();
    assert!(word.trim_end().ends_with("a word in between"), "not torn: {word:?}");
    let words: Vec<&str> = word.split("\x1b[2K").collect();
    assert!(words.last().unwrap().trim().starts_with("a word"), "not torn: {word:?}");
}

#[test]
fn a_run_that_fails_leaves_its_last_step_in_sight() {
    for terminal in [false, true] {
        let (_, seen) = child("fail", terminal).end();
        let last = seen.trim_end().lines().last().unwrap();
        assert!(last.contains("step  9/40"), "{seen:?}");
    }
}

#[test]
fn quiet_is_quiet_but_for_what_is_said() {
    let (status, seen) = child("quiet", false).end();
    assert!(status.success());
    assert_eq!(seen, "a word in between\n");
}

#[test]
fn the_first_ctrl_c_ends_the_run_in_good_order() {
    let run = child("slow", false);
    run.wait_for("step  2/40");
    run.press_ctrl_c();
    let (status, seen) = run.end();
    assert!(status.success(), "{status}: {seen}");
    let word = "finishing this step; press again to quit at once";
    assert_eq!(seen.matches(word).count(), 1, "{seen}");
    assert!(seen.contains("interrupted after step"), "{seen}");
    assert!(!seen.contains("step 40/40"), "{seen}");
}

#[test]
fn the_second_ctrl_c_ends_it_at_once_with_130() {
    let run = child("stuck", true);
    run.wait_for("step  1/40");
    run.press_ctrl_c();
    run.wait_for("finishing this step");
    let start = Instant::now();
    run.press_ctrl_c();
    let (status, seen) = run.end();
    assert_eq!(status.code(), Some(130), "{seen}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(seen.matches("finishing this step").count(), 1, "{seen}");
}
