//! Parts and pieces element by element, beside the chapter's, and a step by them.
use super::{many, ranks};
use crate::answer::ex1_parts_of_a_buffer::*;
use candle_core::DType;
use ch08_zero::zero::Zero;
use comm::{Layout, Mesh};
use params::{Init, ParamBuilder};
use std::ops::Range;

/// Elements of each parameter of a buffer. Some begin in one part and end in the next,
/// or in the one after that; some are as long as parts; and some buffers are shorter
/// than there are ranks.
const BUFFERS: [&[usize]; 7] = [
    &[12],
    &[5, 3, 2],
    &[5, 3, 9, 1],
    &[1, 30, 1, 7, 2],
    &[4, 4, 4, 4],
    &[2, 1],
    &[1, 1, 1, 1, 1, 1, 1],
];
const RANKS: usize = 8;

/// Every buffer for every number of ranks.
fn cases() -> impl Iterator<Item = (&'static [usize], usize)> {
    BUFFERS.into_iter().flat_map(|all| (1..=RANKS).map(move |n| (all, n)))
}

fn called(parameters: &[usize], n: usize) -> String {
    format!("parameters of {parameters:?} elements, {}", many(n, "rank"))
}

/// Elements of a part.
fn each(parameters: &[usize], n: usize) -> usize {
    parameters.iter().sum::<usize>().div_ceil(n)
}

#[test]
fn parts_divide_the_buffer() {
    for (parameters, n) in cases() {
        let (called, each) = (called(parameters, n), each(parameters, n));
        let elements: usize = parameters.iter().sum();
        let all: Vec<Range<usize>> = (0..n).map(|r| part(parameters, n, r)).collect();
        let mut end = 0;
        for (rank, got) in all.iter().enumerate() {
            assert!(
                got.start <= got.end,
                "{called}: part {rank} is {got:?}, which ends before it begins"
            );
            assert!(
                got.len() == all[0].len(),
                "{called}: part {rank} is {got:?}, {}, and part 0 is {:?}, {}. A \
                 reduce-scatter cuts equal parts: padding counts, too",
                many(got.len(), "element"),
                all[0],
                many(all[0].len(), "element")
            );
            assert!(
                got.start == end,
                "{called}: part {rank} is {got:?}, and in the order of the ranks it \
                 begins \
                 at {end}: {}",
                if got.start > end { "a gap" } else { "they overlap" }
            );
            end = got.end;
        }
        assert!(
            end >= elements,
            "{called}: the last part ends at {end}, and the parameters at {elements}: \
             nobody has {}",
            many(elements - end, "element")
        );
        assert!(
            all[0].len() == each,
            "{called}: parts of {}, where {each} would do: that is more padding than \
             it takes",
            many(all[0].len(), "element")
        );
    }
}

/// Whether `got` is a range of so many elements.
fn lies_in(got: &Range<usize>, elements: usize) -> bool {
    got.start <= got.end && got.end <= elements
}

/// Where each parameter begins in the buffer.
fn starts(parameters: &[usize]) -> Vec<usize> {
    let mut next = 0;
    let start = |elements: &usize| {
        next += elements;
        next - elements
    };
    parameters.iter().map(start).collect()
}

/// The pieces of a rank, each of which lies where it should.
fn placed(parameters: &[usize], n: usize, rank: usize) -> Vec<Piece> {
    let (each, starts) = (each(parameters, n), starts(parameters));
    let all = pieces(parameters, n, rank);
    let called = format!("{}, rank {rank}", called(parameters, n));
    assert!(
        all.len() == parameters.len(),
        "{called}: {} for {}: one for each, empty where the rank updates nothing of it",
        many(all.len(), "piece"),
        many(parameters.len(), "parameter")
    );
    for (i, Piece { of_parameter, of_part }) in all.iter().enumerate() {
        let (elements, start) = (parameters[i], starts[i]);
        let first = rank * each;
        let from_buffer = |got: &Range<usize>, start: usize, elements: usize| {
            let shifted = got.start.checked_sub(start)..got.end.checked_sub(start);
            match (shifted.start, shifted.end) {
                (Some(a), Some(b)) if start > 0 && lies_in(&(a..b), elements) => {
                    "It looks as if counted from where the buffer begins"
                }
                _ if got.is_empty() => {
                    "An empty range, too, has to lie where a slice can be taken"
                }
                _ => "It reaches too far",
            }
        };
        assert!(
            lies_in(of_parameter, elements),
            "{called}, parameter {i}: `of_parameter` is {of_parameter:?}, and the \
             parameter has {}. {}",
            many(elements, "element"),
            from_buffer(of_parameter, start, elements)
        );
        assert!(
            lies_in(of_part, each),
            "{called}, parameter {i}: `of_part` is {of_part:?}, and the part has {}. \
             {}",
            many(each, "element"),
            from_buffer(of_part, first, each)
        );
        assert!(
            of_parameter.len() == of_part.len(),
            "{called}, parameter {i}: `of_parameter` is {of_parameter:?} and `of_part` \
             {of_part:?}, which are not as long",
        );
        let (in_buffer, by_part) = (start + of_parameter.start, first + of_part.start);
        assert!(
            of_parameter.is_empty() || in_buffer == by_part,
            "{called}, parameter {i}: its element {} is element {in_buffer} of the \
             buffer, and element {} of the part is element {by_part}: {of_parameter:?} \
             of the parameter is not {of_part:?} of the part",
            of_parameter.start,
            of_part.start
        );
    }
    all
}

