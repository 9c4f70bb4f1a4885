//! The segment by itself: how often its body runs, what stays in memory, what it
//! returns; and what the plan makes of the flags.
use candle_core::{DType, Result, Tensor, bail};
use ch03_recompute::Config;
use ch03_recompute::config::{Granularity, Method};
use ch03_recompute::recompute::Recompute;
use ch03_recompute::segment::{Keep, segment};
use memory::Family;
use params::{Init, Param, ParamBuilder};
use std::cell::Cell;
use std::rc::Rc;

const N: usize = 64;
/// Bytes of a tensor here.
const BYTES: u64 = (N * N * 8) as u64;

fn matrix(seed: u64) -> Param {
    let mut builder = ParamBuilder::new(seed, DType::F64);
    let param = builder.add("w", &[N, N], Init::Normal(0.3));
    builder.build(1).unwrap();
    param
}

fn input() -> Tensor {
    matrix(9).to_tensor().unwrap()
}

fn bits(x: &Tensor) -> Vec<u64> {
    let x = x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    x.into_iter().map(f64::to_bits).collect()
}

/// `linear(body(x))` with a body of three products, of which `keep` is kept: the calls
/// of the body in forward and in all, the bytes that are kept, and the gradients of the
/// input and of both matrices.
fn through(keep: Keep, rank: usize) -> ([usize; 2], u64, [Vec<u64>; 3]) {
    memory::set_rank(rank);
    let live = || memory::account(rank)[Family::Activations].live;
    let (x, inner, outer) = (input(), matrix(1), matrix(2));
    let calls = Rc::new(Cell::new(0));
    let before = live();
    let (y, tape) = ops::record(|| {
        let (calls, inner) = (calls.clone(), inner.clone());
        let y = segment(&x, keep, move |x| {
            calls.set(calls.get() + 1);
            let one = std::slice::from_ref(&inner);
            let y = ops::linear(&ops::linear(x, one, &[])?, one, &[])?;
            ops::linear(&y, one, &[])
        })?;
        ops::linear(&y, std::slice::from_ref(&outer), &[])
    })
    .unwrap();
    let forward = calls.get();
    // Besides its own output, which its caller holds.
    let kept = live() - before - BYTES;
    let dy = y.ones_like().unwrap();
    let dx = tape.backward_from(&y, dy).unwrap().only().unwrap();
    drop(y);
    let left = live() - before;
    assert!(left < 1024, "{keep:?}: {left} bytes were not freed");
    let grads = [dx, inner.grad_tensor().unwrap(), outer.grad_tensor().unwrap()];
    ([forward, calls.get()], kept, grads.each_ref().map(bits))
}

#[test]
fn what_is_kept_and_how_often_the_body_runs() {
    let (calls, kept, want) = through(Keep::All, 3);
    assert_eq!(calls, [1, 1]);
    let close = |kept: u64, tensors: u64| {
        let more = kept - tensors * BYTES;
        assert!(more < BYTES / 4, "{more} bytes more than {tensors} tensors");
    };
    // The input is the caller's. Two intermediate results, and the output.
    close(kept, 3);
    for (keep, tensors) in [(Keep::Ends, 1), (Keep::Input, 0)] {
        let (calls, kept, got) = through(keep, 3);
        assert_eq!(calls, [1, 2], "{keep:?}");
        close(kept, tensors);
        assert!(got == want, "{keep:?}: other gradients");
    }
}

/// A segment in a segment, whatever is kept of each; the inner one's input may itself
/// have been forgotten.
#[test]
fn segments_nest_and_follow_each_other() {
    let run = |outer: Keep, first: Keep, second: Keep| {
        let (x, w) = (input(), matrix(1));
        let layer = |w: &Param| {
            let w = w.clone();
            move |x: &Tensor| {
                ops::linear(&ops::add(x, x)?, std::slice::from_ref(&w), &[])
            }
        };
        let inner = w.clone();
        let (y, tape) = ops::record(|| {
            let y = segment(&x, outer, move |x| {
                let y = segment(x, first, layer(&inner))?;
                segment(&y, second, layer(&inner))
            })?;
            ops::linear(&y, std::slice::from_ref(&w), &[])
        })
        .unwrap();
        let dy = y.ones_like().unwrap();
        let dx = tape.backward_from(&y, dy).unwrap().only().unwrap();
        [bits(&dx), bits(&w.grad_tensor().unwrap())]
    };
    let want = run(Keep::All, Keep::All, Keep::All);
    let all = [Keep::All, Keep::Ends, Keep::Input];
    for outer in all {
        for first in all {
            for second in all {
                let got = run(outer, first, second);
                assert!(got == want, "{outer:?} around {first:?} and {second:?}");
            }
        }
    }
}

