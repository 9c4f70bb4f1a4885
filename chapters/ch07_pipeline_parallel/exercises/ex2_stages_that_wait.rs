//! # Find the bug: stages that wait for each other
//!
//! Stages hold other things, too, and not all have the same room left for activations.
//! So this is 1F1B for stages of which each says how many micro-batches it has room
//! for, between their forward and their backward: `room[s]`, at least 1. As long as
//! there is room, a stage goes forward, but never with more micro-batches under way
//! than 1F1B has there, $p - s$. Then backward and forward take turns. A stage with
//! little room just has to wait more often.
//!
//! With some rooms it works, with others all stages wait for each other for ever. Each
//! list, looked at by itself, is as it should be.
//!
//! Find out why, and repair it. No stage may ever hold more than it has room for, and
//! none should have fewer under way than it could: with room enough it stays 1F1B.
//!
//! ## Hint
//!
//! Take 3 stages with room for 1, 2 and 1, and 2 micro-batches. Write down the three
//! lists, and cross out what can be done, until nothing can. Which micro-batch does
//! each stage wait for then, and what would its sender have to do first? A micro-batch
//! that is under way on one stage: where is it under way, too?
use ch07_pipeline_parallel::schedule::{Action, Pass};

/// What a stage does in a step of `micros` micro-batches, in order. `room[s]`: so many
/// of them stage `s` can hold.
pub fn actions(
    stage: usize,
    stages: usize,
    micros: usize,
    room: &[usize],
) -> Vec<Action> {
    // When the first one comes back, the stage has so many under way.
    let most = (stages - stage).min(room[stage]);
    let (mut forwards, mut backwards) = (0, 0);
    let mut actions = vec![];
    while backwards < micros {
        let (pass, count) = if forwards < micros && forwards - backwards < most {
            (Pass::Forward, &mut forwards)
        } else {
            (Pass::Backward, &mut backwards)
        };
        actions.push(Action { pass, chunk: stage, micro: *count });
        *count += 1;
    }
    actions
}
