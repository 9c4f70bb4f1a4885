//! All operations together: a model of two layers, its parameters' gradients included.

use crate::cases::{EPS, frequencies, rope_table, starts_of, targets, tokens};
use crate::common::{Case, close, parameters, roundoff, upstream};
use crate::plain;
use candle_core::{DType, Result, Tensor};
use ops::record;
use params::{Init, Param};

const LAYERS: usize = 2;
const VOCAB: usize = 13;
const HIDDEN: usize = 6;
const HEADS: usize = 4;
const KV: usize = 2;
const DIM: usize = 2;
const MLP: usize = 5;
/// Parameters of a layer.
const EACH: usize = 13;

fn shapes(tied: bool) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![("embed.weight".into(), vec![VOCAB, HIDDEN])];
    for layer in 0..LAYERS {
        let of: [(&str, &[usize]); EACH] = [
            ("input_norm.weight", &[HIDDEN]),
            ("q.weight", &[HEADS * DIM, HIDDEN]),
            ("k.weight", &[KV * DIM, HIDDEN]),
            ("v.weight", &[KV * DIM, HIDDEN]),
            ("q.bias", &[HEADS * DIM]),
            ("k.bias", &[KV * DIM]),
            ("v.bias", &[KV * DIM]),
            ("q_norm.weight", &[DIM]),
            ("k_norm.weight", &[DIM]),
            ("o.weight", &[HIDDEN, HEADS * DIM]),
            ("post_norm.weight", &[HIDDEN]),
            ("gate_up.weight", &[2 * MLP, HIDDEN]),
            ("down.weight", &[HIDDEN, MLP]),
        ];
        shapes
            .extend(of.map(|(name, of)| (format!("layers.{layer}.{name}"), of.into())));
    }
    shapes.push(("norm.weight".into(), vec![HIDDEN]));
    if !tied {
        shapes.push(("lm_head.weight".into(), vec![VOCAB, HIDDEN]));
    }
    shapes
}

fn ours(ids: &Tensor, p: &[Param], documents: &[u32], goals: &[u32]) -> Result<Tensor> {
    let mut x = ops::embedding(ids, &p[0])?;
    let rope = rope_table(&x, DIM, 1.0, 0);
    for p in p[1..].chunks_exact(EACH).take(LAYERS) {
        let normed = ops::rms_norm(&x, &p[0], EPS)?;
        let qkv = ops::linear(&normed, &p[1..4], &p[4..7])?;
        let qkv = ops::qk_norm(&qkv, HEADS, KV, &p[7], &p[8], EPS)?;
        let qkv = ops::rope(&qkv, HEADS + KV, &rope)?;
        let mixed = ops::attention(&qkv, HEADS, KV, Some(documents))?;
        x = ops::add(&x, &ops::linear(&mixed, &p[9..10], &[])?)?;
        let normed = ops::rms_norm(&x, &p[10], EPS)?;
        let gated = ops::swiglu(&ops::linear(&normed, &p[11..12], &[])?)?;
        x = ops::add(&x, &ops::linear(&gated, &p[12..13], &[])?)?;
    }
    let rest = &p[1 + LAYERS * EACH..];
    let x = ops::rms_norm(&x, &rest[0], EPS)?;
    let head = rest.get(1).unwrap_or(&p[0]);
    ops::head_loss(&x, head, goals, 1.0 / goals.len() as f64)
}

fn theirs(
    ids: &Tensor,
    p: &[Tensor],
    documents: &[u32],
    goals: &[u32],
) -> Result<Tensor> {
    let mut x = plain::embedding(ids, &p[0])?;
    let positions: Vec<usize> = (0..x.dim(1)?).collect();
    for p in p[1..].chunks_exact(EACH).take(LAYERS) {
        let normed = plain::rms_norm(&x, &p[0], EPS)?;
        let qkv = plain::linear(&normed, &p[1..4], &p[4..7])?;
        let qkv = plain::qk_norm(&qkv, HEADS, KV, [&p[7], &p[8]], EPS)?;
        let qkv = plain::rope(&qkv, HEADS + KV, &frequencies(DIM), 1.0, &positions)?;
        let mixed = plain::attention(&qkv, HEADS, KV, Some(documents))?;
        x = (&x + plain::linear(&mixed, &p[9..10], &[])?)?;
        let normed = plain::rms_norm(&x, &p[10], EPS)?;
        let gated = plain::swiglu(&plain::linear(&normed, &p[11..12], &[])?)?;
        x = (&x + plain::linear(&gated, &p[12..13], &[])?)?;
    }
    let rest = &p[1 + LAYERS * EACH..];
    let x = plain::rms_norm(&x, &rest[0], EPS)?;
    plain::head_loss(&x, rest.get(1).unwrap_or(&p[0]), goals, 1.0 / goals.len() as f64)
}

