//! What an answer must hold to, the same for the reader's and for ours.
pub mod ex1_one_f_one_b;
pub mod ex2_stages_that_wait;
pub mod ex3_uneven_layers;
pub mod ex4_bubble;
pub mod ex5_zero_bubble;
pub mod ex6_inbox;

use candle_core::{Device, Result, Tensor};
use ch07_pipeline_parallel::plan::{self, Plan, Slot};
use ch07_pipeline_parallel::schedule::{Action, Pass};

/// `1 stage`, `2 stages`.
pub fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `0F0 0F1 0B0`.
pub fn shown(actions: &[Action]) -> String {
    let all: Vec<String> = actions.iter().map(Action::to_string).collect();
    all.join(" ")
}

/// What a stage holds at most, from a micro-batch's forward until its backward.
pub fn most_held(actions: &[Action]) -> i64 {
    let (mut held, mut most) = (0, 0);
    for action in actions {
        held += if action.pass == Pass::Forward { 1 } else { -1 };
        most = most.max(held);
    }
    most
}

/// A line for each stage.
pub fn drawn(timeline: &[Vec<Slot>]) -> String {
    let lines = plan::draw(timeline).into_iter().enumerate();
    let lines = lines.map(|(stage, line)| format!("\n  stage {stage}  {line}"));
    lines.collect()
}

/// The plan of one chunk for each stage.
///
/// # Panics
/// It cannot be carried out; says why.
#[track_caller]
pub fn planned(lists: &[Vec<Action>], micros: usize, words: &str) -> Plan {
    match Plan::new(lists.to_vec(), lists.len(), micros) {
        Ok(plan) => plan,
        Err(error) => {
            let lists = lists.iter().map(|list| format!("\n  {}", shown(list)));
            panic!("{words}: {error}:{}", lists.collect::<String>())
        }
    }
}

/// A tensor of numbers between -1 and 1, others for each `seed`.
pub fn tensor(shape: &[usize], seed: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let number = |i: usize| ((seed * 131 + i * 17) as f64 * 0.618_034).sin();
    Tensor::from_vec((0..n).map(number).collect(), shape, &Device::Cpu)
}

/// The elements of `x`, row-major.
pub fn elements(x: &Tensor) -> Result<Vec<f64>> {
    x.flatten_all()?.to_vec1()
}

/// The largest difference, as a part of the largest element of `want`.
pub fn distance(got: &[f64], want: &[f64]) -> f64 {
    let largest = |all: &mut dyn Iterator<Item = f64>| all.fold(0.0, f64::max);
    let apart = largest(&mut got.iter().zip(want).map(|(a, b)| (a - b).abs()));
    // A NaN is far from everything; `max` would lose it.
    match got.len() == want.len() && got.iter().all(|x| x.is_finite()) {
        true => apart / largest(&mut want.iter().map(|x| x.abs())),
        false => f64::INFINITY,
    }
}
