//! # Fill in: a step on a master weight
//!
//! The way leads only from the master to the bf16. An update that does not show in the
//! bf16 is not lost: the master keeps it, and after enough of them the bf16 moves to
//! its next number. If the bf16 were read back, if only for the decay, its rounding
//! error would enter the weight at each step.
//!
//! So 16-bit weights save no memory: each has 4 bytes of master beside its own 2, where
//! fp32 has 4. What is saved is half of every activation. (Kahan summation, or rounding
//! up or down at random with the right odds, does without a master; we keep to what
//! Megatron-LM does.)
use params::{Element, bf16};

/// One step of the weight `master` with the gradient `grad`, learning rate `lr` (η) and
/// `weight_decay` (λ); returns the weight that the model computes with.
pub fn step(master: &mut f32, grad: f32, lr: f32, weight_decay: f32) -> bf16 {
    *master -= lr * (grad + weight_decay * *master);
    bf16::narrow(*master)
}
