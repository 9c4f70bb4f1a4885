//! What is wrong with the book, and where.
use std::fmt;

/// Everything that was found wrong, each at its place.
#[derive(Clone, Debug, Default)]
pub struct Problems(Vec<Problem>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    file: String,
    line: usize,
    message: String,
}

impl Problems {
    /// `file` as seen from the workspace's root, `line` from 1.
    pub fn add(
        &mut self,
        file: impl fmt::Display,
        line: usize,
        message: impl fmt::Display,
    ) {
        let (file, message) = (file.to_string(), message.to_string());
        self.0.push(Problem { file, line, message });
    }
    /// Adds those of another text, each at the line that `line` makes of its own.
    pub fn extend(&mut self, other: Problems, line: impl Fn(usize) -> usize) {
        let moved = |problem: Problem| Problem { line: line(problem.line), ..problem };
        self.0.extend(other.0.into_iter().map(moved));
    }
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// An error that lists all, if there are any.
    ///
    /// # Errors
    /// There are some.
    pub fn into_result(mut self) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.0.sort();
        self.0.dedup();
        Err(anyhow::anyhow!("{self}"))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "the book has {count} problem{}:",
            if count == 1 { "" } else { "s" }
        )?;
        for Problem { file, line, message } in &self.0 {
            write!(f, "\n  {file}:{line}: {message}")?;
        }
        Ok(())
    }
}
