//! A stage of real tensors: what is sent, and what the main gradients are meanwhile.
use super::{distance, elements, shown, tensor};
use crate::answer::ex5_zero_bubble::*;
use candle_core::{DType, Error, Result, Tensor};
use ch07_pipeline_parallel::schedule::{Action, Pass, Schedule};
use ops::{Root, Tape};
use params::{Init, Param, ParamBuilder, Params};
use std::cell::RefCell;
use std::collections::HashMap;
use std::slice::from_ref;

const HIDDEN: usize = 6;
const INNER: usize = 10;
/// Rows and tokens of a micro-batch.
const SHAPE: [usize; 3] = [2, 3, HIDDEN];

/// An MLP behind a norm, with its residual connection.
struct Layer {
    norm: Param,
    up: Param,
    down: Param,
    params: Params,
}

impl Layer {
    fn new() -> Result<Layer> {
        let mut builder = ParamBuilder::new(1, DType::F64);
        let norm = builder.add("norm", &[HIDDEN], Init::Normal(1.0));
        let up = builder.add("up", &[INNER, HIDDEN], Init::Normal(0.5));
        let down = builder.add("down", &[HIDDEN, INNER], Init::Normal(0.5));
        let params = builder.build(1)?;
        params.begin_step()?;
        Ok(Layer { norm, up, down, params })
    }
    /// Of a micro-batch: its input, its output, and the tape.
    fn forward(&self, micro: usize) -> Result<(Tensor, Root, Tape)> {
        let x = tensor(&SHAPE, 10 + micro)?;
        let (y, tape) = ops::record(|| {
            let y = ops::rms_norm(&x, &self.norm, 1e-6)?;
            let y = ops::linear(&y, from_ref(&self.up), &[])?;
            ops::add(&x, &ops::linear(&y, from_ref(&self.down), &[])?)
        })?;
        Ok((x, Root::from(&y), tape))
    }
    /// The matrices' main gradients, of which none is there before the first arrives.
    fn matrices(&self) -> Grads {
        [&self.up, &self.down].map(|param| param.grad::<f64>().ok().map(|g| g.to_vec()))
    }
}

type Grads = [Option<Vec<f64>>; 2];

fn dy(micro: usize) -> Result<Tensor> {
    tensor(&SHAPE, 50 + micro)
}

/// What the whole backward of one micro-batch gives: the gradients of its input, of the
/// two matrices, and of the norm.
fn alone(micro: usize) -> [Vec<f64>; 4] {
    let all = || {
        let layer = Layer::new()?;
        let (_, output, tape) = layer.forward(micro)?;
        let dx = tape.backward_from(output, dy(micro)?)?.only()?;
        let grad = |param: &Param| Result::Ok(param.grad::<f64>()?.to_vec());
        let Layer { norm, up, down, .. } = &layer;
        Result::Ok([elements(&dx)?, grad(up)?, grad(down)?, grad(norm)?])
    };
    all().unwrap_or_else(|error| panic!("a whole backward: {error}"))
}

/// One action, and what was seen of it.
struct Event {
    action: Action,
    /// The matrices' gradients before it, and after.
    before: Grads,
    after: Grads,
    /// What was sent, and the matrices' gradients at that time.
    sent: Vec<(Vec<f64>, Grads)>,
}

/// Carries out a list with the reader's stage. The last is the norm's gradient.
fn events(list: &[Action]) -> (Vec<Event>, Vec<f64>) {
    let _threads = ops::threads::own(1);
    let words = shown(list);
    let fail = |action: &Action, error: Error| -> ! {
        panic!("{words}: at {action}: {error}")
    };
    let layer = Layer::new().unwrap_or_else(|error| panic!("{error}"));
    let (mut stage, mut tapes, mut all) = (Stage::default(), HashMap::new(), vec![]);
    for action in list {
        let (before, sent) = (layer.matrices(), RefCell::new(vec![]));
        let send = |dx: Tensor| {
            sent.borrow_mut().push((elements(&dx)?, layer.matrices()));
            Ok(())
        };
        let mut act = || {
            let micro = action.micro;
            match (action.pass, tapes.remove(&micro)) {
                (Pass::Forward, _) => {
                    let (_, output, tape) = layer.forward(micro)?;
                    tapes.insert(micro, (output, tape));
                    Ok(())
                }
                (Pass::Input, Some((output, tape))) => {
                    stage.input(micro, output, tape, dy(micro)?, send)
                }
                _ => stage.weight(micro),
            }
        };
        act().unwrap_or_else(|error| fail(action, error));
        let after = layer.matrices();
        all.push(Event { action: *action, before, after, sent: sent.into_inner() });
    }
    let norm = layer.norm.grad::<f64>().map(|grad| grad.to_vec());
    let last = layer.params.iter().try_for_each(|param| param.check_gradient());
    assert!(
        last.is_ok(),
        "{words}: in the end a parameter has received no gradient at all: is what was \
         put off ever computed?"
    );
    (all, norm.unwrap_or_default())
}

fn parse(list: &str) -> Vec<Action> {
    let one = |text: &str| text.parse().unwrap_or_else(|error| panic!("{error}"));
    list.split(' ').map(one).collect()
}

