//! g and ḡ each by itself, forward and backward, what they send, and two layers.
use super::{distance, elements, many, ranks, tensor};
use crate::answer::ex1_g_and_g_bar::*;
use candle_core::{DType, Error, Result, Tensor};
use comm::{Group, Reduce, Span};
use params::{Init, Param, ParamBuilder, Shard};
use std::slice::from_ref;

const RANKS: [usize; 3] = [1, 2, 4];
/// Of 4 ranks, each has two tokens of each of three sequences.
const BATCH: usize = 3;
const SEQ: usize = 8;
const HIDDEN: usize = 6;

/// What one of the two operators did on a rank in one pass.
struct Pass {
    given: Vec<f64>,
    got: Vec<f64>,
    shape: Vec<usize>,
    calls: usize,
    /// Sent.
    bytes: u64,
}

type Operator = fn(&Tensor, &Group) -> Result<Tensor>;

/// What both passes of an operator did on each rank; and the bytes that a rank sends in
/// an all-reduce of all tokens. Without backward if forward's result has another shape
/// than it should.
struct Seen {
    forward: Vec<Pass>,
    backward: Vec<Pass>,
    all_reduce: u64,
}

/// All tokens, or what each of so many ranks has of them.
fn shape(parts: usize) -> [usize; 3] {
    [BATCH, SEQ / parts, HIDDEN]
}

/// The shapes of what an operator is given forward and of what it makes of it.
fn shapes(gathers: bool, n: usize) -> [[usize; 3]; 2] {
    if gathers { [shape(n), shape(1)] } else { [shape(1), shape(n)] }
}

fn pass(given: &Tensor, got: &Tensor, spans: Vec<Span>) -> Result<Pass> {
    Ok(Pass {
        given: elements(given)?,
        got: elements(got)?,
        shape: got.dims().to_vec(),
        calls: spans.len(),
        bytes: spans.iter().map(|span| span.bytes).sum(),
    })
}

/// Runs one of the two on so many ranks, each with numbers of its own.
fn seen(name: &str, operator: Operator, gathers: bool, n: usize) -> Seen {
    let all = ranks(n, name, |group| {
        let [input, output] = shapes(gathers, n);
        let x = tensor(&input, 10 + group.rank())?;
        let dy = tensor(&output, 20 + group.rank())?;
        let ledger = group.ledger();
        ledger.keep_spans();
        let (y, tape) = ops::record(|| operator(&x, &group))?;
        let forward = pass(&x, &y, ledger.take_spans())?;
        let mut backward = None;
        if y.dims() == output {
            ledger.keep_spans();
            let dx = tape.backward_from(&y, dy.clone());
            let dx = dx.and_then(|mut all| all.take(&x)).map_err(|error| {
                let missing = "has it left a note, from its output to its input?";
                Error::msg(format!("backward: {missing} {error}"))
            })?;
            backward = Some(pass(&dy, &dx, ledger.take_spans())?);
        }
        ledger.keep_spans();
        let mut whole = vec![0.0; BATCH * SEQ * HIDDEN];
        group.all_reduce("to compare", &mut whole, Reduce::Sum)?;
        let all_reduce = ledger.take_spans().iter().map(|span| span.bytes).sum();
        Result::Ok((forward, backward, all_reduce))
    });
    let mut seen = Seen { forward: vec![], backward: vec![], all_reduce: 0 };
    for (forward, backward, all_reduce) in all {
        seen.forward.push(forward);
        seen.backward.extend(backward);
        seen.all_reduce = all_reduce;
    }
    seen
}

fn g(n: usize) -> Seen {
    seen("g", enter, true, n)
}

fn g_bar(n: usize) -> Seen {
    seen("ḡ", leave, false, n)
}

/// The memory of `[a, b, ..]` as that of `[b, a, ..]`.
fn swap(x: &[f64], a: usize, b: usize) -> Vec<f64> {
    let run = x.len() / (a * b);
    let at = |j: usize, i: usize| (i * b + j) * run;
    let runs = (0..b).flat_map(|j| (0..a).map(move |i| at(j, i)));
    runs.flat_map(|start| x[start..start + run].to_vec()).collect()
}

