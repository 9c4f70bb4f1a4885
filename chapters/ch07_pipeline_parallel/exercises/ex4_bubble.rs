//! # Fill in: the bubble
//!
//! A stage of a pipeline has nothing to do at first, until the first micro-batch
//! reaches it, and in between or at the end, until gradients come back: the *bubble*.
//! How much of a step is it?
//!
//! Every stage has $v$ chunks, and a step has $m$ micro-batches: with $v = 1$ the
//! schedule is 1F1B, with more it is interleaved, and the number $p$ of stages divides
//! $m$. A micro-batch takes as long in each chunk as in any other, and messages take no
//! time. Say which share of **all** the time, from the first forward to the last
//! backward, a stage is idle. (Papers often give the idle time as a share of the time
//! in which a stage *works*, which is another number: it can be more than 1.)
//!
//! Then turn it round. Somebody is ready to lose some percent of the time, and asks how
//! many micro-batches that takes, at least. For $v > 1$ it has to be a multiple of $p$.
//!
//! The checks simulate the schedules.
//!
//! ## Hint
//!
//! Let a forward take $f$ in one chunk, and a backward $b$. For how long does a stage
//! work? Stage 0 is idle while its first micro-batch is elsewhere and nothing else is
//! there to do: draw 3 stages with one chunk and with two, in a timeline where a chunk
//! of the second is half as long. For the second function, multiply by the denominator:
//! the condition becomes one on $m$, in whole numbers. Which $m$ is right for 1 stage?
#![allow(unused_variables)]

/// The share of all the time, from 0 to 1, in which a stage is idle.
pub fn idle_share(stages: usize, micros: usize, chunks: usize) -> f64 {
    todo!("idle time by all time")
}

/// The fewest micro-batches with which a stage is idle for at most `percent` (1 to 100)
/// percent of all the time.
pub fn micro_batches(stages: usize, chunks: usize, percent: usize) -> usize {
    todo!("idle_share, turned round")
}
