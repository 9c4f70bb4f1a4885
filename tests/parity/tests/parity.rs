//! Parity of every chapter that has ranks with chapter 1.
#[path = "parity/ch04.rs"]
mod ch04;
#[path = "parity/pp.rs"]
mod pp;
#[path = "parity/tp.rs"]
mod tp;
