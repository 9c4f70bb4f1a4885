//! How many floating-point operations were really made.
//!
//! **Counted** are matrix products, as every convention has it: `2 · m · n · k` for
//! `[m, k]` times `[k, n]`, a multiplication and an addition for each of `m · n · k`
//! pairs, where [`gemm`](fn@crate::gemm::gemm) is entered. So it is what was computed,
//! not what a formula says had to be: attention's blocks on the diagonal count whole,
//! and so do the scores that its backward computes again.
//!
//! **Not counted** is everything else: norms, softmax, the gate, rotations, biases,
//! sums of residuals and gradients, the optimizer. Their number per token grows with
//! the hidden size where that of the products grows with its square.
//!
//! The count belongs to the thread. What a rank's helpers compute in a region
//! ([`crate::threads`]) counts for the thread that entered it, so the number does not
//! depend on how many they are.
use std::cell::Cell;
use std::ops::{AddAssign, Sub};

/// Operations, and how many of them were made inside attention.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Made {
    pub all: u64,
    pub attention: u64,
}

impl AddAssign for Made {
    fn add_assign(&mut self, other: Made) {
        self.all += other.all;
        self.attention += other.attention;
    }
}

impl Sub for Made {
    type Output = Made;
    fn sub(self, before: Made) -> Made {
        let (all, attention) = (before.all, before.attention);
        Made { all: self.all - all, attention: self.attention - attention }
    }
}

thread_local! {
    static MADE: Cell<Made> = const { Cell::new(Made { all: 0, attention: 0 }) };
}

/// Floating-point operations of matrix products that the calling thread made, or had
/// its helpers make, since it started. What a stretch of code costs is the difference
/// of two calls.
pub fn flops() -> u64 {
    MADE.get().all
}

/// Those of [`flops`] that were made by [`attention`](fn@crate::attention), forward and
/// backward: the part that grows with the length of a sequence.
pub fn attention_flops() -> u64 {
    MADE.get().attention
}

/// Counts operations for the calling thread.
pub(crate) fn add(made: Made) {
    let mut sum = MADE.get();
    sum += made;
    MADE.set(sum);
}

/// Counts the product of `[m, k]` and `[k, n]`.
pub(crate) fn add_product(m: usize, n: usize, k: usize) {
    add(Made { all: 2 * m as u64 * n as u64 * k as u64, attention: 0 });
}

/// What `f` makes on the calling thread, taken from its count: it is to be counted for
/// another thread.
pub(crate) fn take(f: impl FnOnce()) -> Made {
    let before = MADE.get();
    f();
    MADE.replace(before) - before
}

/// Runs `f`; all that it makes counts as attention's.
pub(crate) fn of_attention<R>(f: impl FnOnce() -> R) -> R {
    let before = MADE.get().all;
    let result = f();
    let mut made = MADE.get();
    made.attention += made.all - before;
    MADE.set(made);
    result
}
