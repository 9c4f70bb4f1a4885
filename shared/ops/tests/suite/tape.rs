//! What is recorded, and what a tape refuses.

use crate::common::{close, flat, normal, parameters, refusal, same, upstream};
use candle_core::{DType, Device, Result, Tensor, bail};
use ops::{note, record, recording};
use params::{Init, Param};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

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

#[test]
fn what_runs_unrecorded_leaves_no_note_and_is_freed() {
    memory::set_rank(21);
    let live = || memory::account(21)[memory::Family::Activations].live;
    let (x, w) = (normal("x", 0, &[64, 64]), weight_of(64));
    let ((y, between), tape) = record(|| {
        let y = ops::unrecorded(|| {
            assert!(!recording());
            // Within, recordings can be on again.
            record(|| ops::swiglu(&x)).map(|_| assert!(!recording()))?;
            ops::rms_norm(&ops::rms_norm(&x, &w, 0.1)?, &w, 0.1)
        })?;
        assert!(recording());
        Ok((y, live()))
    })
    .unwrap();
    // The result, and not what lay between.
    assert!((64 * 64 * 8..64 * 64 * 8 + 4096).contains(&between), "{between}");
    assert!(is_empty(&y, tape));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        ops::unrecorded(|| -> Result<()> { panic!("in the middle") })
    }));
    assert!(panicked.is_err() && !recording());
    let failed = record(|| {
        let failed = ops::unrecorded(|| -> Result<()> { bail!("as asked") });
        assert!(recording() && failed.is_err());
        Ok(())
    });
    assert!(failed.is_ok());
}

fn weight_of(n: usize) -> Param {
    parameters(&[("norm", &[n])], Init::Ones, DType::F64).remove(0)
}

/// Two consumers of a forgotten tensor: the tensor is freed, each backward asks for it,
/// and the gradients are those of keeping it.
#[test]
fn a_forgotten_tensor_is_freed_and_recalled() {
    memory::set_rank(22);
    let live = || memory::account(22)[memory::Family::Activations].live;
    let calls = Rc::new(Cell::new(0));
    let x = normal("x", 0, &[64, 64]);
    let run = |forget: bool| {
        let (w, before) = (weight_of(64), live());
        let calls = calls.clone();
        let (y, tape) = record(|| {
            let twice = ops::add(&x, &x)?;
            if forget {
                let x = x.clone();
                ops::forget(&twice, move || {
                    calls.set(calls.get() + 1);
                    ops::unrecorded(|| ops::add(&x, &x))
                });
            }
            let y = ops::rms_norm(&twice, &w, 0.1)?;
            ops::add(&y, &ops::rms_norm(&twice, &w, 0.2)?)
        })
        .unwrap();
        let saved = live() - before;
        let mut grads = tape.backward_from(&y, upstream(&y)).unwrap();
        (saved, grads.take(&x).unwrap(), w.grad_tensor().unwrap())
    };
    let (kept, dx, dw) = run(false);
    assert_eq!(calls.get(), 0);
    let (forgotten, dx_again, dw_again) = run(true);
    assert_eq!(calls.get(), 2);
    same("dx", &dx_again, &dx);
    same("dw", &dw_again, &dw);
    let freed = kept - forgotten;
    assert!(freed.abs_diff(64 * 64 * 8) < 4096, "{freed}");
}

/// What is forgotten in one recording is nothing to another, nor to what came before.
#[test]
fn forgetting_is_for_what_follows_in_the_same_recording() {
    let (x, w) = (x(), weight_of_four());
    let (y, tape) = record(|| {
        let first = ops::rms_norm(&x, &w, 0.1)?;
        ops::forget(&x, || bail!("recalled"));
        let (inner, tape) = record(|| ops::swiglu(&x))?;
        tape.backward_from(&inner, upstream(&inner))?.only()?;
        Ok(first)
    })
    .unwrap();
    tape.backward_from(&y, upstream(&y)).unwrap().only().unwrap();
    let (y, tape) = record(|| {
        ops::forget(&x, || bail!("recalled"));
        ops::swiglu(&x)
    })
    .unwrap();
    let error = refusal(tape.backward_from(&y, upstream(&y)));
    assert!(error.contains("recalled"), "{error}");
}

#[test]
fn the_only_gradient_is_refused_where_there_are_two_or_none() {
    let (x, other) = (x(), x());
    let grads = |both: bool| {
        let forward = || ops::add(&x, if both { &other } else { &x });
        let (y, tape) = record(forward).unwrap();
        tape.backward_from(&y, upstream(&y)).unwrap()
    };
    assert!(refusal(grads(true).only()).contains("there are 2"));
    let mut taken = grads(false);
    taken.take(&x).unwrap();
    assert!(refusal(taken.only()).contains("there are 0"));
    assert_eq!(flat(&grads(false).only().unwrap()).len(), 12);
}

#[test]
fn a_mark_is_reached_when_all_after_it_has_gone_backward() {
    let (x, w) = (x(), weight_of_four());
    w.begin_step();
    let (loss, tape) = record(|| {
        ops::mark(0);
        let y = ops::rms_norm(&x, &w, 0.1)?;
        ops::mark(1);
        // Of a recording within this one: not heard.
        let inner = |number| {
            ops::mark(number);
            Ok(())
        };
        ops::unrecorded(|| inner(2))?;
        record(|| inner(3))?;
        let z = ops::swiglu(&y)?;
        ops::mark(4);
        Ok(z)
    })
    .unwrap();
    let reached = RefCell::new(vec![]);
    let at_mark = |mark| {
        reached.borrow_mut().push((mark, w.check_gradient().is_ok()));
        if mark == 0 { candle_core::bail!("enough") } else { Ok(()) }
    };
    let error = tape.backward_by_marks(&loss, at_mark).unwrap_err();
    assert!(error.to_string().contains("enough"), "{error}");
    assert_eq!(reached.into_inner(), [(4, false), (1, false), (0, true)]);
}

#[test]
fn an_observer_sees_each_operation_pass() {
    use ops::Pass::{Backward, Forward};
    let seen = Rc::new(RefCell::new(vec![]));
    let (x, w) = (x(), weight_of_four());
    let observer = {
        let seen = seen.clone();
        move |op, pass| {
            seen.borrow_mut().push((op, pass));
            // Seen by nobody: an observer does not observe itself.
            let other = || ops::swiglu(&normal("y", 0, &[2, 2]));
            ops::unrecorded(other).unwrap();
        }
    };
    ops::observe(observer, || {
        ops::rms_norm(&x, &w, 0.1).unwrap();
        let (y, tape) = record(|| ops::swiglu(&ops::add(&x, &x)?)).unwrap();
        tape.backward_from(&y, upstream(&y)).unwrap();
        ops::sum_of_squares(&[1f32]);
    });
    ops::swiglu(&x).unwrap();
    let want = [
        ("rms_norm", Forward),
        ("add", Forward),
        ("swiglu", Forward),
        ("swiglu", Backward),
        ("add", Backward),
        ("sum_of_squares", ops::Pass::Update),
    ];
    assert_eq!(*seen.borrow(), want);
    // Gone after a panic too.
    let panicking = || ops::observe(|_, _| panic!("seen"), || ops::swiglu(&x));
    assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    ops::swiglu(&x).unwrap();
}