fn model(tied: bool, seq: usize) -> Case {
    let ids = tokens(&[2, seq], VOCAB);
    let documents = starts_of(&[&[2, seq - 2], &[seq - 1, 1]]);
    let goals = targets(2 * seq, VOCAB, 5);
    let (ids_, documents_, goals_) = (ids.clone(), documents.clone(), goals.clone());
    Case {
        name: format!("model of {seq} tokens, tied: {tied}"),
        inputs: vec![],
        params: shapes(tied),
        std: 0.5,
        op: Box::new(move |_, p| ours(&ids, p, &documents, &goals)),
        plain: Box::new(move |_, p| theirs(&ids_, p, &documents_, &goals_)),
        // Not used: see `the_model_agrees_in_sixteen_bits`.
        roundings: [0.0; 3],
    }
}

#[test]
fn the_model_agrees_tied_and_untied() {
    for tied in [false, true] {
        for seq in [5, 67] {
            model(tied, seq).check_in(DType::F64);
        }
        model(tied, 5).check_in(DType::F32);
        model(tied, 5).finite_differences();
    }
}

#[test]
fn the_model_agrees_in_sixteen_bits() {
    let all = |grads: &[Tensor]| {
        let flat = grads.iter().map(|grad| grad.flatten_all().unwrap());
        Tensor::cat(&flat.collect::<Vec<_>>(), 0).unwrap()
    };
    for dtype in [DType::BF16, DType::F16] {
        let case = model(false, 67);
        let p = case.params(dtype);
        let got = case.run(&[], &p, upstream);
        let want = case.reference(&[], &p, &upstream(&got.output));
        // Ten operations a layer and two around round a value each, and as many round
        // its gradient. These errors add up as a random walk's steps do.
        let bound = 44f64.sqrt() * roundoff(dtype);
        close("loss", &got.output, &want.output, bound);
        close("gradients", &all(&got.params), &all(&want.params), bound);
    }
}

#[test]
fn every_parameter_of_the_model_receives_a_gradient() {
    let case = model(false, 5);
    let p = case.params(DType::F32);
    for param in &p {
        let missing = param.check_gradient().unwrap_err().to_string();
        assert!(missing.contains(param.name()), "{missing}");
    }
    let (loss, tape) = record(|| (case.op)(&[], &p)).unwrap();
    tape.backward(&loss).unwrap();
    for param in &p {
        param.check_gradient().unwrap();
    }
}

#[test]
fn a_parameter_that_is_not_used_is_named() {
    let case = model(false, 5);
    let spare = parameters(&[("spare.weight", &[2])], Init::Ones, DType::F32).remove(0);
    let p = case.params(DType::F32);
    let (loss, tape) = record(|| (case.op)(&[], &p)).unwrap();
    tape.backward(&loss).unwrap();
    let missing = spare.check_gradient().unwrap_err().to_string();
    assert!(missing.contains("spare.weight received no gradient"), "{missing}");
    assert!(spare.grad::<f32>().is_err());
    assert!(spare.grad_tensor().is_err());
}

#[test]
fn the_loss_is_the_same_without_a_recording_and_no_gradient_is_touched() {
    let case = model(true, 67);
    let p = case.params(DType::F32);
    let evaluated = (case.op)(&[], &p).unwrap();
    assert!(p.iter().all(|param| param.check_gradient().is_err()));
    let (loss, _) = record(|| (case.op)(&[], &p)).unwrap();
    crate::common::same("loss", &evaluated, &loss);
}
