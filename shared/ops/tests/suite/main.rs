//! Proves every operation and its backward right: against plain candle operations
//! differentiated by candle, by finite differences, and by what must hold between them.
//!
//! One program, because each test program links all of candle.

mod cases;
mod common;
mod plain;

mod accumulation;
mod agreement;
mod device;
mod errors;
mod flops;
mod model;
mod optimizer;
mod packed;
mod peak;
mod sixteen_bits;
mod tape;
mod threads;
mod views;
mod vocabulary;
