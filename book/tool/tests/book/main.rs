//! Everything in the book is made from the crates, and whatever is broken or stale
//! fails the build at its line.
#[path = "../common/mod.rs"]
mod common;
mod diffs;
mod helpers;
mod house;
mod made;
mod pages;
mod runs;