/// Of a chain of segments without outputs, the input of the first is all there is.
#[test]
fn a_chain_keeps_its_first_input() {
    memory::set_rank(4);
    let live = || memory::account(4)[Family::Activations].live;
    let (x, before) = (input(), live());
    let double = |x: &Tensor| segment(x, Keep::Input, |x| ops::add(x, x));
    let (y, tape) = ops::record(|| {
        let y = double(&double(&double(&x)?)?)?;
        ops::swiglu(&y)
    })
    .unwrap();
    // Its result, which the caller holds.
    let kept = live() - before - BYTES / 2;
    assert!(kept < BYTES / 4, "{kept} bytes");
    let dy = y.ones_like().unwrap();
    let dx = tape.backward_from(&y, dy).unwrap().only().unwrap();
    assert_eq!(dx.dims(), x.dims());
}

#[test]
fn without_a_recording_the_body_runs_once() {
    let calls = Rc::new(Cell::new(0));
    for keep in [Keep::All, Keep::Ends, Keep::Input] {
        let seen = calls.clone();
        segment(&input(), keep, move |x| {
            assert!(!ops::recording());
            seen.set(seen.get() + 1);
            ops::add(x, x)
        })
        .unwrap();
    }
    assert_eq!(calls.get(), 3);
}

#[test]
fn a_body_that_fails_fails_its_segment() {
    for (at, keep) in [(0, Keep::Ends), (0, Keep::Input), (1, Keep::Ends)] {
        let calls = Cell::new(0);
        let x = input();
        let body = move |x: &Tensor| -> Result<Tensor> {
            calls.set(calls.get() + 1);
            match calls.get() - 1 == at {
                true => bail!("call {at}"),
                false => ops::add(x, x),
            }
        };
        let error = ops::record(|| segment(&x, keep, body)).and_then(|(y, tape)| {
            let dy = y.ones_like()?;
            tape.backward_from(&y, dy)
        });
        let error = error.err().map(|error| error.to_string()).unwrap();
        assert!(error.contains(&format!("call {at}")), "{error}");
        assert!(!ops::recording());
    }
}

#[test]
fn modules_are_dropped_as_the_flags_say() {
    use ch03_recompute::config::Module::{self, Attention, Norm, Swiglu};
    let keep = |recompute, modules: &[Module]| {
        let recompute_modules = modules.to_vec();
        let config = Config { recompute, recompute_modules, ..Config::default() };
        let Recompute { norm, attention, swiglu, segments } =
            Recompute::new(&config, 2).unwrap();
        assert_eq!(segments.iter().map(|(layers, _)| layers).sum::<usize>(), 2);
        [norm, attention, swiglu].map(|keep| keep == Keep::Input)
    };
    let selective = Granularity::Selective;
    assert_eq!(keep(selective, &[]), [true, false, true]);
    assert_eq!(keep(selective, &[Norm]), [true, false, false]);
    assert_eq!(keep(selective, &[Attention]), [false, true, false]);
    assert_eq!(keep(selective, &[Swiglu, Attention]), [false, true, true]);
    for other in [Granularity::None, Granularity::Full] {
        assert_eq!(keep(other, &[]), [false; 3]);
    }
}

#[test]
fn layers_are_cut_into_segments_as_the_flags_say() {
    let plan = |method, n| {
        let config = Config {
            recompute: Granularity::Full,
            recompute_method: method,
            recompute_layers: n,
            ..Config::default()
        };
        Recompute::new(&config, 5).map(|recompute| recompute.segments)
    };
    let (ends, all) = (Keep::Ends, Keep::All);
    let uniform = Some(Method::Uniform);
    assert_eq!(plan(None, None).unwrap(), [(1, ends); 5]);
    assert_eq!(plan(uniform, Some(2)).unwrap(), [(2, ends), (2, ends), (1, ends)]);
    assert_eq!(plan(uniform, Some(5)).unwrap(), [(5, ends)]);
    let block = [(1, ends), (1, ends), (1, all), (1, all), (1, all)];
    assert_eq!(plan(Some(Method::Block), Some(2)).unwrap(), block);
    for n in [0, 6] {
        let error = plan(None, Some(n)).unwrap_err().to_string();
        assert!(error.contains(&format!("is {n}")) && error.contains("1 to 5"));
    }
}
