//! Chapter 3 as its reader meets it: the same numbers, to the last bit, in less memory.
mod command_line;
mod common;
mod parity;
mod segments;
