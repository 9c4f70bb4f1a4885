//! Chapter 1: the whole of training a language model, on one device.
//!
//! Read it in this order: a matrix ([`linear`]), what tokens tell each other
//! ([`attention`]) and what each thinks for itself ([`mlp`]), one layer of both
//! ([`block`]), the decoder ([`model`]); how its weights move ([`optimizer`]), the loop
//! ([`train`]), what it learnt ([`evaluate`]); and around it what a run can be told
//! ([`config`]), models by name ([`presets`]), what that comes down to ([`inputs`]),
//! files ([`weights`]) and the program that puts it all together ([`mod@run`]).
//!
//! The operations themselves, with their derivatives, are in the crate `ops`; where
//! parameters and gradients lie in memory, in `params`.
pub mod attention;
pub mod block;
pub mod config;
pub mod evaluate;
pub mod inputs;
pub mod linear;
pub mod mlp;
pub mod model;
pub mod optimizer;
pub mod presets;
pub mod run;
pub mod train;
pub mod weights;

pub use config::Config;
pub use run::run;
