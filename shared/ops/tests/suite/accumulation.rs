//! Main gradients: the first of a step overwrites, each further one is added.

use crate::cases::{embedding, head_loss, linear, one_of_each, targets, tokens};
use crate::common::{Case, close, flat, normal, parameters, same, upstream};
use candle_core::{DType, Tensor};
use ops::record;
use params::{Init, Param};

/// Forward and backward, without starting a step.
fn pass(case: &Case, x: &[Tensor], p: &[Param]) {
    let (y, tape) = record(|| (case.op)(x, p)).unwrap();
    tape.backward_from(&y, upstream(&y)).unwrap();
}

fn gradients(p: &[Param]) -> Vec<Tensor> {
    p.iter().map(|p| p.grad_tensor().unwrap()).collect()
}

#[test]
fn passes_of_a_step_add_up_and_a_new_step_starts_over() {
    let mut cases = one_of_each();
    cases.extend([embedding(&[2, 5], 13, 7), head_loss(&[300, 7], 13, 4)]);
    let begin = |p: &[Param]| p.iter().for_each(Param::begin_step);
    for case in cases {
        let (x, p) = (case.inputs(DType::F64), case.params(DType::F64));
        let other: Vec<Tensor> = x.iter().map(|x| (x * 0.5).unwrap()).collect();
        pass(&case, &x, &p);
        let first = gradients(&p);
        begin(&p);
        pass(&case, &other, &p);
        let second = gradients(&p);
        pass(&case, &x, &p);
        for ((both, a), b) in gradients(&p).iter().zip(&first).zip(&second) {
            close(&case.name, both, &(a + b).unwrap(), 1e-14);
        }
        begin(&p);
        pass(&case, &x, &p);
        for (again, first) in gradients(&p).iter().zip(&first) {
            same(&case.name, again, first);
        }
    }
}

#[test]
fn neighbours_of_which_one_has_a_gradient_already() {
    let case = linear(&[2, 5, 7], &[3, 4], true);
    let (x, p) = (case.inputs(DType::F64), case.params(DType::F64));
    let alone = || {
        let (y, tape) = record(|| ops::linear(&x[0], &p[..1], &p[2..3])).unwrap();
        tape.backward_from(&y, upstream(&y)).unwrap();
    };
    alone();
    let one = gradients(&[p[0].clone(), p[2].clone()]);
    p.iter().for_each(Param::begin_step);
    pass(&case, &x, &p);
    let both = gradients(&p);
    p.iter().for_each(Param::begin_step);
    alone();
    pass(&case, &x, &p);
    let got = gradients(&p);
    close("first weight", &got[0], &(&one[0] + &both[0]).unwrap(), 1e-14);
    same("second weight", &got[1], &both[1]);
    close("first bias", &got[2], &(&one[1] + &both[2]).unwrap(), 1e-14);
    same("second bias", &got[3], &both[3]);
}

#[test]
fn a_tied_matrix_receives_the_gradients_of_both_ends() {
    let of: [(&str, &[usize]); 2] = [("table", &[13, 7]), ("head", &[13, 7])];
    let p = parameters(&of, Init::Normal(1.0), DType::F64);
    p[1].values_mut::<f64>().unwrap().copy_from_slice(&p[0].values::<f64>().unwrap());
    let (ids, goals) = (tokens(&[2, 5], 13), targets(10, 13, 4));
    let run = |table: &Param, head: &Param| {
        p.iter().for_each(Param::begin_step);
        let forward = || {
            let x = ops::embedding(&ids, table)?;
            ops::head_loss(&x, head, &goals, 0.1)
        };
        let (loss, tape) = record(forward).unwrap();
        tape.backward_from(&loss, loss.ones_like().unwrap()).unwrap();
    };
    run(&p[0], &p[1]);
    let [table, head] = [0, 1].map(|i| p[i].grad_tensor().unwrap());
    run(&p[0], &p[0]);
    let tied = p[0].grad_tensor().unwrap();
    close("tied", &tied, &(table + head).unwrap(), 1e-14);
    assert!(p[1].check_gradient().is_err());
}

#[test]
fn a_tensor_that_is_used_twice_receives_both_gradients() {
    let x = normal("x", 0, &[3, 4]);
    let (y, tape) = record(|| {
        let twice = ops::add(&x, &x)?;
        ops::add(&twice, &x)
    })
    .unwrap();
    let ones = y.ones_like().unwrap();
    let mut grads = tape.backward_from(&y, ones).unwrap();
    assert_eq!(flat(&grads.take(&x).unwrap()), [3.0; 12]);
}

#[test]
fn a_matrix_that_is_used_twice_receives_both_gradients() {
    let p = parameters(&[("w", &[4, 4])], Init::Normal(1.0), DType::F64);
    let x = normal("x", 0, &[3, 4]);
    let (y, tape) = record(|| {
        let once = ops::linear(&x, &p, &[])?;
        ops::linear(&once, &p, &[])
    })
    .unwrap();
    let dy = upstream(&y);
    let dx = tape.backward_from(&y, dy.clone()).unwrap().take(&x).unwrap();
    let w = p[0].to_tensor().unwrap();
    let product = |a: &Tensor, b: &Tensor| a.matmul(b).unwrap();
    let once = product(&x, &w.t().unwrap());
    let d_once = product(&dy, &w);
    let want = product(&dy.t().unwrap(), &once) + product(&d_once.t().unwrap(), &x);
    close("w", &p[0].grad_tensor().unwrap(), &want.unwrap(), 1e-13);
    close("x", &dx, &product(&d_once, &w), 1e-13);
}

/// Nothing of a linear layer's own gradients is there before they are computed, and
/// then it is what it would have been; of all other operations it is there at once.
#[test]
fn gradients_that_are_put_off_are_the_same_later() {
    let begin = |p: &[Param]| p.iter().for_each(Param::begin_step);
    let mut cases = one_of_each();
    cases.extend([embedding(&[2, 5], 13, 7), head_loss(&[300, 7], 13, 4)]);
    for case in cases {
        let (x, p) = (case.inputs(DType::F64), case.params(DType::F64));
        let (y, tape) = record(|| (case.op)(&x, &p)).unwrap();
        let mut dx = tape.backward_from(&y, upstream(&y)).unwrap();
        let want = gradients(&p);
        begin(&p);
        let (y, tape) = record(|| (case.op)(&x, &p)).unwrap();
        let root = ops::Root::from(&y);
        let grad = upstream(&y);
        drop(y);
        let (mut found, later) =
            ops::put_off(|| tape.backward_from(root, grad)).unwrap();
        for x in x.iter().filter(|x| x.dtype() == DType::F64) {
            same(&case.name, &found.take(x).unwrap(), &dx.take(x).unwrap());
        }
        let missing = p.iter().filter(|p| p.check_gradient().is_err()).count();
        let linear = case.name.starts_with("linear");
        assert_eq!(missing, if linear { p.len() } else { 0 }, "{}", case.name);
        // Others may go on in between.
        pass(&case, &x, &p);
        later.compute().unwrap();
        let got = gradients(&p);
        for (got, want) in got.iter().zip(&want) {
            close(&case.name, got, &(want * 2.0).unwrap(), 1e-14);
        }
    }
}
