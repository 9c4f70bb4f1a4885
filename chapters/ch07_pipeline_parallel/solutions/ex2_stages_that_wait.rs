//! # Find the bug: stages that wait for each other
//!
//! A micro-batch that is under way on a stage is under way on all stages before it: it
//! has come through them, and has not come back. A stage that wants three forward
//! before the first backward never gets the third if an earlier stage has room for two.
//! It waits for the third forward of that stage; which waits for the gradient of its
//! first micro-batch, to have room; which the later stage would make, after its third
//! forward. Each of them keeps the other from going on: a deadlock.
//!
//! So a stage's number is also bounded by the room of all stages before it, and not
//! only by that of its neighbour. Later stages do not matter: what an earlier one has
//! ahead waits in between. (More under way is not always faster, where room is uneven.
//! With room for 2, 2, 2 and 1, and 5 micro-batches, these lists take 42 units of time
//! if a forward takes 1 and a backward 2. With one less on stage 2 it would be 36: it
//! would make a backward while it now waits for one more forward.)
//!
//! A schedule is not right because each stage's list is. `Plan::new` goes through all
//! lists at once, as the hint does, and says who waits for whom before anything is
//! computed. Without such a check the run hangs, with every rank in a receive.
use ch07_pipeline_parallel::schedule::{Action, Pass};

/// What a stage does in a step of `micros` micro-batches, in order. `room[s]`: so many
/// of them stage `s` can hold.
pub fn actions(
    stage: usize,
    stages: usize,
    micros: usize,
    room: &[usize],
) -> Vec<Action> {
    // No more arrive than the stages before have under way, each of them.
    let most = room[..=stage].iter().fold(stages - stage, |most, room| most.min(*room));
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
