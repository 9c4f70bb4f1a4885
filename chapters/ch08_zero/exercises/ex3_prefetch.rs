//! # Fill in: the next stretch on its way
//!
//! With stage 3 no rank has a whole layer. A model is a list of *stretches*, one after
//! the other: the embedding, some stretches of one layer or more, and the head. Each
//! needs its flat buffers, of which `stretches[i]` has the numbers. If the embedding is
//! also the head's matrix, the last stretch has its own buffer and the embedding's: of
//! two layers, `[[0], [1], [2], [3, 0]]`.
//!
//! Write down what a rank does in one forward and in the backward that follows, as a
//! list of these calls:
//!
//! - `Fetch(flat)` starts to gather a buffer and returns at once; from here on it takes
//!   memory. What is here or under way stays as it is.
//! - `Need(flat)` waits until the buffer is here. It starts to gather it if nobody has.
//! - `Free(flat)` gives the memory back, if it has any.
//! - `Work(i)` goes through stretch `i`, forward or backward.
//!
//! These must hold:
//!
//! - The stretches work in their order, and backward in the opposite one; and when one
//!   works, all its buffers are here. Backward of the embedding, stretch 0, needs no
//!   values.
//! - While a stretch works, the buffers of the one that is next are here or under way.
//! - Between the start of a gather and the wait for it a stretch works, or nothing is
//!   hidden. Only the first stretch of forward has to wait.
//! - At any time, buffers that are here or under way belong to at most two neighbouring
//!   stretches. With a tied embedding these may be three buffers: `2`, `3` and `0`.
//! - The last stretch is the first in backward: its buffers stay, and no others.
//!   Backward begins with them, and in the end nothing is left.
//! - Nothing is gathered for nothing: in each pass at most once for each stretch that
//!   needs it, and not for backward where it stayed.
//!
//! The checks go through your list call by call; then two ranks carry it out with the
//! chapter's `Zero`, and look at the values that each stretch works with.
//!
//! ## Hint
//!
//! Write the forward of `[[0], [1], [2]]` by hand, and above each call the buffers that
//! have memory. Between two works there is time for four things: to free, to wait, to
//! start, in which order? What comes before the first work, and which of the four is
//! missing before the last? For backward: what is here when it begins, and what is
//! fetched before the head works? Then look at stretch 1 of it. Last, which buffer of
//! `[[0], [1, 0]]` must not be freed between its two works?
#![allow(dead_code, unused_variables)]

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
    todo!("each stretch is here when it works, and the next one on its way")
}

/// All calls of the backward that follows: the last stretch is here when it begins.
pub fn backward(stretches: &[Vec<usize>]) -> Vec<Call> {
    todo!("the same from behind")
}
