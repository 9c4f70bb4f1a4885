//! Figures as a reader gets them: the SVG is read back and measured.

mod bars;
mod blocks;
mod checks;
mod common;
mod diagrams;
#[path = "../../examples/gallery/figures.rs"]
mod gallery;
mod lines;
mod timelines;
mod xml;

/// The message of a figure that cannot be drawn.
fn message(result: Result<String, viz::Error>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(_) => panic!("the figure is drawn"),
    }
}

/// Whether `message` has all of `parts`.
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}