#[test]
fn pieces_divide_each_parameter() {
    for (parameters, n) in cases() {
        let all: Vec<Vec<Piece>> = (0..n).map(|r| placed(parameters, n, r)).collect();
        for (i, elements) in parameters.iter().enumerate() {
            for element in 0..*elements {
                let updates =
                    |rank: &usize| all[*rank][i].of_parameter.contains(&element);
                let by: Vec<usize> = (0..n).filter(updates).collect();
                assert!(
                    by.len() == 1,
                    "{}: element {element} of parameter {i}, of {elements}, is updated \
                     by {}",
                    called(parameters, n),
                    match by.len() {
                        0 => "no rank: a gap".into(),
                        _ => format!("ranks {by:?}: they overlap"),
                    }
                );
            }
        }
    }
}

/// Values before a step, or gradients, in the type that sums are in.
fn numbers(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| ((seed * 131 + i * 17) as f64 * 0.618_034).sin()).collect()
}

/// How fast parameter `i` decays.
fn decay(i: usize) -> f64 {
    0.1 * (i + 1) as f64
}

#[test]
fn a_step_by_pieces() {
    for parameters in BUFFERS {
        for n in [1, 2, 3, 4] {
            let called = called(parameters, n);
            let (each, starts) = (each(parameters, n), starts(parameters));
            let values = numbers(n * each, 1);
            let grads = numbers(n * each, 2);
            // What the chapter would have each rank update.
            let chapter = ranks(n, "the chapter's parts", |world| {
                let mesh = Mesh::new(world, &Layout::default())?;
                let mut builder = ParamBuilder::new(1, DType::F64).multiple_of(n);
                for (i, elements) in parameters.iter().enumerate() {
                    builder.add(&i.to_string(), &[*elements], Init::Zeros);
                }
                let (zero, _) = Zero::new(1, builder.build(1)?, &mesh, |_| Ok(()))?;
                anyhow::Ok(zero.updated_here(0))
            });
            let mut whole = vec![];
            for (rank, chapter) in chapter.into_iter().enumerate() {
                let own = part(parameters, n, rank);
                assert!(
                    own == chapter,
                    "{called}: part {rank} is {own:?}, and in the chapter {chapter:?}"
                );
                let mut kept = values[own].to_vec();
                for (i, piece) in placed(parameters, n, rank).into_iter().enumerate() {
                    let grads = &grads[starts[i]..][piece.of_parameter];
                    for (value, grad) in kept[piece.of_part].iter_mut().zip(grads) {
                        *value -= 0.01 * (grad + decay(i) * *value);
                    }
                }
                whole.extend(kept);
            }
            for (i, elements) in parameters.iter().enumerate() {
                for at in starts[i]..starts[i] + elements {
                    let want = values[at] - 0.01 * (grads[at] + decay(i) * values[at]);
                    assert!(
                        (whole[at] - want).abs() <= 1e-14,
                        "{called}: after a step, element {} of parameter {i} is {:.9}, \
                         and one rank has {want:.9}: it was updated {}",
                        at - starts[i],
                        whole[at],
                        match whole[at] == values[at] {
                            true => "by nobody",
                            false => "as another parameter's, or twice",
                        }
                    );
                }
            }
        }
    }
}
