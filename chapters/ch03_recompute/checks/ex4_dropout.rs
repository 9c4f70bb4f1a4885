//! Three layers and several steps: each way of keeping beside `Keep::All`, and beside
//! finite differences.
use crate::answer::ex4_dropout::*;
use candle_core::{DType, Device, Tensor};
use ch03_recompute::segment::Keep;
use ops::Pass;
use params::{Init, Param, ParamBuilder, Params, Shard};
use std::cell::Cell;
use std::rc::Rc;

const HIDDEN: usize = 6;
const TOKENS: usize = 5;
const LAYERS: usize = 3;
const P: f64 = 0.3;
const SEED: u64 = 7;

const RECOMPUTED: [Keep; 2] = [Keep::Ends, Keep::Input];

fn stack() -> (Vec<Param>, Params) {
    let mut builder = ParamBuilder::new(1, DType::F64);
    let shape = [2 * HIDDEN, HIDDEN];
    let mut layer = |n| builder.add(&format!("layer {n}"), &shape, Init::Normal(0.5));
    let layers = (0..LAYERS).map(&mut layer).collect();
    (layers, builder.build(1).unwrap())
}

/// `len` normally distributed numbers, others for each name.
fn draw(name: &str, len: usize) -> Vec<f64> {
    Init::Normal(1.0).draw(1, &Shard::whole(name, &[len]), 0..len).collect()
}

fn tensor(elements: &[f64]) -> Tensor {
    let shape = (1, elements.len() / HIDDEN, HIDDEN);
    Tensor::from_slice(elements, shape, &Device::Cpu).unwrap()
}