/// What this rank should have after a gather, and what wrong ones would give.
fn gathered(all: &[Pass], rank: usize) -> (Vec<f64>, Vec<(Vec<f64>, String)>) {
    let n = all.len();
    let concatenated: Vec<f64> =
        all.iter().flat_map(|pass| pass.given.clone()).collect();
    // [n, batch, part, hidden] to [batch, n, part, hidden]
    let want = swap(&concatenated, n, BATCH);
    let backwards: Vec<f64> =
        all.iter().rev().flat_map(|pass| pass.given.clone()).collect();
    let each = SEQ / n * HIDDEN;
    let in_row = |row: &[f64]| swap(row, n, SEQ / n);
    let alternating = want.chunks(SEQ * HIDDEN).flat_map(in_row).collect();
    let of_rank = |row: &[f64]| row[rank * each..(rank + 1) * each].to_vec();
    let own: Vec<f64> = want.chunks(SEQ * HIDDEN).flat_map(of_rank).collect();
    let repeated = own.chunks(each).flat_map(|part| part.repeat(n)).collect();
    let alone = |(i, x): (usize, &f64)| {
        if i % (SEQ * HIDDEN) / each == rank { *x } else { 0.0 }
    };
    let alone = want.iter().enumerate().map(alone).collect();
    let wrong = vec![
        (
            swap(&concatenated, BATCH, n),
            format!(
                "what comes of it if what `all_gather` gives is taken for [{BATCH}, \
                 {n}, ..]: it is [{n}, {BATCH}, ..]"
            ),
        ),
        (
            concatenated,
            format!(
                "the ranks' parts concatenated one after the other, as they come: \
                 rank 0's tokens of all {BATCH} sequences, then the next rank's of \
                 all. A sequence's parts belong together: `all_gather` gives [{n}, \
                 {BATCH}, ..], expected [{BATCH}, {n}, ..]"
            ),
        ),
        (swap(&backwards, n, BATCH), "the parts in the order of falling ranks".into()),
        (alternating, "a token of each rank in turn: the ranks have runs of it".into()),
        (want.iter().map(|x| x / n as f64).collect(), format!("divided by {n}")),
        (repeated, "this rank's own part, as often as there are ranks".into()),
        (alone, "this rank's own part, and zeros for all others'".into()),
    ];
    (want, wrong)
}

/// The same for a scattered sum.
fn scattered(all: &[Pass], rank: usize) -> (Vec<f64>, Vec<(Vec<f64>, String)>) {
    let n = all.len();
    let mut sum = vec![0.0; BATCH * SEQ * HIDDEN];
    for pass in all {
        sum.iter_mut().zip(&pass.given).for_each(|(sum, x)| *sum += x);
    }
    let piece = |x: &[f64], rank: usize| {
        let each = x.len() / n;
        x[rank * each..(rank + 1) * each].to_vec()
    };
    // [batch, n, part, hidden] to [n, batch, part, hidden]
    let part = |x: &[f64], rank: usize| piece(&swap(x, BATCH, n), rank);
    let want = part(&sum, rank);
    let mut wrong = vec![
        (
            piece(&sum, rank),
            format!(
                "one run of the sum's memory, where the {BATCH} sequences lie \
                 concatenated one after the other: piece {rank} of {n} of all of \
                 them together. It has to be part {rank} of each sequence: \
                 `reduce_scatter` cuts [{n}, {BATCH}, ..], given was [{BATCH}, {n}, ..]"
            ),
        ),
        (
            piece(&swap(&sum, n, BATCH), rank),
            format!(
                "what comes of it if the terms are taken for [{n}, {BATCH}, ..]: they \
                 are [{BATCH}, {n}, ..]"
            ),
        ),
        (part(&all[rank].given, rank), "this rank's own term, not the sum".into()),
        (
            want.iter().map(|x| x / n as f64).collect(),
            "the average over the ranks, not the sum".into(),
        ),
        (
            want.iter().map(|x| x * n as f64).collect(),
            format!("{n} times the sum over the ranks"),
        ),
    ];
    for other in (0..n).filter(|other| *other != rank) {
        wrong.push((part(&sum, other), format!("the part of rank {other}")));
    }
    (want, wrong)
}

