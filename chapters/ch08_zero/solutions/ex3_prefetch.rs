//! # Fill in: the next stretch on its way
//!
//! Between two works: free what is done, wait for what comes, start what comes after
//! it. To start before the free would have three stretches in memory. To start before
//! the wait is all the same here, as gathers of one group come in the order in which
//! they were started. The wait costs nothing where a stretch computes for longer than
//! the next one travels.
//!
//! A free passes over the buffers that the next stretch needs as well: there is one
//! such case, a tied model without layers, but also any chunk of a pipeline that is so
//! short. With layers in between, the tied embedding is freed and gathered once more
//! for the head.
//!
//! Backward ends early: the gradient of an embedding is added to the rows of the
//! tokens, and what they were does not matter. So when stretch 1 works, nothing is
//! under way.
//!
//! The chapter makes such calls one by one, from what the model says when a stretch
//! begins (`forward_through`, `backward_through` in `pipeline.rs`). PyTorch's FSDP2
//! notes in which order modules run forward, and fetches one ahead of backward by it;
//! `set_modules_to_backward_prefetch` asks for more, at the price of memory.

/// What a rank does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    /// Starts to gather a flat buffer.
    Fetch(usize),
    /// Waits until it is here.
    Need(usize),
    /// Goes through a stretch.
    Work(usize),
    /// Gives the memory of a flat buffer back.
    Free(usize),
}

/// All calls of a forward: nothing is here when it begins.
pub fn forward(stretches: &[Vec<usize>]) -> Vec<Call> {
    let mut calls = vec![];
    for (at, own) in stretches.iter().enumerate() {
        if let Some(before) = at.checked_sub(1) {
            let over = stretches[before].iter().filter(|flat| !own.contains(flat));
            calls.extend(over.copied().map(Call::Free));
        }
        calls.extend(own.iter().copied().map(Call::Need));
        let next = stretches.get(at + 1).into_iter().flatten();
        calls.extend(next.copied().map(Call::Fetch));
        calls.push(Call::Work(at));
    }
    calls
}

/// All calls of the backward that follows: the last stretch is here when it begins.
pub fn backward(stretches: &[Vec<usize>]) -> Vec<Call> {
    let mut calls = vec![];
    for (at, own) in stretches.iter().enumerate().rev() {
        // Backward of the embedding, stretch 0, needs no values.
        if at > 0 {
            calls.extend(own.iter().copied().map(Call::Need));
        }
        if at > 1 {
            calls.extend(stretches[at - 1].iter().copied().map(Call::Fetch));
        }
        calls.push(Call::Work(at));
        calls.extend(own.iter().copied().map(Call::Free));
    }
    calls
}
