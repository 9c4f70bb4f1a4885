//! Chapter 2 as its reader meets it: what 16 bits may change, and what they may not.
mod common;
mod files;
mod maths;
mod scaling;
