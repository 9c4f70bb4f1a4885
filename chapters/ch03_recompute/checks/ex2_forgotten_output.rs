//! A norm in a segment that forgets its output, before nobody, one, or two operations
//! that would save it: bits, bytes and calls.
use crate::answer::ex2_forgotten_output::*;
use crate::checks::{Layer, draw, held, layers, ok, same_bits, train};
use candle_core::{Result, Tensor, bail};

/// A layer's norm, in a segment.
fn norm(x: &Tensor, layer: &Layer) -> Result<Tensor> {
    let layer = layer.clone();
    segment(x, move |x| layer.norm(x))
}

/// A norm, and what uses it.
type Use = fn(&Tensor, &Layer, fn(&Tensor, &Layer) -> Result<Tensor>) -> Result<Tensor>;

/// Each with the number of operations that would save the norm's output.
const USES: [(&str, Use); 4] = [
    ("a norm whose output no operation saves", |x, layer, norm| {
        ops::add(x, &norm(x, layer)?)
    }),
    ("a norm whose output one operation saves", |x, layer, norm| {
        layer.gated(&norm(x, layer)?)
    }),
    ("a norm whose output two operations save", |x, layer, norm| {
        let y = norm(x, layer)?;
        ops::add(&layer.gated(&y)?, &layer.gated(&y)?)
    }),
    ("a norm, and another whose input is its output", |x, layer, norm| {
        layer.gated(&norm(&norm(x, layer)?, layer)?)
    }),
];

#[test]
fn every_bit_is_the_same() {
    for (name, layer) in USES {
        for count in [1, 3] {
            let want = train(count, |x, l| layer(x, l, |x, l| l.norm(x))).0;
            let got = train(count, |x, l| layer(x, l, norm)).0;
            same_bits(&got, &want, &format!("{count} layers with {name}"));
        }
    }
}

#[test]
fn the_body_runs_once_more_and_only_once() {
    for (name, layer) in USES {
        let (_, layers) = train(1, |x, l| layer(x, l, norm));
        let runs = layers[0].runs.borrow();
        // Of two micro-batches.
        let want = match name.contains("another") {
            true => [false, false, true, true].repeat(2),
            false => [false, true].repeat(2),
        };
        assert!(
            *runs == want,
            "{name}, forward and backward of 2 micro-batches: the norm found a \
             recording on in its runs: {runs:?}, expected {want:?}: without in \
             forward, and once with one in backward, whoever asks"
        );
    }
}

#[test]
fn the_output_is_not_kept() {
    const RANK: usize = 40;
    memory::set_rank(RANK);
    let (layers, params) = layers(1);
    let (layer, x, dy) = (&layers[0], draw("x"), draw("dy"));
    // What the gates save: 2 for each.
    for ((name, forward), want) in USES.into_iter().zip([0, 2, 4, 2]) {
        params.begin_step().unwrap();
        let forward = || forward(&x, layer, norm);
        let (y, tape) = ok(ops::record(forward), "forward");
        drop(y);
        let after = held(RANK);
        assert!(
            after == want,
            "{name}: after forward, with the last output dropped, {after} tensors of \
             the size of the norm's output are held, expected {want}, those before a \
             gate: norms keep their input, which is not counted here, and nothing else"
        );
        drop(tape);
        let (y, tape) = ok(ops::record(forward), "forward");
        let grads = ok(tape.backward_from(&y, dy.clone()), "backward");
        drop((y, grads));
        let after = held(RANK);
        assert!(
            after == 0,
            "{name}: after backward, with output and gradients dropped, {after} \
             tensors of the size of the norm's output are held, expected none"
        );
    }
}

#[test]
fn what_was_computed_again_is_freed_on_the_way() {
    const RANK: usize = 41;
    memory::set_rank(RANK);
    let (layers, params) = layers(4);
    params.begin_step().unwrap();
    let (x, dy) = (draw("x"), draw("dy"));
    let layer = |x: Tensor, l: &Layer| l.gated(&norm(&x, l)?);
    let forward = || layers.iter().try_fold(x.clone(), layer);
    let (y, tape) = ok(ops::record(forward), "forward");
    let before = held(RANK);
    memory::reset_peak(RANK);
    ok(tape.backward_from(&y, dy), "backward");
    let peak = memory::account(RANK)[memory::Family::Activations].peak;
    let more = (peak + crate::checks::UNIT / 2) / crate::checks::UNIT - before;
    // Before anything was freed of the last layer, its norm was computed again.
    assert!(
        more <= 1,
        "4 layers: backward starts with {before} tensors of the size of a norm's \
         output and holds up to {more} more, expected 1: a norm's output and tape are \
         freed before those of the layer before it are made"
    );
}

#[test]
fn outside_of_a_recording_nothing_is_kept() {
    const RANK: usize = 42;
    memory::set_rank(RANK);
    let (layers, _params) = layers(1);
    let x = draw("x");
    let all = || memory::account(RANK).total.live;
    let warm = ok(norm(&x, &layers[0]), "forward, with no recording");
    layers[0].runs.take();
    drop(warm);
    let before = all();
    drop(ok(norm(&x, &layers[0]), "forward, with no recording"));
    let runs = layers[0].runs.take();
    assert!(
        runs == [false],
        "with no recording, the body found one on in its runs: {runs:?}, expected \
         [false]: one run, and nobody who records it"
    );
    drop(runs);
    let more = all() as i64 - before as i64;
    assert!(
        more <= 0,
        "with no recording, {more} bytes are left after the output was dropped, \
         expected none: there will be no backward that could use them"
    );
}

#[test]
fn errors_are_handed_on() {
    let (layers, params) = layers(1);
    for (name, forward) in USES {
        params.begin_step().unwrap();
        layers[0].runs.take();
        let x = draw("x");
        let failing: fn(&Tensor, &Layer) -> Result<Tensor> = |x, layer| {
            let layer = layer.clone();
            segment(x, move |x| match ops::recording() {
                false => layer.norm(x),
                true => bail!("not again"),
            })
        };
        let forward = || forward(&x, &layers[0], failing);
        let (y, tape) = ok(ops::record(forward), "forward");
        let result = tape.backward_from(&y, draw("dy")).map(|_| ());
        let said = result.map_or_else(|error| error.to_string(), |_| "nothing".into());
        assert!(
            said.contains("not again"),
            "{name}: the body fails with \"not again\" when it runs again, and \
             backward says: {said}"
        );
    }
}
