//! f and g each by itself, forward and backward, and a pair of matrices between them.
use super::{distance, elements, length, many, ranks, tensor};
use crate::answer::ex2_f_and_g::*;
use candle_core::{DType, Error, Result, Tensor};
use comm::{Group, Span};
use params::{Init, Param, ParamBuilder, Shard};
use std::slice::from_ref;

/// What one of the two operators did on a rank.
struct Seen {
    /// What it was given and what it made of it, forward and backward.
    forward: [Vec<f64>; 2],
    backward: [Vec<f64>; 2],
    /// Bytes sent.
    sent: [u64; 2],
}

type Operator = fn(&Tensor, &Group) -> Result<Tensor>;

fn bytes(calls: &[Span]) -> u64 {
    calls.iter().map(|call| call.bytes).sum()
}

/// Elements of what it is tried on: no number of ranks of the checks but one divides
/// them.
const SHAPE: [usize; 2] = [5, 7];

/// Runs `operator` on so many ranks; `x` and the gradient of the result have other
/// numbers for each seed that a rank has.
fn seen(
    name: &str,
    operator: Operator,
    n: usize,
    seeds: fn(usize) -> [usize; 2],
) -> Vec<Seen> {
    ranks(n, name, |group| {
        let [x, dy] = seeds(group.rank()).map(|seed| tensor(&SHAPE, seed));
        let (x, dy) = (x?, dy?);
        group.ledger().keep_spans();
        let (y, tape) = ops::record(|| operator(&x, &group))?;
        let forward = [elements(&x)?, elements(&y)?];
        let sent = bytes(&group.ledger().take_spans());
        group.ledger().keep_spans();
        let dx = tape.backward_from(&y, dy.clone()).and_then(|mut all| all.take(&x));
        let dx = dx.map_err(|error| {
            let missing = "has it left a note, from its output to its input?";
            Error::msg(format!("backward: {missing} {error}"))
        })?;
        let sent = [sent, bytes(&group.ledger().take_spans())];
        Result::Ok(Seen { forward, backward: [elements(&dy)?, elements(&dx)?], sent })
    })
}

/// What a result is, in words, if it is anything that can be named.
fn called(got: &[f64], own: &[f64], sum: &[f64], n: usize) -> String {
    let times =
        |x: &[f64], factor: f64| -> Vec<f64> { x.iter().map(|x| x * factor).collect() };
    let is = |want: &[f64]| distance(got, want) <= 1e-12;
    match () {
        _ if is(own) => "what this rank has, and not summed".into(),
        _ if is(sum) => "the sum over the ranks".into(),
        _ if is(&times(sum, 1.0 / n as f64)) => "the average over the ranks".into(),
        _ if is(&times(sum, n as f64)) => format!("{n} times the sum over the ranks"),
        _ if is(&times(own, 1.0 / n as f64)) => {
            format!("what this rank has, divided by {n}")
        }
        _ => "neither what this rank has nor the sum over the ranks".into(),
    }
}

/// Compares one pass of an operator with what it should be.
fn is(what: &str, all: &[([Vec<f64>; 2], u64)], summed: bool, why: &str) {
    let n = all.len();
    let mut sum = vec![0.0; all[0].0[0].len()];
    for ([own, _], _) in all {
        sum.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
    }
    for (rank, ([own, got], sent)) in all.iter().enumerate() {
        let want = if summed { &sum } else { own };
        let who = format!("{what}, on rank {rank} of {n}");
        let expected =
            if summed { "the sum over the ranks" } else { "what this rank has" };
        assert!(
            distance(got, want) <= 1e-12,
            "{who}: the result is {}, expected {expected}: {why}",
            called(got, own, &sum, n)
        );
        // A ring's all-reduce of it in fp64.
        let ring = 2 * (n - 1) * own.len().div_ceil(n) * 8;
        let most = if summed { ring } else { 0 };
        assert!(
            *sent <= most as u64,
            "{who}: it sends {sent} bytes, expected at most {most}: {}",
            if summed {
                "one all-reduce"
            } else {
                "there is nothing to tell the others"
            }
        );
    }
}

/// Of f, all ranks have the same `x`, and each has a gradient of its own.
fn f(n: usize) -> Vec<Seen> {
    seen("f", enter, n, |rank| [1, 10 + rank])
}

/// Of g, each rank has its own `x`, and all have the same gradient.
fn g(n: usize) -> Vec<Seen> {
    seen("g", leave, n, |rank| [10 + rank, 1])
}

fn forward(all: Vec<Seen>) -> Vec<([Vec<f64>; 2], u64)> {
    all.into_iter().map(|seen| (seen.forward, seen.sent[0])).collect()
}

fn backward(all: Vec<Seen>) -> Vec<([Vec<f64>; 2], u64)> {
    all.into_iter().map(|seen| (seen.backward, seen.sent[1])).collect()
}

