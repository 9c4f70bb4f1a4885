//! What every figure has: an id, a title, a description, a width.

use crate::{Error, canvas::Canvas, text};

/// The width of a figure unless it says otherwise, in units of the viewBox.
const WIDTH: f64 = 480.0;

/// The common part of a figure.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub id: String,
    pub title: String,
    pub description: Option<String>,
    pub width: f64,
    pub heading: bool,
}

impl Frame {
    pub fn new(id: &str, title: &str) -> Frame {
        Frame {
            id: id.to_string(),
            title: title.to_string(),
            description: None,
            width: WIDTH,
            heading: true,
        }
    }

    /// An error of this figure.
    pub fn error<T>(&self, problem: impl Into<String>) -> Result<T, Error> {
        Err(Error::new(&self.id, problem))
    }

    /// Checks the common part and starts the drawing, with the title on it.
    pub fn canvas(&self) -> Result<Canvas, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.id.is_empty() || !self.id.chars().all(allowed) {
            return self.error(
                "the id has to be letters, digits, `-` and `_`, since element ids and \
                 file names are made of it",
            );
        }
        if self.title.trim().is_empty() {
            return self.error("it has no title; readers who cannot see it need one");
        }
        if !(160.0..=4000.0).contains(&self.width) {
            let width = self.width;
            return self.error(format!(
                "a width of {width}; expected 160 to 4000 units (480 is a column)"
            ));
        }
        let mut canvas = Canvas::new(self.width);
        if self.heading {
            for line in text::wrap(&self.title, text::TITLE, true, self.width - 2.0) {
                canvas.heading(&line);
            }
        }
        Ok(canvas)
    }
}

/// The methods that all figures share, written once.
macro_rules! frame_methods {
    () => {
        /// Sets the width in units of the viewBox (480 if not said). Text is 12 units
        /// high: a figure of 480 is legible on a phone, a wider one needs a wider page.
        pub fn width(mut self, units: f64) -> Self {
            self.frame.width = units;
            self
        }

        /// Describes the figure in words, for readers who do not see it, in place of
        /// the summary made of its data.
        pub fn describe(mut self, words: &str) -> Self {
            self.frame.description = Some(words.to_string());
            self
        }

        /// Leaves the title out of the picture, for pages whose caption says it. It
        /// stays the name of the figure for readers who do not see it.
        pub fn hide_title(mut self) -> Self {
            self.frame.heading = false;
            self
        }
    };
}
pub(crate) use frame_methods;
