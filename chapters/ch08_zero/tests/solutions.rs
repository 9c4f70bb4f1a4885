//! The checks of chapter 8 on the answers in `solutions/`.
#[path = "../solutions/mod.rs"]
mod answer;
#[path = "../checks/mod.rs"]
mod checks;
