//! Stacks of small layers with the segment and without: bits, bytes and calls.
use crate::answer::ex1_segment::*;
use crate::checks::{Layer, draw, held, layers, ok, same_bits, train};
use candle_core::{Result, Tensor, bail};

/// A layer in a segment.
fn in_segment(x: &Tensor, layer: &Layer) -> Result<Tensor> {
    let layer = layer.clone();
    segment(x, move |x| layer.forward(x))
}

#[test]
fn every_bit_is_the_same() {
    let plain = |x: &Tensor, layer: &Layer| layer.forward(x);
    for count in [1, 3] {
        let want = train(count, plain).0;
        let got = train(count, in_segment).0;
        same_bits(&got, &want, &format!("{count} layers, each a segment"));
    }
    // The gradient of the input is the sum of two.
    let want = train(2, |x, layer| ops::add(x, &plain(x, layer)?)).0;
    let got = train(2, |x, layer| ops::add(x, &in_segment(x, layer)?)).0;
    same_bits(&got, &want, "2 layers, each a segment and added to the residual stream");
}

#[test]
fn only_the_input_is_kept() {
    const RANK: usize = 30;
    memory::set_rank(RANK);
    let (layers, params) = layers(4);
    params.begin_step().unwrap();
    let (x, dy) = (draw("x"), draw("dy"));
    let forward = || layers.iter().try_fold(x.clone(), |x, l| in_segment(&x, l));
    let (y, tape) = ok(ops::record(forward), "forward");
    // The first input is not an activation: it was there before.
    let after = held(RANK);
    assert!(
        after == 4,
        "after the forward of 4 segments, {after} tensors of the size of an input are \
         held, expected 4: the inputs of the last three and the output. Without \
         segments it would be 16"
    );
    drop(y);
    let after = held(RANK);
    assert!(
        after == 3,
        "after the forward of 4 segments, and with their last output dropped, {after} \
         tensors of the size of an input are held, expected 3, the inputs of the last \
         three: an output that nobody uses is not the segment's to keep"
    );
    drop(tape);
    let forward = || layers.iter().try_fold(x.clone(), |x, l| in_segment(&x, l));
    let (y, tape) = ok(ops::record(forward), "forward");
    let grads = ok(tape.backward_from(&y, dy), "backward");
    drop((y, grads));
    let after = held(RANK);
    assert!(
        after == 0,
        "after backward, with output and gradients dropped, {after} tensors of the \
         size of an input are still held, expected none"
    );
}

#[test]
fn the_body_runs_once_forward_and_once_in_backward() {
    let (_, layers) = train(2, in_segment);
    for (n, layer) in layers.iter().enumerate() {
        let runs = layer.runs.borrow();
        // Of two micro-batches.
        assert!(
            runs[..] == [false, true, false, true],
            "2 layers, each a segment, forward and backward of 2 micro-batches: the \
             body of layer {n} found a recording on in its runs: {runs:?}, expected \
             [false, true, false, true]: without in forward, with one in backward"
        );
    }
}

#[test]
fn outside_of_a_recording_nothing_is_kept() {
    const RANK: usize = 31;
    memory::set_rank(RANK);
    let (layers, _params) = layers(1);
    let x = draw("x");
    let want = ok(layers[0].forward(&x), "forward");
    layers[0].runs.take();
    let all = || memory::account(RANK).total.live;
    let before = all();
    let got = ok(in_segment(&x, &layers[0]), "forward, with no recording");
    let (got, want) =
        [got, want].map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap()).into();
    assert!(got == want, "with no recording, the output is not the body's");
    let runs = layers[0].runs.take();
    assert!(
        runs == [false],
        "with no recording, the body found one on in its runs: {runs:?}, expected \
         [false]: one run, and nobody who records it"
    );
    drop((got, want));
    // Less than before: `want` was there.
    let more = all() as i64 - before as i64;
    assert!(
        more <= 0,
        "with no recording, {more} bytes are left after output and gradients were \
         dropped, expected none: there will be no backward that could use them"
    );
}

#[test]
fn segments_nest() {
    const RANK: usize = 32;
    memory::set_rank(RANK);
    let twice = |x: &Tensor, layer: &Layer| layer.forward(&layer.forward(x)?);
    let nested = |x: &Tensor, layer: &Layer| {
        let layer = layer.clone();
        segment(x, move |x| in_segment(&in_segment(x, &layer)?, &layer))
    };
    let (want, _) = train(2, twice);
    let (got, layers) = train(2, nested);
    same_bits(&got, &want, "2 segments of 2 segments each");
    let runs = layers[1].runs.borrow();
    let want = [false, false, false, false, true, true].repeat(2);
    assert!(
        *runs == want,
        "a segment of 2 segments, forward and backward of 2 micro-batches: the bodies \
         of the inner ones found a recording on in their runs: {runs:?}, expected \
         {want:?}: in forward, when the outer one runs again, and in their own backward"
    );
    let (layer, x) = (layers[0].clone(), draw("x"));
    let before = held(RANK);
    let (y, _tape) = ok(ops::record(|| nested(&x, &layer)), "forward");
    drop(y);
    let after = held(RANK) - before;
    assert!(
        after == 0,
        "after the forward of a segment of 2 segments, with the output dropped, \
         {after} tensors of the size of an input are held, expected none but the \
         input: what is inside keeps nothing before the outer one runs again"
    );
}

#[test]
fn errors_are_handed_on() {
    let x = draw("x");
    let (result, _tape) = ok(
        ops::record(|| Ok(segment(&x, |_| bail!("not today")))),
        "a recording around a segment whose body fails",
    );
    let said = result.map_or_else(|error| error.to_string(), |_| "nothing".into());
    assert!(said.contains("not today"), "the body fails with \"not today\": {said}");
    let (layers, params) = layers(1);
    params.begin_step().unwrap();
    let layer = layers[0].clone();
    let body = move |x: &Tensor| match ops::recording() {
        false => layer.forward(x),
        true => bail!("not again"),
    };
    let (y, tape) = ok(ops::record(|| segment(&x, body)), "forward");
    let result = tape.backward_from(&y, draw("dy")).map(|_| ());
    let said = result.map_or_else(|error| error.to_string(), |_| "nothing".into());
    assert!(
        said.contains("not again"),
        "the body fails with \"not again\" when it runs again, and backward \
         says: {said}"
    );
}
