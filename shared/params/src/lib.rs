//! (being written)
pub mod element;
pub use element::{Element, Real};
