//! # Fill in: 1F1B
//!
//! On the last stage a micro-batch is at the loss after its forward, and its backward
//! can follow at once. One stage earlier it comes back one forward and one backward
//! later, while the stage has made one more forward. So stage $s$ makes $p - 1 - s$
//! forwards ahead, and in steady state what goes backward is that many micro-batches
//! behind what goes forward. With fewer micro-batches than that, there is no steady
//! state.
//!
//! What is under way at a stage is the warm-up and one more, $p - s$, and $m$ is not in
//! it. The time is that of GPipe: the first stage still waits while the first
//! micro-batch goes through the $p - 1$ stages behind it, forward and back.
use ch07_pipeline_parallel::schedule::{Action, Pass};

/// What a stage does in a step of `micros` micro-batches, in order.
pub fn actions(stage: usize, stages: usize, micros: usize) -> Vec<Action> {
    let forward = |micro| Action { pass: Pass::Forward, chunk: stage, micro };
    let backward = |micro| Action { pass: Pass::Backward, chunk: stage, micro };
    let warmup = (stages - 1 - stage).min(micros);
    let mut actions: Vec<Action> = (0..warmup).map(forward).collect();
    for micro in warmup..micros {
        actions.extend([forward(micro), backward(micro - warmup)]);
    }
    actions.extend((micros - warmup..micros).map(backward));
    actions
}
