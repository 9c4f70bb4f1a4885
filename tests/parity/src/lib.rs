//! The parity harness: whatever the layout, a training is that of chapter 1 on the same
//! data, in the loss of every step, every gradient, its norm and the weights.
//!
//! [`Reference`] is what one rank of chapter 1 comes to. [`Reference::compare`] looks
//! at what one rank of any chapter holds: each of its parameters says which slice of
//! the whole it is, and is compared with that slice of the reference. So the same
//! harness serves replicas, shards and stages, on threads and in processes of their
//! own; [`Reference::check_ranks`] adds what only all ranks together can show.
//!
//! And programs: `parity_of_processes` does so under `mpirun`, `dp_bytes`, `tp_bytes`
//! and `sp_bytes` count what a step sends beside its closed form, `tp_memory` what it
//! keeps for backward, `tp_apart` prints how far tensor and sequence parallelism are
//! from chapter 1, `timeline` shows when each rank did what; `pp_timeline`, `pp_memory`
//! and `pp_bytes` do as much for stages. A package of its own, so that nothing else
//! that is measured depends on the chapters that have ranks.
#![warn(missing_docs)]

pub mod ch04;
pub mod pp;
pub mod pp_stage;
pub mod reference;
pub mod small;
pub mod tp;
pub mod tp_memory;
pub mod zero;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use params::{Param, Params};
use runlog::Step;
use std::collections::HashMap;
use std::fmt;

/// What one rank of chapter 1 comes to.
pub struct Reference {
    steps: Vec<Step>,
    val_loss: Option<f64>,
    /// Values and gradient of the last step, row-major, by name.
    tensors: HashMap<String, [Vec<f64>; 2]>,
}

/// How far two trainings are apart: the largest relative difference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distance {
    /// Of the loss of any step, and of the validation loss.
    pub loss: f64,
    /// Of the gradient's norm in any step.
    pub grad_norm: f64,
    /// Of a parameter's gradient in the last step, as a vector; and of which.
    pub gradient: (f64, String),
    /// Of a parameter after the last step, as a vector; and of which.
    pub weight: (f64, String),
}

impl Distance {
    /// The largest of all.
    pub fn worst(&self) -> f64 {
        [self.grad_norm, self.gradient.0, self.weight.0]
            .into_iter()
            .fold(self.loss, larger)
    }
    /// # Errors
    /// Something is further apart than `bound` allows; `bound` has no names. Says what.
    pub fn check(&self, bound: &Distance) -> Result<()> {
        let all = [
            ("the loss", self.loss, bound.loss),
            ("the gradient's norm", self.grad_norm, bound.grad_norm),
            ("the gradient of ", self.gradient.0, bound.gradient.0),
            ("the weights of ", self.weight.0, bound.weight.0),
        ];
        for (i, (what, distance, bound)) in all.into_iter().enumerate() {
            let name = ["", "", &self.gradient.1, &self.weight.1][i];
            // Not "larger": NaN is neither.
            let within = distance <= bound;
            ensure!(within, "{what}{name} differs by {distance:.1e}, of {bound:.1e}");
        }
        Ok(())
    }
    /// One more parameter: how far its values are, and its gradient.
    fn add(&mut self, name: &str, distances: [f64; 2]) {
        let worst = [&mut self.weight, &mut self.gradient];
        for (worst, new) in worst.into_iter().zip(distances) {
            if new > worst.0 || new.is_nan() {
                *worst = (new, name.to_string());
            }
        }
    }
    /// The same bound for everything.
    pub fn all(bound: f64) -> Distance {
        let named = || (bound, String::new());
        Distance { loss: bound, grad_norm: bound, gradient: named(), weight: named() }
    }
    /// `factor` times as far.
    pub fn times(&self, factor: f64) -> Distance {
        let named = |(x, name): &(f64, String)| (x * factor, name.clone());
        Distance {
            loss: self.loss * factor,
            grad_norm: self.grad_norm * factor,
            gradient: named(&self.gradient),
            weight: named(&self.weight),
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distance { loss, grad_norm, gradient, weight } = self;
        write!(
            f,
            "loss {loss:.1e}, norm {grad_norm:.1e}, gradients {:.1e}, weights {:.1e}",
            gradient.0, weight.0
        )
    }
}

/// The larger one; NaN if either is.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// `|a - b| / |b|`, as vectors; where `b` is zero, so must `a` be.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let differs = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if differs == 0.0 { 0.0 } else { differs / norm(&mut b.iter().copied()) }
}