/// Compares one pass with what it should be.
fn is(what: &str, all: &[Pass], gathers: bool) {
    let n = all.len();
    let want_shape = shapes(gathers, n)[1];
    for (rank, pass) in all.iter().enumerate() {
        let who = format!("{what}, on rank {rank} of {n}");
        assert!(
            pass.shape == want_shape,
            "{who}: the result has shape {:?}, expected {want_shape:?}",
            pass.shape
        );
        let (want, wrong) =
            if gathers { gathered(all, rank) } else { scattered(all, rank) };
        let is = |x: &[f64]| distance(&pass.got, x) <= 1e-12;
        let called = wrong.iter().find(|(wrong, _)| is(wrong));
        let called = called.map_or("something else", |(_, words)| words);
        assert!(
            is(&want),
            "{who}: expected {}; the result is {called}",
            match gathers {
                true => "all tokens of each sequence, in their order",
                false => "this rank's tokens of each sequence, of the sum of all terms",
            }
        );
    }
}

fn backward_is(what: &str, seen: &Seen, gathers: bool) {
    let n = seen.forward.len();
    assert!(
        seen.backward.len() == n,
        "{what}, {}: forward's result has the wrong shape, {:?}",
        many(n, "rank"),
        seen.forward[0].shape
    );
    is(what, &seen.backward, gathers);
}

#[test]
fn g_forward() {
    RANKS.into_iter().for_each(|n| is("g forward", &g(n).forward, true));
}

#[test]
fn g_backward() {
    RANKS.into_iter().for_each(|n| backward_is("g backward", &g(n), false));
}

#[test]
fn g_bar_forward() {
    RANKS.into_iter().for_each(|n| is("ḡ forward", &g_bar(n).forward, false));
}

#[test]
fn g_bar_backward() {
    RANKS.into_iter().for_each(|n| backward_is("ḡ backward", &g_bar(n), true));
}

#[test]
fn each_sends_what_one_all_reduce_does() {
    for n in RANKS {
        for (name, seen) in [("g", g(n)), ("ḡ", g_bar(n))] {
            backward_is(&format!("{name} backward"), &seen, name == "ḡ");
            let all_reduce = seen.all_reduce;
            let passes = seen.forward.iter().zip(&seen.backward).enumerate();
            for (rank, (forward, backward)) in passes {
                let who = format!("{name}, on rank {rank} of {n}");
                let sent = forward.bytes + backward.bytes;
                assert!(
                    sent == all_reduce,
                    "{who}: it sends {} bytes forward and {} backward, expected half \
                     of {all_reduce} each, what an all-reduce of all tokens sends: \
                     forward and backward are one gather and one scattered sum",
                    forward.bytes,
                    backward.bytes
                );
                for (pass, what) in [(forward, "forward"), (backward, "backward")] {
                    assert!(
                        pass.calls == usize::from(n > 1),
                        "{who}: {} {what}, expected 1: however many sequences there \
                         are, one call has room for all, and each call has all ranks \
                         wait for each other",
                        many(pass.calls, "call")
                    );
                }
            }
        }
    }
}

const HEADS: usize = 4;
/// Of all heads together.
const WIDE: usize = 12;

/// Attention behind a norm, with its residual connection; each rank of `group` has some
/// of the heads, and normalizes its own tokens.
struct Layer {
    norm: Param,
    /// Queries, keys and values.
    qkv: [Param; 3],
    out: Param,
    /// This rank's.
    heads: usize,
}