fn elements(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// What a step gives: the output, then the gradients of the input and of each layer,
/// for the gradient `dy` of the output.
fn step(dropout: &Rc<Dropout>, keep: Keep, x: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
    let (layers, params) = stack();
    params.begin_step().unwrap();
    let x = tensor(x);
    let record = ops::record(|| forward(&x, &layers, dropout, keep));
    let (y, tape) = record.unwrap_or_else(|error| panic!("{keep:?}, forward: {error}"));
    let dx = tape.backward_from(&y, tensor(dy)).and_then(|mut grads| grads.take(&x));
    let dx = dx.unwrap_or_else(|error| panic!("{keep:?}, backward: {error}"));
    let mut all = vec![elements(&y), elements(&dx)];
    all.extend(params.iter().map(|param| param.grad::<f64>().unwrap().to_vec()));
    all
}

/// What `step` returns, in words.
fn name(at: usize) -> String {
    match at {
        0 => "the output".to_owned(),
        1 => "the gradient of the input".to_owned(),
        at => format!("the gradient of layer {}", at - 2),
    }
}

#[test]
fn recomputation_changes_no_bit() {
    for keep in RECOMPUTED {
        let [tape, other] = [0; 2].map(|_| Rc::new(Dropout::new(P, SEED)));
        for n in 0..3 {
            let x = draw(&format!("x {n}"), TOKENS * HIDDEN);
            let dy = draw(&format!("dy {n}"), TOKENS * HIDDEN);
            let want = step(&tape, Keep::All, &x, &dy);
            let got = step(&other, keep, &x, &dy);
            for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                let differ = got.iter().zip(want).filter(|(a, b)| a != b).count();
                assert!(
                    differ == 0,
                    "step {n}, Keep::{keep:?}: {differ} of {} elements of {} are not \
                     what they are with Keep::All, from the same seed. Each layer's \
                     backward uses the mask of its forward, and a step starts with the \
                     mask that it starts with when nothing is computed again",
                    want.len(),
                    name(at)
                );
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    const STEP: f64 = 1e-6;
    let (layers, _params) = stack();
    let x = draw("x", TOKENS * HIDDEN);
    let dy = draw("dy", TOKENS * HIDDEN);
    // A loss whose gradient at the output is `dy`, with the first masks of the seed.
    let loss = |x: &[f64]| -> f64 {
        let dropout = Rc::new(Dropout::new(P, SEED));
        let y = forward(&tensor(x), &layers, &dropout, Keep::All).unwrap();
        elements(&y).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
    };
    for keep in [Keep::All, Keep::Ends, Keep::Input] {
        let dropout = Rc::new(Dropout::new(P, SEED));
        let dx = &step(&dropout, keep, &x, &dy)[1];
        for at in 0..x.len() {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[at] += by;
                loss(&x)
            };
            let want = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            assert!(
                (dx[at] - want).abs() <= 1e-6 * (1.0 + want.abs()),
                "Keep::{keep:?}: the gradient of element {at} of the input is \
                 {:.6}, by finite differences {want:.6}. It belongs to a network whose \
                 masks are not those of forward",
                dx[at]
            );
        }
    }
}

#[test]
fn it_is_still_computed_again() {
    for (keep, want) in [(Keep::All, LAYERS), (Keep::Ends, 2 * LAYERS)] {
        let runs = Rc::new(Cell::new(0));
        let seen = runs.clone();
        let count = move |op, pass| {
            let again = op == "swiglu" && pass == Pass::Forward;
            seen.set(seen.get() + again as usize)
        };
        let x = draw("x", TOKENS * HIDDEN);
        let dropout = Rc::new(Dropout::new(P, SEED));
        ops::observe(count, || step(&dropout, keep, &x, &x));
        assert!(
            runs.get() == want,
            "Keep::{keep:?}, {LAYERS} layers: forward and backward compute the gate \
             {} times, expected {want}: what is kept is the caller's choice",
            runs.get()
        );
    }
}

/// The output of a step for a long input of ones and layers that add
/// `silu(x) · x · 2` to what their mask keeps, with p of 0.5: it shows the masks.
fn masks(dropout: &Rc<Dropout>, layers: usize, keep: Keep) -> Vec<f64> {
    let mut builder = ParamBuilder::new(1, DType::F64);
    let mut layer =
        |n| builder.add(&format!("{n}"), &[2 * HIDDEN, HIDDEN], Init::Zeros);
    let all: Vec<Param> = (0..layers).map(&mut layer).collect();
    let params = builder.build_zeros().unwrap();
    for layer in &all {
        let mut weight = layer.values_mut::<f64>().unwrap();
        (0..2 * HIDDEN).for_each(|i| weight[i * HIDDEN + i % HIDDEN] = 1.0);
    }
    params.begin_step().unwrap();
    let x = tensor(&[1.0; 400 * HIDDEN]);
    let record = ops::record(|| forward(&x, &all, dropout, keep));
    let (y, tape) = record.unwrap_or_else(|error| panic!("{keep:?}, forward: {error}"));
    let grads = tape.backward_from(&y, y.ones_like().unwrap());
    drop(grads.unwrap_or_else(|error| panic!("{keep:?}, backward: {error}")));
    elements(&y)
}

/// A one that one layer kept: `1 + 2 silu(1)`. What none kept is still 1.
fn kept_once() -> f64 {
    1.0 + 2.0 / (1.0 + (-1f64).exp())
}

/// Of pairs, the part that is equal.
fn equal(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| (*a - *b).abs() < 1e-9).count() as f64
        / a.len() as f64
}

#[test]
fn each_layer_and_each_step_has_a_mask_of_its_own() {
    for keep in [Keep::All, Keep::Ends, Keep::Input] {
        let dropout = Rc::new(Dropout::new(0.5, SEED));
        let steps: Vec<_> = (0..4).map(|_| masks(&dropout, 1, keep)).collect();
        for (n, step) in steps.iter().enumerate() {
            let kept = equal(step, &vec![kept_once(); step.len()]);
            let dropped = equal(step, &vec![1.0; step.len()]);
            assert!(
                (0.45..0.55).contains(&kept) && kept + dropped == 1.0,
                "Keep::{keep:?}, step {n}: with p of 0.5, {kept:.3} of the elements \
                 are kept and doubled, and {dropped:.3} dropped"
            );
            for (m, other) in steps[..n].iter().enumerate() {
                let same = equal(step, other);
                assert!(
                    (0.45..0.55).contains(&same),
                    "Keep::{keep:?}: the masks of steps {m} and {n} agree in {same:.3} \
                     of their elements, expected about half: each step has its own"
                );
            }
        }
        let dropout = Rc::new(Dropout::new(0.5, SEED));
        let two = masks(&dropout, 2, keep);
        let one_of_them = equal(&two, &vec![kept_once(); two.len()]);
        assert!(
            (0.45..0.55).contains(&one_of_them),
            "Keep::{keep:?}, p of 0.5: {one_of_them:.3} of the elements are kept by \
             exactly one of two layers, expected about half: each layer has its own \
             mask"
        );
        // The third mask is not the second.
        let after = masks(&dropout, 1, keep);
        let second: Vec<f64> = {
            let dropout = Rc::new(Dropout::new(0.5, SEED));
            masks(&dropout, 1, keep);
            masks(&dropout, 1, keep)
        };
        let same = equal(&after, &second);
        assert!(
            (0.45..0.55).contains(&same),
            "Keep::{keep:?}: a step of two layers and then one of one layer: the \
             latter's mask agrees with the former's second in {same:.3} of its \
             elements, expected about half: masks that were used are not used again"
        );
        let seeds = [1, 2].map(|seed| Rc::new(Dropout::new(0.5, seed)));
        let [one, two] = seeds.map(|dropout| masks(&dropout, 1, keep));
        let same = equal(&one, &two);
        assert!(
            (0.45..0.55).contains(&same),
            "Keep::{keep:?}: the masks of seeds 1 and 2 agree in {same:.3} of their \
             elements, expected about half"
        );
    }
}