#[test]
fn f_forward() {
    for n in [1, 2, 4] {
        let why = "all ranks have the same x, and need it as it is";
        is("f forward", &forward(f(n)), false, why);
    }
}

#[test]
fn f_backward() {
    for n in [1, 2, 4] {
        let why = "each rank has computed something else of x, and comes to one term \
                   of its gradient";
        is("f backward", &backward(f(n)), true, why);
    }
}

#[test]
fn g_forward() {
    for n in [1, 2, 4] {
        let why = "each rank has one term of the result";
        is("g forward", &forward(g(n)), true, why);
    }
}

#[test]
fn g_backward() {
    for n in [1, 2, 4] {
        let why = "the gradient of a sum is that of each of its terms, and every rank \
                   has it already";
        is("g backward", &backward(g(n)), false, why);
    }
}

const HIDDEN: usize = 6;
const WIDE: usize = 12;

/// A gated MLP with its residual connection, of which `group` holds the matrices cut.
struct Mlp {
    /// Gate and up.
    gate_up: [Param; 2],
    down: Param,
}

impl Mlp {
    fn new(group: &Group, builder: &mut ParamBuilder) -> Mlp {
        let each = WIDE / group.size();
        let own = group.rank() * each..(group.rank() + 1) * each;
        let mut add = |name: &str, shape: [usize; 2], dim: usize| {
            let shard = Shard::whole(name, &shape).narrow(dim, own.clone());
            builder.add_shard(shard, Init::Normal(0.5))
        };
        let gate = add("gate", [WIDE, HIDDEN], 0);
        let up = add("up", [WIDE, HIDDEN], 0);
        Mlp { gate_up: [gate, up], down: add("down", [HIDDEN, WIDE], 1) }
    }
    /// Between `f` and `g`.
    fn forward(
        &self,
        x: &Tensor,
        f: impl Fn(&Tensor) -> Result<Tensor>,
        g: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let wide = ops::linear(&f(x)?, &self.gate_up, &[])?;
        let y = ops::linear(&ops::swiglu(&wide)?, from_ref(&self.down), &[])?;
        ops::add(x, &g(&y)?)
    }
}

/// By name, the whole's indices of what a rank has of each tensor, and what it has.
type Tensors = Vec<(String, Vec<usize>, Vec<f64>)>;

/// The results of two layers, one behind the other, and all gradients; without f and g
/// if `alone`.
fn pair(n: usize, alone: bool) -> Vec<Tensors> {
    ranks(n, "two pairs of matrices", |group| {
        let mut builder = ParamBuilder::new(1, DType::F64);
        let first = Mlp::new(&group, &mut builder);
        let params = builder.build(1)?;
        let mut builder = ParamBuilder::new(2, DType::F64);
        let second = Mlp::new(&group, &mut builder);
        let more = builder.build(1)?;
        let (x, dy) = (tensor(&[3, HIDDEN], 1)?, tensor(&[3, HIDDEN], 2)?);
        let f = |x: &Tensor| if alone { Ok(x.clone()) } else { enter(x, &group) };
        let g = |x: &Tensor| if alone { Ok(x.clone()) } else { leave(x, &group) };
        let (y, tape) =
            ops::record(|| second.forward(&first.forward(&x, f, g)?, f, g))?;
        let dx = tape.backward_from(&y, dy)?.take(&x)?;
        let mut all = vec![];
        for (name, x) in [("the result", y), ("the gradient of x", dx)] {
            let x = elements(&x)?;
            all.push((name.to_string(), (0..x.len()).collect(), x));
        }
        for (layer, params) in [("first", &params), ("second", &more)] {
            for param in params.iter() {
                let shard = param.shard();
                let at = (0..shard.elements()).map(|i| shard.global_index(i)).collect();
                let name = format!("the gradient of {} in the {layer}", shard.name);
                all.push((name, at, param.grad::<f64>()?.to_vec()));
            }
        }
        Result::Ok(all)
    })
}

#[test]
fn pairs_of_matrices_are_those_of_one_rank() {
    let whole = pair(1, true).remove(0);
    for n in [1, 2, 3, 4] {
        for (rank, own) in pair(n, false).into_iter().enumerate() {
            for ((name, at, got), (_, _, want)) in own.iter().zip(&whole) {
                let want: Vec<f64> = at.iter().map(|i| want[*i]).collect();
                assert!(
                    distance(got, &want) <= 1e-12,
                    "two MLPs with residual connections, {}: {name} on rank {rank} is \
                     {:.4} times as long as on one rank, and {:.1e} from it, expected \
                     at most 1e-12. Where f and g are right each by itself: has what f \
                     returns an identity of its own, apart from the x that the \
                     residual connection uses?",
                    many(n, "rank"),
                    length(got) / length(&want),
                    distance(got, &want)
                );
            }
        }
    }
}
