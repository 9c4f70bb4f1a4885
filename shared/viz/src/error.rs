//! What is wrong with a figure.

use std::fmt;

/// Why a figure cannot be drawn, naming the figure and the part of it.
///
/// Figures are drawn when the book is built, so that this is read by the page's author:
/// the message says what was found, what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    figure: String,
    problem: String,
}

impl Error {
    pub(crate) fn new(figure: &str, problem: impl Into<String>) -> Error {
        Error { figure: figure.to_string(), problem: problem.into() }
    }

    /// The id of the figure that cannot be drawn.
    pub fn figure(&self) -> &str {
        &self.figure
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "figure `{}`: {}", self.figure, self.problem)
    }
}

impl std::error::Error for Error {}
