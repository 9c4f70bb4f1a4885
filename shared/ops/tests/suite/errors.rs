//! What a user or a layout can get wrong is an error that names the operation or the
//! parameter, never a panic.

use crate::cases::{embedding, frequencies, one_of_each};
use crate::common::{normal, parameters, refusal, upstream};
use candle_core::{DType, Device, Result, Tensor};
use ops::{IGNORE, Rope, record};
use params::{Init, Param};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Fails unless each call is an error whose text has all of the words.
fn refused(calls: Vec<(Result<Tensor>, &[&str])>) {
    for (i, (result, words)) in calls.into_iter().enumerate() {
        let error = match result {
            Ok(y) => panic!("call {i} ({words:?}) made a {:?}", y.shape()),
            Err(error) => error.to_string(),
        };
        for word in words {
            assert!(error.contains(word), "call {i}: {word:?} is not in: {error}");
        }
    }
}

fn x(shape: &[usize]) -> Tensor {
    normal("x", 0, shape)
}

fn params(of: &[(&str, &[usize])]) -> Vec<Param> {
    parameters(of, Init::Normal(1.0), DType::F64)
}

fn narrow(of: &[(&str, &[usize])]) -> Vec<Param> {
    parameters(of, Init::Normal(1.0), DType::F32)
}

#[test]
fn linear_refuses() {
    let p = params(&[("a", &[3, 4]), ("b", &[2, 4]), ("c", &[3]), ("d", &[2])]);
    let other = narrow(&[("e", &[3, 4]), ("f", &[3])]);
    let apart = [p[0].clone(), other[0].clone()];
    let swapped = [p[1].clone(), p[0].clone()];
    let integers = Tensor::zeros((2, 4), DType::U32, &Device::Cpu).unwrap();
    refused(vec![
        (ops::linear(&x(&[2, 4]), &[], &[]), &["linear"]),
        (ops::linear(&x(&[2, 5]), &p[..2], &[]), &["a:", "[3, 4]", "[2, 5]"]),
        (ops::linear(&x(&[2, 4]), &p[2..3], &[]), &["c:", "[3]"]),
        (ops::linear(&x(&[2, 4]), &p[..2], &p[2..3]), &["a:", "5 outputs", "3 biases"]),
        (ops::linear(&x(&[2, 4]), &p[..1], &p[2..4]), &["a:", "3 outputs", "5 biases"]),
        (ops::linear(&x(&[2, 4]), &other[..1], &[]), &["e:", "F32", "F64"]),
        (ops::linear(&x(&[2, 4]), &p[..1], &other[1..]), &["f"]),
        (ops::linear(&x(&[2, 4]), &apart, &[]), &["a", "e", "side by side"]),
        (ops::linear(&x(&[2, 4]), &swapped, &[]), &["a", "b", "side by side"]),
        (ops::linear(&x(&[]), &p[..1], &[]), &[]),
        (ops::linear(&integers, &p[..1], &[]), &["a:", "U32"]),
    ]);
}

#[test]
fn norms_refuse() {
    let p = params(&[("q", &[4]), ("k", &[4]), ("short", &[3])]);
    let other = narrow(&[("n", &[4])]);
    let qk = |x: &Tensor, q: usize, k: usize| ops::qk_norm(x, 2, 1, &p[q], &p[k], 0.1);
    refused(vec![
        (ops::rms_norm(&x(&[2, 5]), &p[0], 0.1), &["q:", "rms_norm", "[2, 5]"]),
        (ops::rms_norm(&x(&[2, 8]), &p[0], 0.1), &["q:", "rms_norm"]),
        (ops::rms_norm(&x(&[2, 4]), &other[0], 0.1), &["n"]),
        (ops::rms_norm(&x(&[]), &p[0], 0.1), &[]),
        (qk(&x(&[1, 2, 12]), 0, 1), &["q:", "qk_norm"]),
        (qk(&x(&[1, 2, 16]), 2, 1), &["short:", "qk_norm"]),
        (qk(&x(&[1, 2, 16]), 0, 2), &["short:", "qk_norm"]),
    ]);
}

#[test]
fn rope_refuses() {
    let table = |n: usize, dtype| Rope::new(&frequencies(4), 1.0, 0..n, dtype).unwrap();
    let fits = table(5, DType::F64);
    refused(vec![
        (ops::rope(&x(&[1, 6, 8]), 2, &fits), &["rope", "5 positions"]),
        (ops::rope(&x(&[1, 5, 8]), 3, &fits), &["rope", "3 heads of 4"]),
        (ops::rope(&x(&[5, 8]), 2, &fits), &[]),
        (ops::rope(&x(&[1, 5, 8]), 2, &table(5, DType::F32)), &[]),
    ]);
    assert!(Rope::new(&frequencies(4), 1.0, 0..5, DType::U32).is_err());
}

