//! Why a call could not be made.
use std::fmt;
use std::sync::Arc;

/// What is wrong. If it is about what several ranks do, all of them are told, and all
/// later calls fail with the same; if it is about the arguments of one call (a length,
/// a place), only its caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Arc<str>);

/// With an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(what: impl Into<Arc<str>>) -> Error {
        Error(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> candle_core::Error {
        candle_core::Error::Msg(error.to_string())
    }
}
