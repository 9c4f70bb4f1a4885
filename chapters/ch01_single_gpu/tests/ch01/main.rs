//! Chapter 1 as its reader meets it: the maths of a training run, files in and out, the
//! program and what it says when something is wrong.
mod command_line;
mod common;
mod files;
mod interrupt;
mod maths;
mod reference_loop;
mod variants;
