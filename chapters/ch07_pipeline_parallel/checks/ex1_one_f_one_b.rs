//! What is in the lists, what they hold and take, and that they are 1F1B's.
use super::{drawn, many, most_held, planned, shown};
use crate::answer::ex1_one_f_one_b::*;
use ch07_pipeline_parallel::plan::{Costs, idle};
use ch07_pipeline_parallel::schedule::{Action, Pass, Schedule};

/// Numbers of stages and micro-batches: more of one, and of the other.
fn sizes() -> Vec<(usize, usize)> {
    let all = (1..=6).flat_map(|stages| (1..=12).map(move |micros| (stages, micros)));
    all.collect()
}

fn words(stages: usize, micros: usize) -> String {
    let es = if micros == 1 { "" } else { "es" };
    format!("{}, {micros} micro-batch{es}", many(stages, "stage"))
}

fn lists(stages: usize, micros: usize) -> Vec<Vec<Action>> {
    (0..stages).map(|stage| actions(stage, stages, micros)).collect()
}

#[test]
fn each_micro_batch_goes_forward_and_then_backward() {
    for (stages, micros) in sizes() {
        for (stage, list) in lists(stages, micros).iter().enumerate() {
            let (who, seen) =
                (format!("{}, stage {stage}", words(stages, micros)), shown(list));
            for action in list {
                assert!(
                    matches!(action.pass, Pass::Forward | Pass::Backward),
                    "{who}: {action}: 1F1B's backward is not in halves: {seen}"
                );
                assert!(
                    action.chunk == stage && action.micro < micros,
                    "{who}: {action}: expected chunk {stage}, and micro-batches from 0 \
                     to {}: {seen}",
                    micros - 1
                );
            }
            for micro in 0..micros {
                let place = |pass| {
                    let action = Action { pass, chunk: stage, micro };
                    let all = list.iter().enumerate().filter(|(_, a)| **a == action);
                    let all: Vec<usize> = all.map(|(i, _)| i).collect();
                    assert!(
                        all.len() == 1,
                        "{who}: {action} is there {}, expected once: {seen}",
                        many(all.len(), "time")
                    );
                    all[0]
                };
                assert!(
                    place(Pass::Forward) < place(Pass::Backward),
                    "{who}: micro-batch {micro} goes backward before it goes forward: \
                     {seen}"
                );
            }
        }
    }
}

#[test]
fn no_stage_waits_for_ever() {
    for (stages, micros) in sizes() {
        planned(&lists(stages, micros), micros, &words(stages, micros));
    }
}

#[test]
fn a_stage_holds_as_many_as_there_are_stages_from_it_on() {
    for (stages, micros) in sizes() {
        for (stage, list) in lists(stages, micros).iter().enumerate() {
            let (got, want) = (most_held(list), (stages - stage).min(micros));
            assert!(
                got == want as i64,
                "{}, stage {stage}: between their forward and their backward it holds \
                 {got} at one time, expected {want}: {}: {}",
                words(stages, micros),
                match got > want as i64 {
                    true => "a backward could have been made before the next forward",
                    false => "it has nothing to do until the first comes back",
                },
                shown(list)
            );
        }
    }
}

#[test]
fn no_stage_is_idle_longer_than_it_has_to_be() {
    for (stages, micros) in sizes() {
        let words = words(stages, micros);
        let plan = planned(&lists(stages, micros), micros, &words);
        for costs in [Costs { weight: 0, ..Costs::EQUAL }, Costs::EQUAL] {
            let timeline = plan.timeline(costs).unwrap_or_default();
            let each = costs.forward + costs.input + costs.weight;
            let (idle, total) = idle(&timeline, 0);
            let want = (stages as u64 - 1) * each;
            assert!(
                idle == want,
                "{words}, a forward of {} and a backward of {}: stage 0 is idle for \
                 {idle} of {total} units of time, expected {want}, as long as the \
                 first micro-batch is on the stages behind it:{}",
                costs.forward,
                costs.input + costs.weight,
                drawn(&timeline)
            );
        }
    }
}

#[test]
fn the_lists_are_those_of_1f1b() {
    for (stages, micros) in sizes() {
        for (stage, got) in lists(stages, micros).iter().enumerate() {
            let want = Schedule::OneFOneB.actions(stage, stages, 1, micros);
            let ahead = |list: &[Action]| {
                list.iter().take_while(|action| action.pass == Pass::Forward).count()
            };
            let (own, wanted) = (ahead(got), ahead(&want));
            assert!(
                *got == want,
                "{}, stage {stage}: {}: {}",
                words(stages, micros),
                match own == wanted {
                    true => format!(
                        "{} before the first backward, as it should be, but then it is \
                         not one backward and one forward in turn, each of the next \
                         micro-batch",
                        many(own, "forward")
                    ),
                    false => format!(
                        "{} before the first backward, expected {wanted}: the warm-up, \
                         and the first forward of the steady state",
                        many(own, "forward")
                    ),
                },
                shown(got)
            );
        }
    }
}
