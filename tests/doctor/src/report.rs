//! What is printed, and what becomes of it: the exit status.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

const COLUMNS: usize = 80;
/// Where texts begin: after a status and a name.
const INDENT: usize = 20;

/// How many lines told of something wrong.
#[derive(Default)]
pub struct Report {
    pub failed: usize,
    pub missing: usize,
}

/// Why there is nothing to tell.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub enum Trouble {
    Missing(String),
    Failed(String),
}

impl Report {
    /// The title of what follows.
    pub fn part(&self, title: &str) {
        println!("\n{title}");
    }
    pub fn ok(&self, what: &str, text: &str) {
        self.line("ok", what, text);
    }
    pub fn missing(&mut self, what: &str, text: &str) {
        self.missing += 1;
        self.line("missing", what, text);
    }
    pub fn failed(&mut self, what: &str, text: &str) {
        self.failed += 1;
        self.line("FAILED", what, text);
    }
    /// Tells what `of` comes to. A panic is a failure.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub fn tell(&mut self, what: &str, of: impl FnOnce() -> Result<String, Trouble>) {
        match caught(of) {
            Ok(Ok(text)) => self.ok(what, &text),
            Ok(Err(Trouble::Missing(text))) => self.missing(what, &text),
            Ok(Err(Trouble::Failed(text))) | Err(text) => self.failed(what, &text),
        }
    }
    fn line(&self, status: &str, what: &str, text: &str) {
        let lines = wrapped(text, COLUMNS - INDENT);
        let first = lines.first().map_or("", |line| line.as_str());
        println!("  {status:<7}  {what:<8} {first}");
        for line in lines.iter().skip(1) {
            println!("{:INDENT$}{line}", "");
        }
    }
    /// The last line, and the exit status.
    pub fn end(&self) -> ExitCode {
        let Report { failed, missing } = *self;
        match (failed, missing) {
            (0, 0) => println!("\nAll is well."),
            _ => println!("\n{failed} failed, {missing} missing."),
        }
        match (failed, missing) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Lines of at most `width` columns; a longer word has one of its own.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut all = vec![];
    for line in text.lines() {
        let mut now = String::new();
        for word in line.split_whitespace() {
            let long = now.chars().count() + 1 + word.chars().count() > width;
            if long && !now.is_empty() {
                all.push(std::mem::take(&mut now));
            }
            if !now.is_empty() {
                now.push(' ');
            }
            now.push_str(word);
        }
        all.push(now);
    }
    all
}

/// What panics have said since they were last asked for, by any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(vec![]);

/// From now on panics are not printed where they happen.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut all = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        let text = panic.payload_as_str().unwrap_or("a panic");
        let at = panic.location().map_or(String::new(), |at| {
            let name = at.file().rsplit('/').next().unwrap_or(at.file());
            format!("\nat {name}:{}", at.line())
        });
        all.push(format!("{text}{at}"));
    }));
}

/// What `of` returns, or what it said when it panicked.
pub fn caught<T>(of: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(of)).map_err(|_| {
        let mut all = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        // The first: others may have come of it.
        all.drain(..).next().unwrap_or_else(|| "a panic".into())
    })
}
