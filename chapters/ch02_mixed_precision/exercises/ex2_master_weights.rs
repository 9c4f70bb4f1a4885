//! # Fill in: a step on a master weight
//!
//! Below 1, the next bf16 is $1/256$ away; above, $1/128$. An update of $10^{-4}$ is
//! far less than half of that: added to a bf16 weight of 1 it rounds away, today and
//! each time after. So the optimizer has a *master* of each weight, in fp32, and only
//! what the model computes with is bf16.
//!
//! Write one step of gradient descent with weight decay,
//!
//! $$w \leftarrow w - \eta \, (g + \lambda w)$$
//!
//! for one weight: change its master, and return the bf16 that the model computes with
//! from now on. `params::Element::narrow` rounds an f32 to it.
//!
//! ## Hint
//!
//! Two numbers stand for the weight, and each has one job. Which of them has to
//! remember a step too small to be seen in the other? Who may read the bf16, and is the
//! optimizer among them? Nothing of what was rounded may find its way back.
#![allow(unused_variables)]
use params::bf16;

/// One step of the weight `master` with the gradient `grad`, learning rate `lr` (η) and
/// `weight_decay` (λ); returns the weight that the model computes with.
pub fn step(master: &mut f32, grad: f32, lr: f32, weight_decay: f32) -> bf16 {
    todo!("the master's step, and its rounded copy")
}
