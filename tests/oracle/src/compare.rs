//! Both sides' results beside each other, and beside what both approximate.
//!
//! In fp32 and bf16 the two sides round differently, and no bound on their distance
//! says by itself whether one of them is wrong or both are merely rounded. So a third
//! run is made, by the oracle in fp64, and each side is measured against that too:
//! whoever is as near to it as the other is right to within rounding.
use crate::adamw::{AdamW, learning_rate, norm};
use crate::cases::{Case, STEPS};
use crate::decoder::gradients_at;
use crate::ours::Run;
use crate::{Tensors, kind, to_kind};
use anyhow::{Result, ensure};
use ch02_mixed_precision::config::Precision;
use std::collections::BTreeMap;
use std::fmt;
use tch::{Kind, Tensor};

/// How far results for one thing are apart: `‖a - b‖`, in parts of its size in fp64. Of
/// weights, the size is how far they have moved since the start.
#[derive(Clone, Debug)]
pub struct Distance {
    /// `loss`, `norm`, `gradient`, `weights` or `all weights`.
    pub what: &'static str,
    /// The tensor's name, if it is one of many.
    pub name: String,
    /// After or in which step.
    pub step: u64,
    /// Ours from the oracle's in the same precision.
    pub apart: f64,
    /// Ours from the oracle's in fp64.
    pub ours: f64,
    /// The oracle's from itself in fp64.
    pub theirs: f64,
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Distance { what, name, step, apart, ours, theirs } = self;
        write!(f, "{what} {name}, step {step}: {apart:.1e} apart; from fp64 ours ")?;
        write!(f, "{ours:.1e}, theirs {theirs:.1e}")
    }
}

/// The three results for one thing.
struct Three<'a, T: ?Sized> {
    ours: &'a T,
    theirs: &'a T,
    exact: &'a T,
}

impl Three<'_, f64> {
    fn distance(&self, what: &'static str, step: u64) -> Distance {
        let from = |a: f64, b: f64| ((a - b) / b).abs();
        Distance {
            what,
            name: String::new(),
            step,
            apart: from(*self.ours, *self.theirs),
            ours: from(*self.ours, *self.exact),
            theirs: from(*self.theirs, *self.exact),
        }
    }
}

impl Three<'_, Tensors> {
    /// Of each tensor, as a part of `size`'s.
    fn distances(
        &self,
        what: &'static str,
        step: u64,
        size: &Tensors,
    ) -> Result<Vec<Distance>> {
        ensure!(
            self.ours.keys().eq(self.theirs.keys()),
            "the two sides do not have the same parameters"
        );
        let distance = |name: &String| {
            let one = |all: &Tensors| {
                Tensors::from([(name.clone(), all[name].shallow_clone())])
            };
            let [ours, theirs, exact] = [self.ours, self.theirs, self.exact].map(one);
            let from = |a, b| norm(&minus(a, b)) / norm(&one(size));
            Distance {
                what,
                name: name.clone(),
                step,
                apart: from(&ours, &theirs),
                ours: from(&ours, &exact),
                theirs: from(&theirs, &exact),
            }
        };
        Ok(self.ours.keys().map(distance).collect())
    }
    /// Of all tensors as one vector.
    fn distance(&self, what: &'static str, step: u64, size: &Tensors) -> Distance {
        let from = |a, b| norm(&minus(a, b)) / norm(size);
        Distance {
            what,
            name: "as one vector".into(),
            step,
            apart: from(self.ours, self.theirs),
            ours: from(self.ours, self.exact),
            theirs: from(self.theirs, self.exact),
        }
    }
}

/// `a - b`, in fp64.
fn minus(a: &Tensors, b: &Tensors) -> Tensors {
    let minus = |(name, b): (&String, &Tensor)| {
        let a = &a[name];
        assert_eq!(a.size(), b.size(), "the shape of {name}");
        (name.clone(), a.to_kind(Kind::Double) - b.to_kind(Kind::Double))
    };
    b.iter().map(minus).collect()
}

