//! What is recorded, and what a tape refuses.

use crate::common::{close, flat, normal, parameters, refusal, same, upstream};
use candle_core::{DType, Device, Result, Tensor, bail};
use ops::{note, record, recording};
use params::{Init, Param};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn x() -> Tensor {
    normal("x", 0, &[3, 4])
}

fn weight() -> Param {
    parameters(&[("w", &[4, 4])], Init::Normal(1.0), DType::F64).remove(0)
}

/// A tape that nothing was recorded on ends where it starts.
fn is_empty(y: &Tensor, tape: ops::Tape) -> bool {
    let grad = y.ones_like().unwrap();
    let mut grads = tape.backward_from(y, grad.clone()).unwrap();
    grads.take(y).is_ok_and(|back| flat(&back) == flat(&grad))
}

#[test]
fn a_plain_operation_in_between_is_an_error_that_names_the_last_before_it() {
    let (x, w) = (x(), weight());
    let (y, tape) = record(|| {
        let y = ops::linear(&x, std::slice::from_ref(&w), &[])?;
        ops::rms_norm(&(y * 2.0)?, &weight_of_four(), 0.1)
    })
    .unwrap();
    let error = refusal(tape.backward_from(&y, upstream(&y)));
    assert!(error.contains("the result of `linear` received no gradient"), "{error}");
    assert!(refusal(w.check_gradient()).contains("w received no gradient"));
}

fn weight_of_four() -> Param {
    parameters(&[("norm", &[4])], Init::Ones, DType::F64).remove(0)
}

#[test]
fn a_plain_operation_at_the_end_is_an_error() {
    let x = x();
    let (y, tape) = record(|| ops::swiglu(&x)? * 2.0).unwrap();
    let error = refusal(tape.backward_from(&y, upstream(&y)));
    assert!(error.contains("`swiglu`"), "{error}");
}

#[test]
fn a_result_that_is_not_used_is_an_error() {
    let x = x();
    let (y, tape) = record(|| {
        ops::add(&x, &x)?;
        ops::swiglu(&x)
    })
    .unwrap();
    let error = refusal(tape.backward_from(&y, upstream(&y)));
    assert!(error.contains("the result of `add` received no gradient"), "{error}");
}

#[test]
fn an_input_that_is_not_used_has_no_gradient() {
    let (x, other) = (x(), x());
    let (y, tape) = record(|| ops::swiglu(&x)).unwrap();
    let mut grads = tape.backward_from(&y, upstream(&y)).unwrap();
    assert!(refusal(grads.take(&other)).contains("not used"));
    assert!(grads.take(&x).is_ok());
}

#[test]
fn recordings_nest() {
    let (x, w) = (x(), weight_of_four());
    let mut inner = None;
    let (y, outer) = record(|| {
        let y = ops::add(&x, &x)?;
        inner = Some(record(|| ops::rms_norm(&y, &w, 0.1))?);
        assert!(recording());
        ops::swiglu(&y)
    })
    .unwrap();
    let (normed, inner) = inner.unwrap();
    // The outer one has `add` and `swiglu`, the inner one the norm.
    let mut grads = outer.backward_from(&y, upstream(&y)).unwrap();
    assert_eq!(grads.take(&x).unwrap().dims(), [3, 4]);
    assert!(w.check_gradient().is_err());
    assert!(refusal(inner.backward_from(&y, upstream(&y))).contains("`rms_norm`"));
    let (again, inner) = record(|| ops::rms_norm(&normed, &w, 0.1)).unwrap();
    inner.backward_from(&again, upstream(&again)).unwrap();
    w.check_gradient().unwrap();
}

