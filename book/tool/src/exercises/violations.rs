//! What is wrong with the exercises, and where.

use std::fmt;

/// One thing that is wrong: what, what was expected, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file to look at, from the workspace's root.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The words.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// All that was found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    pub(super) fn add(
        &mut self,
        file: impl Into<String>,
        line: usize,
        message: impl Into<String>,
    ) {
        let (file, message) = (file.into(), message.into());
        self.0.push(Violation { file, line, message });
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Violations {}