/// Sets a case in some precision beside the oracle's.
pub type Comparison = fn(&Case, Precision) -> Result<Vec<Distance>>;

/// Our run, and at each of its steps, **at our weights**, loss and gradients once more
/// by the oracle: `loss`, `norm`, `gradient`, at all 20 steps.
///
/// # Errors
/// A side cannot make its run.
pub fn same_weights(case: &Case, precision: Precision) -> Result<Vec<Distance>> {
    let kind = kind(precision)?;
    let mut run = Run::new(case, precision, &case.start()?)?;
    let mut distances = vec![];
    for step in 1..=STEPS {
        let batches = case.batches(step)?;
        let weights = run.weights()?;
        let (loss, grad_norm) = run.backward(&batches)?;
        let theirs = gradients_at(case, kind, &weights, &batches)?;
        let exact = gradients_at(case, Kind::Double, &weights, &batches)?;
        let losses = Three { ours: &loss, theirs: &theirs.0, exact: &exact.0 };
        distances.push(losses.distance("loss", step));
        let [their_norm, exact_norm] = [norm(&theirs.1), norm(&exact.1)];
        let norms = Three { ours: &grad_norm, theirs: &their_norm, exact: &exact_norm };
        distances.push(norms.distance("norm", step));
        let gradients =
            Three { ours: &run.gradients()?, theirs: &theirs.1, exact: &exact.1 };
        distances.extend(gradients.distances("gradient", step, &exact.1)?);
        run.step(step, grad_norm)?;
    }
    Ok(distances)
}

/// Our run, and the oracle's optimizer fed **our gradients**: `weights` and
/// `all weights` after each of the 20 steps.
///
/// # Errors
/// A side cannot make its run.
pub fn same_gradients(case: &Case, precision: Precision) -> Result<Vec<Distance>> {
    let kind = kind(precision)?;
    let start = case.start()?;
    let mut run = Run::new(case, precision, &start)?;
    let mut theirs = AdamW::new(kind, &start);
    let mut exact = AdamW::new(Kind::Double, &start);
    let mut distances = vec![];
    for step in 1..=STEPS {
        let (_, grad_norm) = run.backward(&case.batches(step)?)?;
        let gradients = run.gradients()?;
        run.step(step, grad_norm)?;
        let lr = lr(case, step);
        theirs.step(&to_kind(&gradients, crate::wide(kind)), lr, &case.config);
        exact.step(&gradients, lr, &case.config);
        let three = Three {
            ours: &run.weights()?,
            theirs: &theirs.weights(),
            exact: &exact.weights(),
        };
        let moved = minus(three.exact, &start);
        distances.extend(three.distances("weights", step, &moved)?);
        distances.push(three.distance("all weights", step, &moved));
    }
    Ok(distances)
}

/// What a run leaves: the loss and the gradient's norm of each step, and the weights.
pub struct Trained {
    /// Nats per token.
    pub losses: Vec<f64>,
    /// Before clipping.
    pub norms: Vec<f64>,
    /// After the last step.
    pub weights: Tensors,
}

/// The oracle's whole run, alone.
///
/// # Errors
/// It cannot be made.
pub fn their_run(case: &Case, kind: Kind) -> Result<Trained> {
    let mut optimizer = AdamW::new(kind, &case.start()?);
    let (mut losses, mut norms) = (vec![], vec![]);
    for step in 1..=STEPS {
        let batches = case.batches(step)?;
        let weights = optimizer.weights();
        let (loss, gradients) = gradients_at(case, kind, &weights, &batches)?;
        norms.push(optimizer.step(&gradients, lr(case, step), &case.config));
        losses.push(loss);
    }
    Ok(Trained { losses, norms, weights: optimizer.weights() })
}

/// Our whole run, alone, step by step.
///
/// # Errors
/// It cannot be made.
pub fn our_run(case: &Case, precision: Precision) -> Result<Trained> {
    let mut run = Run::new(case, precision, &case.start()?)?;
    let (mut losses, mut norms) = (vec![], vec![]);
    for step in 1..=STEPS {
        let (loss, grad_norm) = run.backward(&case.batches(step)?)?;
        run.step(step, grad_norm)?;
        losses.push(loss);
        norms.push(grad_norm);
    }
    Ok(Trained { losses, norms, weights: run.weights()? })
}

