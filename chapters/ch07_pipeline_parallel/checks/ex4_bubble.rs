//! Both functions beside simulated schedules.
use super::{drawn, many};
use crate::answer::ex4_bubble::*;
use ch07_pipeline_parallel::plan::{Costs, Slot, idle};
use ch07_pipeline_parallel::schedule::Schedule;

/// What passes take.
const COSTS: [Costs; 3] = [
    Costs::EQUAL,
    Costs { forward: 2, input: 1, weight: 1 },
    Costs { forward: 3, input: 4, weight: 0 },
];

fn timeline(
    stages: usize,
    micros: usize,
    chunks: usize,
    costs: Costs,
) -> Vec<Vec<Slot>> {
    let schedule = if chunks > 1 { Schedule::Interleaved } else { Schedule::OneFOneB };
    let plan = schedule.plan(stages, chunks, micros);
    match plan.and_then(|plan| plan.timeline(costs)) {
        Ok(timeline) => timeline,
        Err(error) => panic!("{error:#}"),
    }
}

fn words(stages: usize, micros: usize, chunks: usize) -> String {
    format!(
        "{}, {micros} micro-batch{}, {} on each stage",
        many(stages, "stage"),
        if micros == 1 { "" } else { "es" },
        many(chunks, "chunk")
    )
}

/// What the reader may have meant, if all answers are that.
fn guess() -> &'static str {
    type Formula = fn(f64, f64, f64) -> f64;
    let formulas: [(Formula, &str); 6] = [
        (
            |p, m, v| (p - 1.0) / (m * v),
            ". Yours is the idle time by the time in which a stage works",
        ),
        (
            |p, m, _| (p - 1.0) / (m + p - 1.0),
            ". Yours is right for one chunk on each stage",
        ),
        (
            |p, m, v| (p - 1.0) / ((m + p - 1.0) * v),
            ". With more chunks all the time is less, too",
        ),
        (|p, m, v| m * v / (m * v + p - 1.0), ". Yours is the share in which it works"),
        (|p, m, v| p / (m * v + p), ". A stage does not wait for itself"),
        (
            |p, m, v| 2.0 * (p - 1.0) / (m * v + 2.0 * (p - 1.0)),
            ". What a stage waits for and what it does are each a forward and a \
             backward",
        ),
    ];
    let is = |formula: Formula| {
        [(2, 3, 1), (3, 5, 1), (3, 6, 2), (4, 8, 3)].into_iter().all(|(p, m, v)| {
            let want = formula(p as f64, m as f64, v as f64);
            (idle_share(p, m, v) - want).abs() < 1e-12
        })
    };
    formulas
        .into_iter()
        .find(|(formula, _)| is(*formula))
        .map_or("", |(_, words)| words)
}

fn shares(stages: usize, micros: usize, chunks: usize) {
    let got = idle_share(stages, micros, chunks);
    for costs in COSTS {
        let timeline = timeline(stages, micros, chunks, costs);
        for stage in 0..stages {
            let (idle, total) = idle(&timeline, stage);
            let want = idle as f64 / total as f64;
            assert!(
                (got - want).abs() < 1e-12,
                "{}: you say that a stage is idle for {got:.4} of the time; where a \
                 forward takes {} and a backward {}, stage {stage} is for {idle} of \
                 {total}, {want:.4}{}:{}",
                words(stages, micros, chunks),
                costs.forward,
                costs.input + costs.weight,
                guess(),
                drawn(&timeline)
            );
        }
    }
}

#[test]
fn one_chunk_on_each_stage() {
    for stages in 1..=8 {
        (1..=17).for_each(|micros| shares(stages, micros, 1));
    }
}

#[test]
fn several_chunks_on_each_stage() {
    for stages in 1..=6 {
        for chunks in 2..=4 {
            (1..=4).for_each(|times| shares(stages, times * stages, chunks));
        }
    }
}

/// Whether a stage is idle for at most so many percent.
fn is_enough(stages: usize, micros: usize, chunks: usize, percent: usize) -> bool {
    let timeline = timeline(stages, micros, chunks, Costs::EQUAL);
    let (idle, total) = idle(&timeline, 0);
    100 * idle <= percent as u64 * total
}

#[test]
fn as_many_micro_batches_as_it_takes() {
    for stages in 1..=5 {
        for chunks in 1..=3 {
            for percent in [100, 90, 67, 50, 34, 33, 25, 20, 10, 5] {
                let got = micro_batches(stages, chunks, percent);
                let who = format!(
                    "{}, {} on each, at most {percent} % idle: you say {got}",
                    many(stages, "stage"),
                    many(chunks, "chunk")
                );
                assert!(got > 0, "{who}: a step has at least one micro-batch");
                let step = if chunks > 1 { stages } else { 1 };
                assert!(
                    got.is_multiple_of(step),
                    "{who}: interleaved, it has to be a multiple of {stages}"
                );
                assert!(got < 1000, "{who}, which is far too many");
                assert!(
                    is_enough(stages, got, chunks, percent),
                    "{who}, with which a stage is idle for longer"
                );
                let fewer = got - step;
                assert!(
                    fewer == 0 || !is_enough(stages, fewer, chunks, percent),
                    "{who}, but {fewer} would do"
                );
            }
        }
    }
}
