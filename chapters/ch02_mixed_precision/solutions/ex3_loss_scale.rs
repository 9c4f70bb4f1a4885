//! # Fill in: the dynamic loss scale
//!
//! The count is of good steps *in a row*: an overflow sets it to zero, and so does a
//! doubling, or the scale would double at every step from then on. The rule is not
//! symmetric on purpose. A scale that is too large costs a whole step and is halved at
//! once; one that is too small costs some digits of the smallest gradients, and has
//! time. So about one step in `window` is lost to the trial of a scale that is too
//! large.
//!
//! The scale is always a power of two. Multiplying by it changes the exponent of a
//! number and none of its digits, so the scaled run computes the same as one without,
//! as long as nothing overflows or underflows. The chapter's rule also has an upper
//! end, $2^{100}$, beyond which one over the scale would be no normal fp32 number.

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
        if overflow {
            self.scale = (self.scale / 2.0).max(1.0);
            self.good = 0;
            return false;
        }
        self.good += 1;
        if self.good == self.window {
            self.scale *= 2.0;
            self.good = 0;
        }
        true
    }
}
