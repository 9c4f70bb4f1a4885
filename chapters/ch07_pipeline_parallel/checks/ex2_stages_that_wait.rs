//! Every room of up to four stages: no deadlock, no more than fits, no fewer.
use super::{most_held, planned, shown};
use crate::answer::ex2_stages_that_wait::*;
use ch07_pipeline_parallel::plan::Plan;
use ch07_pipeline_parallel::schedule::{Action, Pass, Schedule};

/// All lists of `n` numbers from 1 to `most`.
fn all(n: usize, most: usize) -> Vec<Vec<usize>> {
    let mut lists = vec![vec![]];
    for _ in 0..n {
        let longer = |list: &Vec<usize>| {
            let list = list.clone();
            (1..=most).map(move |last| [&list[..], &[last]].concat())
        };
        lists = lists.iter().flat_map(longer).collect();
    }
    lists
}

const MICROS: [usize; 5] = [1, 2, 3, 5, 8];

struct Case {
    room: Vec<usize>,
    micros: usize,
    lists: Vec<Vec<Action>>,
    words: String,
}

/// The reader's lists of up to four stages.
fn cases() -> impl Iterator<Item = Case> {
    let rooms = (1..=4).flat_map(|stages| all(stages, stages));
    rooms.flat_map(|room| {
        MICROS.map(|micros| {
            let stages = room.len();
            let list = |stage| actions(stage, stages, micros, &room);
            let lists = (0..stages).map(list).collect();
            let words = format!("room for {room:?}, {micros} micro-batches");
            Case { room: room.clone(), micros, lists, words }
        })
    })
}

#[test]
fn no_stage_waits_for_ever() {
    for Case { micros, lists, words, .. } in cases() {
        planned(&lists, micros, &words);
    }
}

#[test]
fn no_stage_holds_more_than_it_has_room_for() {
    for Case { room, lists, words, .. } in cases() {
        for (stage, (list, room)) in lists.iter().zip(room).enumerate() {
            let held = most_held(list);
            assert!(
                held <= room as i64,
                "{words}: stage {stage} holds {held} of them at one time, and has room \
                 for {room}: {}",
                shown(list)
            );
        }
    }
}

#[test]
fn with_room_enough_it_is_1f1b() {
    for stages in 1..=6 {
        for micros in 1..=8 {
            for stage in 0..stages {
                let got = actions(stage, stages, micros, &vec![stages; stages]);
                let want = Schedule::OneFOneB.actions(stage, stages, 1, micros);
                assert!(
                    got == want,
                    "{stages} stages, all with room for {stages}, {micros} \
                     micro-batches: stage {stage} does {}, expected {}",
                    shown(&got),
                    shown(&want)
                );
            }
        }
    }
}

/// One forward and one backward in turn, where a stage has so many under way.
fn in_turn(stage: usize, under_way: usize, micros: usize) -> Vec<Action> {
    let action = |pass| move |micro| Action { pass, chunk: stage, micro };
    let (forward, backward) = (action(Pass::Forward), action(Pass::Backward));
    let ahead = (under_way - 1).min(micros);
    let mut list: Vec<Action> = (0..ahead).map(forward).collect();
    for i in ahead..micros {
        list.extend([forward(i), backward(i - ahead)]);
    }
    list.extend((micros - ahead..micros).map(backward));
    list
}

/// The largest number of micro-batches that each stage of so many can have under way at
/// a time, with no more than `room` and than 1F1B, in a plan that can be carried out.
fn largest(room: &[usize], micros: usize) -> Vec<usize> {
    let stages = room.len();
    let mut largest = vec![0; stages];
    for numbers in all(stages, stages) {
        let fits = |(stage, n): (usize, &usize)| *n <= room[stage].min(stages - stage);
        if !numbers.iter().enumerate().all(fits) {
            continue;
        }
        let list = |(stage, n): (usize, &usize)| in_turn(stage, *n, micros);
        let lists = numbers.iter().enumerate().map(list).collect();
        if Plan::new(lists, stages, micros).is_ok() {
            for (most, n) in largest.iter_mut().zip(&numbers) {
                *most = (*most).max((*n).min(micros));
            }
        }
    }
    largest
}

#[test]
fn a_stage_has_as_many_under_way_as_it_can() {
    for Case { room, micros, lists, words } in cases() {
        planned(&lists, micros, &words);
        let largest = largest(&room, micros);
        for (stage, (list, want)) in lists.iter().zip(&largest).enumerate() {
            let held = most_held(list);
            assert!(
                held == *want as i64,
                "{words}: stage {stage} has {held} under way at one time, expected \
                 {want}: {}: {}",
                match held > *want as i64 {
                    true => "with more, there is no room, or it is not 1F1B",
                    false => "it could have more, and nobody would wait for ever",
                },
                shown(list)
            );
        }
    }
}
