//! Inputs and upstream gradients that are views: the same bits as of a contiguous copy.

use crate::cases::{embedding, one_of_each};
use crate::common::{Case, Outcome, normal, same, upstream};
use candle_core::{D, DType, Device, Tensor};

/// Views of the shape and, but for the broadcast ones, with the elements of `x`.
fn views(x: &Tensor) -> Vec<(&'static str, Tensor)> {
    let dims = x.dims();
    let last = dims.len() - 1;
    let junk = normal("junk", 9, dims).to_dtype(x.dtype()).unwrap();
    let around = |dim: usize| {
        let all = Tensor::cat(&[&junk, x, &junk], dim).unwrap();
        all.narrow(dim, dims[dim], dims[dim]).unwrap()
    };
    let turned = |a: usize, b: usize| {
        let turned = x.transpose(a, b).unwrap().contiguous().unwrap();
        turned.transpose(a, b).unwrap()
    };
    let first = x.narrow(0, 0, 1).unwrap().broadcast_as(dims).unwrap();
    let corner = (0..dims.len()).fold(x.clone(), |x, d| x.narrow(d, 0, 1).unwrap());
    vec![
        ("with an offset", around(0)),
        ("with gaps", around(last)),
        ("transposed", turned(0, 1)),
        ("transposed in its last dimensions", turned(last - 1, last)),
        ("of one batch row for all", first),
        ("of one element for all", corner.broadcast_as(dims).unwrap()),
    ]
}

fn compare(what: &str, got: &Outcome, want: &Outcome) {
    same(&format!("{what}: output"), &got.output, &want.output);
    for (got, want) in got.inputs.iter().zip(&want.inputs) {
        same(&format!("{what}: gradient of an input"), got, want);
    }
    for (got, want) in got.params.iter().zip(&want.params) {
        same(&format!("{what}: gradient of a parameter"), got, want);
    }
}

fn copy(x: &Tensor) -> Tensor {
    x.force_contiguous().unwrap()
}

#[test]
fn the_views_are_views() {
    let x = normal("x", 0, &[2, 5, 7]);
    for (view, x) in views(&x) {
        let whole = x.is_contiguous() && x.layout().start_offset() == 0;
        assert!(!whole, "{view}");
    }
}

#[test]
fn an_input_may_be_any_view() {
    for case in one_of_each() {
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let (x, p) = (case.inputs(dtype), case.params(dtype));
            for k in 0..x.len() {
                for (view, viewed) in views(&x[k]) {
                    let (mut whole, mut x) = (x.clone(), x.clone());
                    whole[k] = copy(&viewed);
                    x[k] = viewed;
                    let want = case.run(&whole, &p, upstream);
                    let got = case.run(&x, &p, upstream);
                    compare(
                        &format!("{} in {dtype:?}, {view}", case.name),
                        &got,
                        &want,
                    );
                }
            }
        }
    }
}

#[test]
fn an_upstream_gradient_may_be_any_view() {
    let with_output = |case: &Case| !case.name.starts_with("head_loss");
    let mut cases = one_of_each();
    cases.push(embedding(&[2, 5], 13, 7));
    for case in cases.into_iter().filter(with_output) {
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let (x, p) = (case.inputs(dtype), case.params(dtype));
            for i in 0..views(&normal("x", 0, &[2, 2])).len() {
                let view = |y: &Tensor| views(&upstream(y)).swap_remove(i);
                let want = case.run(&x, &p, |y| copy(&view(y).1));
                let got = case.run(&x, &p, |y| view(y).1);
                compare(&format!("{} in {dtype:?}, view {i}", case.name), &got, &want);
            }
        }
    }
}

#[test]
fn tokens_may_be_a_view() {
    let table = embedding(&[2, 5], 13, 7).params(DType::F64).remove(0);
    let ids = Tensor::from_vec((0..10u32).collect(), (5, 2), &Device::Cpu).unwrap();
    let ids = ids.t().unwrap();
    let got = ops::embedding(&ids, &table).unwrap();
    same("tokens", &got, &ops::embedding(&copy(&ids), &table).unwrap());
    let first = ids.narrow(D::Minus1, 1, 2).unwrap();
    let part = ops::embedding(&first, &table).unwrap();
    same("some tokens", &part, &copy(&got.narrow(1, 1, 2).unwrap()));
}
