//! What goes wrong.
use std::fmt;

/// Why something could not be done; of a source that does not compile, also what the
/// compiler says.
#[derive(Clone, Debug)]
pub struct Error(pub(crate) String);

/// With an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
