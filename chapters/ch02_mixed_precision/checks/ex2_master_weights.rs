//! Updates too small for a bf16, beside the same without a master and in f64.
use crate::answer::ex2_master_weights::*;
use params::{Element, Init, Shard, bf16};

/// What becomes of a bf16 weight of 1 that has no master.
fn without_master(steps: usize, update: f32) -> bf16 {
    let mut weight = bf16::narrow(1.0);
    for _ in 0..steps {
        weight = bf16::narrow(weight.widen() - update);
    }
    weight
}

#[test]
fn a_hundred_small_updates_move_it() {
    let (mut master, mut weight) = (1.0, bf16::narrow(1.0));
    for _ in 0..100 {
        weight = step(&mut master, 1.0, 1e-4, 0.0);
    }
    let alone = without_master(100, 1e-4);
    assert!(alone == bf16::narrow(1.0), "without a master, 1 becomes {alone}");
    let want = bf16::narrow(0.99);
    assert!(
        (master - 0.99).abs() <= 1e-5,
        "100 updates of 1e-4 bring a master of 1 to {master}, expected 0.99. (A bf16 \
         without a master stays at {alone}.) The master takes the whole update, and \
         nothing that was rounded to bf16 goes into it"
    );
    assert!(
        weight == want,
        "after 100 updates of 1e-4 the master is {master}, but the weight {weight}, \
         expected {want}. (A bf16 without a master stays at {alone}.) Make it from the \
         master as it is after the step"
    );
}

#[test]
fn the_weight_is_the_master_rounded() {
    let grads: Vec<f64> =
        Init::Normal(1.0).draw(1, &Shard::whole("grads", &[300]), 0..300).collect();
    let mut master = 0.3;
    for (i, grad) in grads.into_iter().enumerate() {
        let weight = step(&mut master, grad as f32, 1e-3, 0.0);
        let want = bf16::narrow(master);
        assert!(
            weight == want,
            "step {}: the master is {master} after the step and the weight {weight}, \
             expected {want}, the bf16 nearest to the master: not cut off, and not \
             the last weight moved on",
            i + 1
        );
    }
}

#[test]
fn decay_is_that_of_the_master() {
    // 0.7 lies between two bf16, a fifth of the way from one to the other.
    let (lr, decay) = (0.1, 0.5);
    let (mut master, mut want) = (0.7f32, 0.7f64);
    for i in 1..=20 {
        let before = master;
        step(&mut master, 0.0, lr, decay);
        want *= 1.0 - 0.1 * 0.5;
        let rounded = bf16::narrow(before);
        assert!(
            (master as f64 - want).abs() <= 2e-6,
            "step {i}, no gradient, learning rate {lr}, decay {decay}: the master \
             goes from {before} to {master}, expected {want:.7}. It loses \
             {:.7}, and {lr} · {decay} times itself is {:.7} (times the bf16, \
             {rounded}, it is {:.7}, which is not asked for)",
            before - master,
            lr * decay * before,
            lr * decay * rounded.widen(),
        );
    }
}

#[test]
fn gradient_and_decay_agree_with_f64() {
    const STEPS: usize = 200;
    let shard = Shard::whole("grads", &[STEPS]);
    let grads: Vec<f64> = Init::Normal(1.0).draw(2, &shard, 0..STEPS).collect();
    let (mut master, mut want) = (-1.5f32, -1.5f64);
    for (i, grad) in grads.into_iter().enumerate() {
        let grad = grad as f32;
        let lr = 1e-3 * (i % 7) as f32;
        step(&mut master, grad, lr, 0.1);
        want -= lr as f64 * (grad as f64 + 0.1 * want);
        assert!(
            (master as f64 - want).abs() <= 1e-5,
            "step {}, gradient {grad}, learning rate {lr}, decay 0.1: the master is \
             {master}, in f64 it would be {want:.7}. The learning rate multiplies \
             gradient and decay alike, and the step goes against both",
            i + 1
        );
    }
}