/// Both sides' runs, **alone** but for the start: `loss` and `norm` of each step,
/// `weights` and `all weights` after the last.
///
/// # Errors
/// A side cannot make its run.
pub fn alone(case: &Case, precision: Precision) -> Result<Vec<Distance>> {
    let ours = our_run(case, precision)?;
    let theirs = their_run(case, kind(precision)?)?;
    let exact = their_run(case, Kind::Double)?;
    let mut distances = vec![];
    for i in 0..STEPS as usize {
        let pick = |all: fn(&Trained) -> &Vec<f64>, what| {
            let [ours, theirs, exact] =
                [&ours, &theirs, &exact].map(|run| &all(run)[i]);
            Three { ours, theirs, exact }.distance(what, i as u64 + 1)
        };
        distances.push(pick(|run| &run.losses, "loss"));
        distances.push(pick(|run| &run.norms, "norm"));
    }
    let [ours, theirs, exact] = [&ours, &theirs, &exact].map(|run| &run.weights);
    let three = Three { ours, theirs, exact };
    let moved = minus(exact, &case.start()?);
    distances.extend(three.distances("weights", STEPS, &moved)?);
    distances.push(three.distance("all weights", STEPS, &moved));
    Ok(distances)
}

fn lr(case: &Case, step: u64) -> f64 {
    let warmup = case.config.warmup.unwrap_or_default();
    learning_rate(step, case.config.steps, warmup, case.max_lr())
}

/// The distance at which the two sides are furthest apart in `what`.
///
/// # Panics
/// There is none.
pub fn worst<'a>(distances: &'a [Distance], what: &str) -> &'a Distance {
    // A distance that is no number counts as the largest.
    let size = |d: &Distance| if d.apart.is_nan() { f64::INFINITY } else { d.apart };
    let all = distances.iter().filter(|distance| distance.what == what);
    let worst = all.max_by(|a, b| size(a).total_cmp(&size(b)));
    worst.unwrap_or_else(|| panic!("there is no {what}"))
}

/// Of each thing of this kind, the root mean square over its steps.
fn over_steps(distances: &[Distance], what: &str) -> Vec<Distance> {
    let mut steps = BTreeMap::<&str, Vec<&Distance>>::new();
    for distance in distances.iter().filter(|distance| distance.what == what) {
        steps.entry(&distance.name).or_default().push(distance);
    }
    let mean = |all: Vec<&Distance>| {
        let mean = |of: fn(&Distance) -> f64| {
            let squares = all.iter().map(|distance| of(distance).powi(2));
            (squares.sum::<f64>() / all.len() as f64).sqrt()
        };
        let (apart, ours) = (mean(|d| d.apart), mean(|d| d.ours));
        let last = all[all.len() - 1].clone();
        Distance { apart, ours, theirs: mean(|d| d.theirs), ..last }
    };
    steps.into_values().map(mean).collect()
}

/// Checks that the two sides are nowhere further apart in `what` than `most`.
///
/// # Panics
/// They are.
pub fn assert_apart(distances: &[Distance], what: &str, most: f64) {
    let worst = worst(distances, what);
    assert!(worst.apart <= most, "{worst}: expected at most {most:.1e} apart");
}

/// Checks that we are as near to fp64 in `what` as the oracle is, but for `factor`: of
/// each thing, over all steps, since at a single one either is nearer by chance.
///
/// # Panics
/// We are not.
pub fn assert_as_near(distances: &[Distance], what: &str, factor: f64) {
    for mean in over_steps(distances, what) {
        let Distance { ours, theirs, .. } = mean;
        assert!(
            ours <= factor * theirs,
            "root mean square over the steps: {mean}: expected at most {factor} times \
             theirs"
        );
    }
}
