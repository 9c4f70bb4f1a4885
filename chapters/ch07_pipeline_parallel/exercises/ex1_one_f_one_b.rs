//! # Fill in: 1F1B
//!
//! The model is cut into as many chunks as there are stages, and stage $s$ of $p$ has
//! chunk $s$, both counted from 0. Say what a stage does in a step of $m$ micro-batches
//! by 1F1B, in order (Narayanan et al. 2021, *Efficient large-scale language model
//! training*, §2.2.1):
//!
//! - **warm-up**: forwards alone, as many as there are stages behind this one;
//! - **steady state**: one forward, one backward, in turn;
//! - **cool-down**: the backwards that are left.
//!
//! Micro-batches come in their order, forward and backward, and backward is not in
//! halves. So a stage holds at most $p - s$ micro-batches at any time, however many
//! there are. GPipe takes just as long, and holds $m$.
//!
//! There may also be fewer micro-batches than stages.
//!
//! The chapter has this function in `schedule.rs`. Write it without looking. The checks
//! count what your lists hold and what time they take, for many numbers of stages and
//! micro-batches, and draw them.
//!
//! ## Hint
//!
//! Begin with the last stage: which micro-batch can it take backward right after its
//! first forward? Then write down the lists of 3 stages for 5 micro-batches, the last
//! stage's first. In steady state, how far is the micro-batch that goes backward behind
//! the one that goes forward? Now the first of 3 stages for a single micro-batch: how
//! long is its warm-up?
#![allow(unused_variables)]
use ch07_pipeline_parallel::schedule::{Action, Pass};

/// What a stage does in a step of `micros` micro-batches, in order.
pub fn actions(stage: usize, stages: usize, micros: usize) -> Vec<Action> {
    todo!("warm-up, steady state, cool-down")
}
