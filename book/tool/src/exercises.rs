//! The exercises: what a chapter asks of the reader, the proof that it can be asked,
//! and how far the reader is.
//!
//! A chapter keeps each exercise `exN_words` three times under the same name: as the
//! stub that the reader edits (`exercises/`), as an answer (`solutions/`), and as the
//! checks of both (`checks/`). `tests/exercises.rs` puts the checks on the stubs and
//! `tests/solutions.rs` on the answers, where they are `crate::answer` and
//! `crate::checks`. A stub's docs hold all that the reader is told:
//!
//! ```text
//! //! # Fill in: the mean            (or `# Find the bug: …`)
//! //!
//! //! The task, in markdown.
//! //!
//! //! ## Hint
//! //!
//! //! The hint, in markdown.
//! ```
//!
//! [`list()`] reads them, [`check()`] proves them, and [`progress()`] runs those of the
//! reader.

mod check;
mod judge;
mod layout;
mod pages;
mod paths;
mod process;
mod program;
mod progress;
mod violations;

pub use check::{Checked, Row, check};
pub use layout::list;
pub use program::Runner;
pub use progress::{ChapterProgress, Entry, Progress, State, progress, wants_color};
pub use violations::{Violation, Violations};

use std::fmt;

/// What an exercise asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The stub holds a `todo!()` where the reader's code goes.
    FillIn,
    /// The stub runs and is wrong.
    FindTheBug,
}

impl fmt::Display for Kind {
    /// As a stub's title has it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Kind::FillIn => "Fill in",
            Kind::FindTheBug => "Find the bug",
        })
    }
}

/// One exercise, as its stub's docs tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exercise {
    /// The chapter's folder, which is also its package: `ch01_single_gpu`.
    pub chapter: String,
    /// The module's name in all three folders: `ex1_mean`.
    pub name: String,
    /// What it asks for.
    pub kind: Kind,
    /// The title after its kind: `the mean`.
    pub title: String,
    /// What to do, in markdown.
    pub task: String,
    /// A help that does not give the answer away, in markdown.
    pub hint: String,
    /// The file to open, from the workspace's root.
    pub path: String,
}

impl Exercise {
    /// What the reader types to check the answer.
    pub fn command(&self) -> String {
        format!("cargo test -p {} --test exercises {}", self.chapter, self.name)
    }
}