#[test]
fn attention_refuses() {
    let call = |heads, kv, starts| ops::attention(&x(&[1, 3, 16]), heads, kv, starts);
    let integers = Tensor::zeros((1, 3, 16), DType::U32, &Device::Cpu).unwrap();
    refused(vec![
        (call(3, 2, None), &["attention", "3 and 2 heads"]),
        (call(2, 0, None), &["attention", "2 and 0 heads"]),
        (call(4, 1, None), &["attention", "4 and 1 heads"]),
        (ops::attention(&x(&[3, 16]), 2, 1, None), &[]),
        (ops::attention(&integers, 2, 1, None), &["U32"]),
        (call(2, 1, Some(&[0, 0])), &["attention", "2 document starts", "[1, 3]"]),
        (call(2, 1, Some(&[])), &["attention", "0 document starts"]),
        (call(2, 1, Some(&[0, 0, 3])), &["attention", "token 2", "starts at 3"]),
        (call(2, 1, Some(&[1, 1, 1])), &["attention", "token 0", "starts at 1"]),
        (call(2, 1, Some(&[0, 1, 0])), &["attention", "token 2", "starts at 0"]),
    ]);
}

#[test]
fn a_second_row_of_documents_counts_from_its_own_start() {
    let qkv = x(&[2, 2, 8]);
    refused(vec![(
        ops::attention(&qkv, 2, 1, Some(&[0, 0, 2, 2])),
        &["attention", "token 0", "starts at 2"],
    )]);
    ops::attention(&qkv, 2, 1, Some(&[0, 1, 0, 0])).unwrap();
}

#[test]
fn swiglu_and_add_refuse() {
    let narrow = x(&[2, 4]).to_dtype(DType::F32).unwrap();
    refused(vec![
        (ops::swiglu(&x(&[2, 5])), &["swiglu", "[2, 5]"]),
        (ops::swiglu(&x(&[])), &[]),
        (ops::add(&x(&[2, 4]), &x(&[4])), &["add", "[2, 4]", "[4]"]),
        (ops::add(&x(&[2, 4]), &narrow), &["add", "F64", "F32"]),
    ]);
}

#[test]
fn the_ends_refuse() {
    let p = params(&[("table", &[5, 4]), ("flat", &[4])]);
    let other = narrow(&[("head", &[5, 4])]);
    let ids = |id: u32| Tensor::new(&[[0, id]], &Device::Cpu).unwrap();
    let loss = |x: &Tensor, targets: &[u32]| ops::head_loss(x, &p[0], targets, 1.0);
    refused(vec![
        (ops::embedding(&ids(5), &p[0]), &["token 5", "table", "has 5"]),
        (ops::embedding(&ids(IGNORE), &p[0]), &["token 4294967295", "table"]),
        (ops::embedding(&ids(0), &p[1]), &["flat"]),
        (ops::embedding(&x(&[1, 2]), &p[0]), &[]),
        (loss(&x(&[2, 4]), &[0, 5]), &["target 5", "table", "has 5"]),
        (loss(&x(&[2, 4]), &[0, 1, 2]), &["2 tokens and 3 targets"]),
        (loss(&x(&[2, 3]), &[0, 1]), &["table", "[5, 4]", "[2, 3]"]),
        (ops::head_loss(&x(&[2, 4]), &p[1], &[0, 1], 1.0), &["flat"]),
        (ops::head_loss(&x(&[2, 4]), &other[0], &[0, 1], 1.0), &["head"]),
    ]);
}

#[test]
fn a_range_in_use_is_named() {
    let p = params(&[("w", &[4, 4]), ("n", &[4])]);
    let x = x(&[2, 4]);
    let (y, tape) = record(|| ops::linear(&x, &p[..1], &[])).unwrap();
    let leases = (p[0].values_mut::<f64>().unwrap(), p[1].values_mut::<f64>().unwrap());
    refused(vec![
        (ops::linear(&x, &p[..1], &[]), &["w"]),
        (ops::rms_norm(&x, &p[1], 0.1), &["n"]),
        (ops::head_loss(&x, &p[0], &[0, 1], 1.0), &["w"]),
        (ops::embedding(&Tensor::new(&[0u32], &Device::Cpu).unwrap(), &p[0]), &["w"]),
    ]);
    assert!(refusal(tape.backward_from(&y, upstream(&y))).contains('w'));
    drop(leases);
}

#[test]
fn an_upstream_gradient_of_another_shape_or_type_is_refused() {
    let mut cases = one_of_each();
    cases.push(embedding(&[2, 5], 13, 7));
    for case in cases {
        let (x, p) = (case.inputs(DType::F64), case.params(DType::F64));
        let wrong = |make: &dyn Fn(&Tensor) -> Result<Tensor>| {
            let (y, tape) = record(|| (case.op)(&x, &p)).unwrap();
            let dy = make(&upstream(&y)).unwrap();
            let back = AssertUnwindSafe(|| tape.backward_from(&y, dy).map(|_| ()));
            match catch_unwind(back) {
                Ok(result) => assert!(result.is_err(), "{}: accepted", case.name),
                Err(_) => panic!("{}: a panic, where an error was due", case.name),
            }
        };
        wrong(&|dy| dy.unsqueeze(0)?.repeat(2));
        wrong(&|dy| dy.flatten_all()?.narrow(0, 0, 1));
        wrong(&|dy| dy.to_dtype(DType::F32));
    }
}
