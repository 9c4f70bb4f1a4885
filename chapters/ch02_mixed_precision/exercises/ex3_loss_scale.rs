//! # Fill in: the dynamic loss scale
//!
//! The smallest number above zero that fp16 has is about $6 \cdot 10^{-8}$, the largest
//! 65504. A gradient may well be smaller than the one, and becomes zero; none may be
//! larger than the other. So the loss is multiplied by a scale, as large as it can be
//! without an overflow. How large that is changes during training, and is found by
//! trying:
//!
//! - an overflow (a gradient that is infinite or NaN) halves the scale, and the step is
//!   skipped. The scale never falls below 1;
//! - after `window` steps without an overflow, one after the other, the scale doubles;
//!   and then the next `window` steps have to go well before it doubles again. An
//!   overflow starts the count anew.
//!
//! Write the rule. It is told after each step's backward whether there was an overflow,
//! and answers whether the optimizer may make this step. (The chapter's run ends with
//! an error at an overflow with a scale of 1; yours stays at 1 and skips the step.)
//!
//! ## Hint
//!
//! Take a window of 3 and write down scale and count after each of seven good steps;
//! in which of them does the scale change, and what is the count then? Then put an
//! overflow in the place of the third. In which step does the scale change now?
#![allow(unused_variables)]

/// The scale of the loss, and what decides on it.
#[derive(Clone, Debug)]
pub struct LossScaler {
    /// What the loss of the next step is multiplied by: a power of two, 1 or more.
    pub scale: f64,
    /// Good steps in a row after which the scale doubles, 1 or more.
    pub window: u64,
    /// Good steps in a row so far, 0 at first.
    pub good: u64,
}

impl LossScaler {
    /// Learns whether a gradient of this step overflowed, sets the scale of the next
    /// step, and returns whether this step is made.
    pub fn update(&mut self, overflow: bool) -> bool {
        todo!("double, halve, or leave it")
    }
}
