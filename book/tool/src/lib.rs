//! The book's tool.
pub mod exercises;
pub mod runs;