#[test]
fn nothing_is_recorded_outside() {
    assert!(!recording());
    let (x, w) = (x(), weight());
    let y = ops::linear(&x, std::slice::from_ref(&w), &[]).unwrap();
    let (inside, tape) = record(|| Ok(recording())).unwrap();
    assert!(inside && is_empty(&y, tape));
    assert!(!recording());
    // Another thread does not see this thread's recording.
    record(|| {
        assert!(!std::thread::scope(|s| s.spawn(recording).join()).unwrap());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_panic_or_an_error_leaves_no_recording_on() {
    let x = x();
    let nested = |end: fn() -> Result<()>| {
        record(|| {
            ops::swiglu(&x)?;
            record(|| {
                ops::swiglu(&x)?;
                end()
            })
        })
    };
    let fall = AssertUnwindSafe(|| nested(|| panic!("on purpose")).map(|_| ()));
    assert!(catch_unwind(fall).is_err());
    assert!(!recording());
    assert!(refusal(nested(|| bail!("on purpose"))).contains("on purpose"));
    assert!(!recording());
    let (y, tape) = record(|| ops::swiglu(&x)).unwrap();
    assert!(tape.backward_from(&y, upstream(&y)).is_ok());
    // An error inside that the outer recording survives takes off only the inner tape.
    let (y, tape) = record(|| {
        let inner: Result<((), _)> = record(|| {
            ops::swiglu(&x)?;
            bail!("on purpose")
        });
        assert!(inner.is_err() && recording());
        ops::swiglu(&x)
    })
    .unwrap();
    assert!(tape.backward_from(&y, upstream(&y)).is_ok());
}

#[test]
fn a_loss_goes_back_from_one_only() {
    let head =
        parameters(&[("head", &[5, 4])], Init::Normal(1.0), DType::F64).remove(0);
    let loss = || {
        head.begin_step();
        record(|| ops::head_loss(&x(), &head, &[0, 1, 4], 0.5)).unwrap()
    };
    let (y, tape) = loss();
    let two = (y.ones_like().unwrap() * 2.0).unwrap();
    assert!(refusal(tape.backward_from(&y, two)).contains("must start with one"));
    let (y, tape) = loss();
    tape.backward_from(&y, y.ones_like().unwrap()).unwrap();
    // A plain operation after the loss cannot be missed either.
    let (y, tape) = loss();
    let doubled = (y * 2.0).unwrap();
    assert!(
        refusal(tape.backward_from(&doubled, doubled.ones_like().unwrap()))
            .contains("`head_loss`")
    );
}

#[test]
fn a_scale_of_the_loss_scales_every_gradient() {
    let head =
        parameters(&[("head", &[5, 4])], Init::Normal(1.0), DType::F64).remove(0);
    let x = x();
    let run = |scale: f64| {
        head.begin_step();
        let (y, tape) =
            record(|| ops::head_loss(&x, &head, &[0, 1, 4], scale)).unwrap();
        let dx =
            tape.backward_from(&y, y.ones_like().unwrap()).unwrap().take(&x).unwrap();
        [y, dx, head.grad_tensor().unwrap()]
    };
    for (a, b) in run(1024.0).iter().zip(&run(1.0)) {
        close("scaled", a, &(b * 1024.0).unwrap(), 1e-14);
    }
}

#[test]
fn an_operation_of_ones_own_is_recorded_by_a_note() {
    let x = x();
    let (y, tape) = record(|| {
        let y = (&x * 3.0)?;
        note("thrice", &y, &[&x], |dy| Ok(vec![(dy * 3.0)?]));
        ops::add(&y, &x)
    })
    .unwrap();
    let dy = upstream(&y);
    let dx = tape.backward_from(&y, dy.clone()).unwrap().take(&x).unwrap();
    same("four times", &dx, &((&dy * 3.0).unwrap() + &dy).unwrap());
}

#[test]
fn a_side_branch_that_is_not_recorded_is_noticed() {
    let x = Tensor::ones((2, 3), DType::F64, &Device::Cpu).unwrap();
    let (y, tape) = ops::record(|| {
        let y = ops::add(&x, &x)?;
        let side = (&y * 10.0)?; // candle's own
        ops::add(&y, &ops::add(&side, &side)?)
    })
    .unwrap();
    let ones = y.ones_like().unwrap();
    let mut gradients = tape.backward_from(&y, ones).unwrap();
    gradients.take(&x).unwrap();
    let text = gradients.finish().unwrap_err().to_string();
    assert!(text.contains("was left over"), "{text}");
}
