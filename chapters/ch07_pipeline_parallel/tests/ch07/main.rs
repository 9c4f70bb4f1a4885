//! Chapter 7 as its reader meets it. That it computes what one rank would is in
//! `tests/parity/tests/parity`.
mod command_line;
mod ranks;
mod schedules;