impl Layer {
    fn new(group: &Group, builder: &mut ParamBuilder) -> Layer {
        let norm = builder.add("norm", &[HIDDEN], Init::Normal(1.0));
        let each = WIDE / group.size();
        let own = group.rank() * each..(group.rank() + 1) * each;
        let mut add = |name: &str, shape: [usize; 2], dim: usize| {
            let shard = Shard::whole(name, &shape).narrow(dim, own.clone());
            builder.add_shard(shard, Init::Normal(0.5))
        };
        let qkv =
            ["queries", "keys", "values"].map(|name| add(name, [WIDE, HIDDEN], 0));
        let out = add("output", [HIDDEN, WIDE], 1);
        Layer { norm, qkv, out, heads: HEADS / group.size() }
    }
    /// Between `g` and `g_bar`.
    fn forward(
        &self,
        x: &Tensor,
        g: impl Fn(&Tensor) -> Result<Tensor>,
        g_bar: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let y = g(&ops::rms_norm(x, &self.norm, 1e-6)?)?;
        let qkv = ops::linear(&y, &self.qkv, &[])?;
        let y = ops::attention(&qkv, self.heads, self.heads, None)?;
        ops::add(x, &g_bar(&ops::linear(&y, from_ref(&self.out), &[])?)?)
    }
}

/// By name, the whole's indices of what a rank has of each tensor, and what it has.
type Tensors = Vec<(String, Vec<usize>, Vec<f64>)>;

/// The results of two layers, one behind the other, and all gradients; without g and ḡ
/// if `alone`.
fn pair(n: usize, alone: bool) -> Vec<Tensors> {
    ranks(n, "two layers", |group| {
        let mut builder = ParamBuilder::new(1, DType::F64);
        let first = Layer::new(&group, &mut builder);
        let params = builder.build(1)?;
        let mut builder = ParamBuilder::new(2, DType::F64);
        let second = Layer::new(&group, &mut builder);
        let more = builder.build(1)?;
        let part = Shard::whole("tokens", &shape(1));
        let tokens = SEQ / n * group.rank()..SEQ / n * (group.rank() + 1);
        let part = part.narrow(1, tokens.clone());
        let at = |shard: &Shard| -> Vec<usize> {
            (0..shard.elements()).map(|i| shard.global_index(i)).collect()
        };
        let own = |seed: usize| -> Result<Tensor> {
            tensor(&shape(1), seed)?.narrow(1, tokens.start, tokens.len())?.contiguous()
        };
        let (x, dy) = (own(1)?, own(2)?);
        let g = |x: &Tensor| if alone { Ok(x.clone()) } else { enter(x, &group) };
        let g_bar = |x: &Tensor| if alone { Ok(x.clone()) } else { leave(x, &group) };
        let forward = || second.forward(&first.forward(&x, g, g_bar)?, g, g_bar);
        let (y, tape) = ops::record(forward)?;
        let dx = tape.backward_from(&y, dy)?.take(&x)?;
        let mut all = vec![];
        for (name, x) in [("the result", y), ("the gradient of x", dx)] {
            all.push((name.to_string(), at(&part), elements(&x)?));
        }
        for (layer, params) in [("first", &params), ("second", &more)] {
            for param in params.iter() {
                let mut grad = param.grad::<f64>()?.to_vec();
                if param.name() == "norm" {
                    // Of this rank's tokens.
                    group.all_reduce("norms", &mut grad, Reduce::Sum)?;
                }
                let name = format!("the gradient of {} in the {layer}", param.name());
                all.push((name, at(param.shard()), grad));
            }
        }
        Result::Ok(all)
    })
}

#[test]
fn two_layers_are_those_of_one_rank() {
    let whole = pair(1, true).remove(0);
    for n in RANKS {
        for (rank, own) in pair(n, false).into_iter().enumerate() {
            for ((name, at, got), (_, _, want)) in own.iter().zip(&whole) {
                let want: Vec<f64> = at.iter().map(|i| want[*i]).collect();
                let apart = distance(got, &want);
                assert!(
                    apart <= 1e-12,
                    "two layers of attention behind norms, {}: {name} on rank {rank} \
                     is {apart:.1e} from that on one rank, expected at most 1e-12. \
                     Attention is what tells sequences and places apart",
                    many(n, "rank")
                );
            }
        }
    }
}