fn wide(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Values and gradient of what is held here.
///
/// # Errors
/// Padding is not zero.
fn numbers(param: &Param) -> Result<[Vec<f64>; 2]> {
    let mut numbers = [wide(&param.to_tensor()?)?, wide(&param.grad_tensor()?)?];
    for numbers in &mut numbers {
        let padding = numbers.split_off(param.shard().held_elements());
        let zero = padding.iter().all(|x| *x == 0.0);
        ensure!(zero, "{}: the padding is not zero", param.name());
    }
    Ok(numbers)
}

impl Reference {
    /// Of a training of whole parameters.
    ///
    /// # Errors
    /// A parameter has no gradient, or is not whole.
    pub fn new(
        steps: &[Step],
        val_loss: Option<f64>,
        params: &Params,
    ) -> Result<Reference> {
        let mut tensors = HashMap::new();
        for param in params.iter() {
            let shard = param.shard();
            ensure!(shard.shape == shard.global_shape, "{} is not whole", shard.name);
            tensors.insert(shard.name.clone(), numbers(param)?);
        }
        Ok(Reference { steps: steps.to_vec(), val_loss, tensors })
    }
    /// How far one rank of another training is from this one.
    ///
    /// # Errors
    /// It made another number of steps, measured no validation loss where this did, saw
    /// another number of tokens, or has a parameter that this has not.
    pub fn compare(
        &self,
        steps: &[Step],
        val_loss: Option<f64>,
        params: &Params,
    ) -> Result<Distance> {
        let mut found = self.losses(steps, val_loss)?;
        for param in params.iter() {
            let shard = param.shard();
            let whole = self.whole(&shard.name)?;
            let own = self.unscaled(steps, numbers(param)?);
            let held = 0..shard.held_elements();
            let slice = |whole: &Vec<f64>| -> Vec<f64> {
                held.clone().map(|i| whole[shard.global_index(i)]).collect()
            };
            found
                .add(&shard.name, [0, 1].map(|i| distance(&own[i], &slice(&whole[i]))));
        }
        Ok(found)
    }
    /// As [`Reference::compare`], of all ranks together, which report the same `steps`:
    /// each parameter as a whole. (A slice of it may be much smaller than the rest, and
    /// its rounding errors relatively larger.)
    ///
    /// # Errors
    /// As for [`Reference::compare`].
    pub fn compare_all(
        &self,
        steps: &[Step],
        val_loss: Option<f64>,
        ranks: &[&Params],
    ) -> Result<Distance> {
        let mut found = self.losses(steps, val_loss)?;
        for (name, whole) in &self.tensors {
            let mut all = whole.each_ref().map(|whole| vec![f64::NAN; whole.len()]);
            for param in ranks.iter().filter_map(|params| params.get(name)) {
                let own = self.unscaled(steps, numbers(param)?);
                for (all, own) in all.iter_mut().zip(&own) {
                    for (i, number) in own.iter().enumerate() {
                        all[param.shard().global_index(i)] = *number;
                    }
                }
            }
            found.add(name, [0, 1].map(|i| distance(&all[i], &whole[i])));
        }
        Ok(found)
    }
    /// Values and gradient of a parameter.
    fn whole(&self, name: &str) -> Result<&[Vec<f64>; 2]> {
        self.tensors.get(name).with_context(|| format!("no reference {name}"))
    }
    /// Gradients are kept as backward left them: of the scaled loss.
    fn unscaled(&self, steps: &[Step], mut numbers: [Vec<f64>; 2]) -> [Vec<f64>; 2] {
        let scale =
            steps.last().and_then(|step| step.extra.get("loss_scale")?.as_f64());
        numbers[1].iter_mut().for_each(|grad| *grad /= scale.unwrap_or(1.0));
        numbers
    }
    /// How far the losses and the gradients' norms are.
    fn losses(&self, steps: &[Step], val_loss: Option<f64>) -> Result<Distance> {
        let mut found = Distance::default();
        let tokens =
            |steps: &[Step]| steps.iter().map(|s| s.tokens).collect::<Vec<_>>();
        let (seen, want) = (tokens(steps), tokens(&self.steps));
        ensure!(seen == want, "tokens of the steps are {seen:?}, expected {want:?}");
        let relative = |a: f64, b: f64| distance(&[a], &[b]);
        for (step, want) in steps.iter().zip(&self.steps) {
            found.loss = larger(found.loss, relative(step.loss, want.loss));
            let norm = relative(step.grad_norm, want.grad_norm);
            found.grad_norm = larger(found.grad_norm, norm);
        }
        match (val_loss, self.val_loss) {
            (Some(loss), Some(want)) => {
                found.loss = larger(found.loss, relative(loss, want))
            }
            (None, None) => {}
            other => bail!("validation losses {other:?}"),
        }
        Ok(found)
    }
    /// Checks that the ranks together hold every element of every parameter, that what
    /// several ranks hold is the same there bit for bit, and that all elements of a
    /// parameter count equally often in the ranks' norms: once in each replica.
    ///
    /// # Errors
    /// Names the parameter.
    pub fn check_ranks(&self, ranks: &[&Params]) -> Result<()> {
        for (name, [whole, _]) in &self.tensors {
            let mut held: Vec<Option<[u64; 2]>> = vec![None; whole.len()];
            let mut counted = vec![0; whole.len()];
            for (rank, params) in ranks.iter().enumerate() {
                let Some(param) = params.get(name) else { continue };
                let [values, grads] = numbers(param)?;
                for (i, (value, grad)) in values.iter().zip(&grads).enumerate() {
                    let at = param.shard().global_index(i);
                    let bits = [value.to_bits(), grad.to_bits()];
                    let same = held[at].is_none_or(|other| other == bits);
                    ensure!(same, "rank {rank} holds another {name}[{at}] than before");
                    held[at] = Some(bits);
                    counted[at] += usize::from(param.shard().counts());
                }
            }
            let missing = held.iter().position(Option::is_none);
            ensure!(missing.is_none(), "no rank holds {name}{missing:?}");
            // Whole replicas may count everywhere: each has a norm of its own.
            let once = counted.iter().all(|n| *n == counted[0] && *n > 0);
            ensure!(once, "elements of {name} count differently in norms");
        }
        Ok(())
    }
}

/// Rows of choices, one of each factor, such that any two choices of different factors
/// occur together in some row; `factors` says how many choices each has. Far fewer rows
/// than the product of all: the largest two factors decide. Always the same rows.
pub fn covering(factors: &[usize]) -> Vec<Vec<usize>> {
    let mut open = vec![];
    for (i, n) in factors.iter().enumerate() {
        for (j, m) in factors.iter().enumerate().skip(i + 1) {
            open.extend((0..*n).flat_map(|a| (0..*m).map(move |b| [(i, a), (j, b)])));
        }
    }
    let mut rows = vec![];
    while let Some(first) = open.first().copied() {
        let mut row: Vec<Option<usize>> = vec![None; factors.len()];
        for (factor, choice) in first {
            row[factor] = Some(choice);
        }
        // The other factors, one by one: what closes most of the open pairs.
        for factor in 0..factors.len() {
            if row[factor].is_some() {
                continue;
            }
            let closes = |choice: usize| {
                let with = |(f, c): (usize, usize)| {
                    (f, c) == (factor, choice) || row[f] == Some(c)
                };
                let new = |pair: &&[(usize, usize); 2]| {
                    pair.contains(&(factor, choice)) && pair.iter().all(|x| with(*x))
                };
                open.iter().filter(new).count()
            };
            // The first of the best.
            let best = (0..factors[factor]).rev().max_by_key(|choice| closes(*choice));
            row[factor] = best;
        }
        let row: Vec<usize> = row.into_iter().flatten().collect();
        open.retain(|pair| pair.iter().any(|(factor, choice)| row[*factor] != *choice));
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_choices_occurs() {
        for factors in [&[4, 3, 2, 2, 3][..], &[2, 2, 2, 2, 2, 2, 2], &[6, 5]] {
            let rows = covering(factors);
            for (i, n) in factors.iter().enumerate() {
                for (j, m) in factors.iter().enumerate().filter(|(j, _)| *j != i) {
                    for (a, b) in (0..*n).flat_map(|a| (0..*m).map(move |b| (a, b))) {
                        assert!(rows.iter().any(|row| row[i] == a && row[j] == b));
                    }
                }
            }
            let product: usize = factors.iter().product();
            let [mut most, mut second] = [1, 1];
            for n in factors {
                (most, second) = (most.max(*n), second.max(most.min(*n)));
            }
            assert!(rows.len() <= product.min(2 * most * second), "{}", rows.len());
        }
    }
}
