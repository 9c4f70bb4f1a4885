//! Every room of up to four stages: no deadlock, no more than fits, no time lost.
use super::{drawn, most_held, planned, shown};
use crate::answer::ex2_stages_that_wait::*;
use ch07_pipeline_parallel::plan::{Costs, Plan, idle};
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

const COSTS: [Costs; 2] = [Costs::EQUAL, Costs { weight: 0, ..Costs::EQUAL }];

/// What each choice of numbers of micro-batches under way takes, by [`COSTS`], if it
/// can be carried out at all.
fn possible(stages: usize, micros: usize) -> Vec<(Vec<usize>, [u64; 2])> {
    let mut found = vec![];
    for numbers in all(stages, stages) {
        let list = |(stage, n): (usize, &usize)| in_turn(stage, *n, micros);
        let lists = numbers.iter().enumerate().map(list).collect();
        let Ok(plan) = Plan::new(lists, stages, micros) else { continue };
        let times = COSTS.map(|costs| match plan.timeline(costs) {
            Ok(timeline) => idle(&timeline, 0).1,
            Err(_) => u64::MAX,
        });
        found.push((numbers, times));
    }
    found
}

#[test]
fn it_takes_no_more_time_than_it_has_to() {
    let mut known = std::collections::HashMap::new();
    for Case { room, micros, lists, words } in cases() {
        let stages = room.len();
        let plan = planned(&lists, micros, &words);
        let possible =
            known.entry((stages, micros)).or_insert_with(|| possible(stages, micros));
        for (i, costs) in COSTS.into_iter().enumerate() {
            let fits = |numbers: &&(Vec<usize>, [u64; 2])| {
                numbers.0.iter().zip(&room).all(|(number, room)| number <= room)
            };
            let best = possible.iter().filter(fits).min_by_key(|(_, times)| times[i]);
            let Some((numbers, best)) = best.map(|(n, times)| (n, times[i])) else {
                panic!("{words}: nothing can be carried out")
            };
            let timeline = plan.timeline(costs).unwrap_or_default();
            let took = idle(&timeline, 0).1;
            assert!(
                took <= best,
                "{words}, a forward of 1 and a backward of {}: it takes {took} units \
                 of time, but {best} if the stages have {numbers:?} micro-batches \
                 under way:{}",
                costs.input + costs.weight,
                drawn(&timeline)
            );
        }
    }
}