/// The lists of zb-h1, and others.
fn lists() -> Vec<Vec<Action>> {
    let mut lists: Vec<Vec<Action>> = [
        "0F0 0I0 0W0",
        "0F0 0F1 0I0 0W0 0I1 0W1",
        "0F0 0F1 0I0 0I1 0W0 0W1",
        "0F0 0F1 0I0 0I1 0W1 0W0",
        "0F0 0F1 0F2 0I1 0I0 0W1 0I2 0W2 0W0",
    ]
    .map(parse)
    .to_vec();
    for stages in 2..=3 {
        let list = |stage| Schedule::ZbH1.actions(stage, stages, 1, 5);
        lists.extend((0..stages).map(list));
    }
    lists
}

#[test]
fn the_input_s_gradient_is_sent() {
    for list in lists() {
        for Event { action, sent, .. } in events(&list).0 {
            let words = format!("{}: {action}", shown(&list));
            if action.pass != Pass::Input {
                assert!(sent.is_empty(), "{words} sends something");
                continue;
            }
            let [(got, _)] = &sent[..] else { panic!("{words} sends nothing") };
            let [want, ..] = alone(action.micro);
            let given = dy(action.micro).and_then(|dy| elements(&dy));
            let what = match given.is_ok_and(|dy| dy == *got) {
                true => "the gradient of the output, which it was given",
                false => "something else",
            };
            assert!(
                distance(got, &want) <= 1e-12,
                "{words} sends {what}: expected the gradient of the input"
            );
        }
    }
}

#[test]
fn it_is_sent_before_the_weights_gradients_are_computed() {
    for list in lists() {
        for Event { action, before, sent, .. } in events(&list).0 {
            for (_, at_sending) in sent {
                assert!(
                    at_sending == before,
                    "{}: {action}: when the gradient of the input is sent, those of \
                     the matrices have been computed: the stage before waits for twice \
                     as much work as it has to",
                    shown(&list)
                );
            }
        }
    }
}

#[test]
fn the_first_half_leaves_the_weights_to_the_second() {
    for list in lists() {
        for Event { action, before, after, .. } in events(&list).0 {
            if action.pass == Pass::Input {
                assert!(
                    after == before,
                    "{}: {action} has added to the gradients of the matrices: expected \
                     that of its W alone, which fills a gap later on",
                    shown(&list)
                );
            }
        }
    }
}

#[test]
fn the_second_half_adds_what_its_micro_batch_gives() {
    for list in lists() {
        for Event { action, before, after, .. } in events(&list).0 {
            if action.pass != Pass::Weight {
                continue;
            }
            let words = format!("{}: {action}", shown(&list));
            let added = |matrix: usize| {
                let after = after[matrix].as_ref()?;
                let zeros = vec![0.0; after.len()];
                let before = before[matrix].as_ref().unwrap_or(&zeros);
                Some(after.iter().zip(before).map(|(a, b)| a - b).collect::<Vec<_>>())
            };
            for (matrix, name) in ["up", "down"].into_iter().enumerate() {
                let got = added(matrix).unwrap_or_default();
                let is =
                    |micro: usize| distance(&got, &alone(micro)[1 + matrix]) <= 1e-11;
                let other = (0..5).find(|micro| is(*micro));
                let what = match other {
                    _ if got.iter().all(|x| *x == 0.0) => "nothing".to_string(),
                    Some(micro) => format!("what micro-batch {micro} gives"),
                    None => "what no micro-batch alone gives".to_string(),
                };
                assert!(
                    is(action.micro),
                    "{words} adds {what} to the gradient of `{name}`, expected what \
                     micro-batch {} gives",
                    action.micro
                );
            }
        }
    }
}

#[test]
fn in_the_end_all_gradients_are_there_once() {
    for list in lists() {
        let (events, norm) = events(&list);
        let micros: Vec<usize> = list
            .iter()
            .filter(|action| action.pass == Pass::Forward)
            .map(|action| action.micro)
            .collect();
        let sum = |which: usize| {
            let all = micros.iter().map(|micro| alone(*micro)[which].clone());
            all.reduce(|sum, grad| sum.iter().zip(grad).map(|(a, b)| a + b).collect())
                .unwrap_or_default()
        };
        let last = events.last().map(|event| event.after.clone());
        let [up, down] = last.unwrap_or_default().map(Option::unwrap_or_default);
        for (name, got, which) in [("up", up, 1), ("down", down, 2), ("norm", norm, 3)]
        {
            let apart = distance(&got, &sum(which));
            assert!(
                apart <= 1e-11,
                "{}: the gradient of `{name}` is {apart:.1e} from the sum of whole \
                 backwards, expected at most 1e-11",
                shown(&list)
            );
        }
    }
}

#[test]
fn what_was_never_put_off_is_an_error() {
    let run = || {
        let layer = Layer::new()?;
        let (mut stage, mut none) = (Stage::default(), vec![]);
        none.push(("W of micro-batch 0 before its I", stage.weight(0)));
        let (_, output, tape) = layer.forward(0)?;
        stage.input(0, output, tape, dy(0)?, |_| Ok(()))?;
        none.push(("W of micro-batch 1, of which there was no I", stage.weight(1)));
        stage.weight(0)?;
        none.push(("a second W of micro-batch 0", stage.weight(0)));
        let (_, output, tape) = layer.forward(1)?;
        let broken = |_| Err(Error::msg("the other rank is gone"));
        let failed = stage.input(1, output, tape, dy(1)?, broken);
        none.push(("I whose gradient could not be sent", failed));
        Result::Ok(none)
    };
    let all = run().unwrap_or_else(|error| panic!("I, and its W after it: {error}"));
    for (what, result) in all {
        assert!(result.is_err(), "{what} returns Ok, expected an error");
    }
}
