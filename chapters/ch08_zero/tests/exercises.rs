//! The checks of chapter 8 on what is in `exercises/`: the reader's own answers.
//!
//! Not part of plain `cargo test`, since they fail until you have solved them:
//! `cargo test -p ch08_zero --test exercises`, with `ex1` behind it for one.
#[path = "../exercises/mod.rs"]
mod answer;
#[path = "../checks/mod.rs"]
mod checks;
