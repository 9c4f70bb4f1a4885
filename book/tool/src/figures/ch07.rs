//! The figures of chapter 7: schedules as the chapter's own code has them.
use super::{number, series};
use crate::book::Sources;
use crate::plan::{Costs, Plan, Slot, idle};
use crate::schedule::{Pass, Schedule};
use anyhow::{Result, ensure};
use viz::{
    Axis, Colour, Diagram, Format, Group, LineChart, Node, Note, Series, Timeline,
};

/// Stages and micro-batches of the schedules that are drawn.
const STAGES: usize = 4;
const MICROS: usize = 8;

/// A chunk of a stage that has one: forward and each half of backward take a second, in
/// ticks of half of one. Each of two chunks on a stage has half of its layers.
const WHOLE: Costs = Costs { forward: 2, input: 2, weight: 2 };
const HALF: Costs = Costs { forward: 1, input: 1, weight: 1 };
const TICK: f64 = 0.5;

/// What a box is, by the pass and by whether its chunk is the second of its stage.
const FORWARD: [&str; 2] = ["forward", "second chunk, forward"];
const BACKWARD: [&str; 2] = ["backward, or its input half", "second chunk, backward"];
const WEIGHT: &str = "weight half";

fn boxes(id: &str, title: &str, two_chunks: bool) -> Timeline {
    let figure = Timeline::new(id, title)
        .hide_title()
        .category(FORWARD[0], Colour::Blue)
        .category(BACKWARD[0], Colour::Orange);
    match two_chunks {
        true => figure
            .category(FORWARD[1], Colour::Sky)
            .category(BACKWARD[1], Colour::Red)
            .category(WEIGHT, Colour::Teal),
        false => figure,
    }
}

/// The tracks of a schedule, a second for each of `ticks` ticks.
fn tracks(
    mut figure: Timeline,
    plan: &Plan,
    timeline: &[Vec<Slot>],
    tick: f64,
) -> Timeline {
    for (stage, slots) in timeline.iter().enumerate() {
        let first = plan.chunks_of(stage)[0];
        let micros: Vec<String> =
            slots.iter().map(|slot| slot.action.micro.to_string()).collect();
        let spans = slots.iter().zip(&micros).map(|(slot, micro)| {
            let second = usize::from(slot.action.chunk != first);
            let category = match slot.action.pass {
                Pass::Forward => FORWARD[second],
                Pass::Backward | Pass::Input => BACKWARD[second],
                Pass::Weight => WEIGHT,
            };
            let (start, end) = (slot.start as f64 * tick, slot.end as f64 * tick);
            (start, end, category, micro.as_str())
        });
        figure = figure.track(&format!("stage {stage}"), spans);
    }
    figure
}

/// One batch, whole and in four micro-batches.
pub fn micro_batches(_: &Sources) -> Result<String> {
    let mut figure = boxes("ch07-micro-batches", "A batch whole, and in parts", false)
        .width(640.0)
        .describe(
            "Four stages. With one batch, each stage computes once forward and once \
             backward and is idle for three quarters of the time. With four \
             micro-batches, stages work on different ones at the same time.",
        );
    for (heading, micros, tick) in
        [("One batch", 1, 2.0), ("In four micro-batches", 4, TICK)]
    {
        let plan = Schedule::Gpipe.plan(STAGES, 1, micros)?;
        let timeline = plan.timeline(WHOLE)?;
        figure = tracks(figure.heading(heading), &plan, &timeline, tick);
    }
    Ok(figure.svg()?)
}

/// All schedules side by side.
pub fn schedules(_: &Sources) -> Result<String> {
    let mut figure = boxes("ch07-schedules", "Five schedules", true).width(840.0);
    let mut words =
        format!("{STAGES} stages and {MICROS} micro-batches, over one axis of time.");
    for (name, schedule) in [
        ("GPipe", Schedule::Gpipe),
        ("1F1B", Schedule::OneFOneB),
        ("Interleaved 1F1B, two chunks on each stage", Schedule::Interleaved),
        ("ZB-H1", Schedule::ZbH1),
        ("ZBV, two chunks on each stage", Schedule::Zbv),
    ] {
        let chunks = schedule.usual_chunks();
        let plan = schedule.plan(STAGES, chunks, MICROS)?;
        let timeline = plan.timeline(if chunks == 1 { WHOLE } else { HALF })?;
        let (idle, total) = idle(&timeline, 0);
        let (idle, total) = (idle as f64 * TICK, total as f64 * TICK);
        words += &format!(" {name}: {total} seconds, {idle} of them idle.");
        figure = tracks(figure.heading(name), &plan, &timeline, TICK);
    }
    Ok(figure.describe(&words).svg()?)
}

/// A closed form: of so many micro-batches, the idle and the whole time of a stage,
/// of which only the ratio counts.
type Closed = fn(usize) -> (usize, usize);

/// The share of a step in which a stage is idle, by closed form and simulated: that
/// these are equal, exactly, is checked here.
pub fn bubbles(_: &Sources) -> Result<String> {
    const P: usize = STAGES;
    let all: [(&str, &[Schedule], Closed); 4] = [
        ("GPipe, 1F1B", &[Schedule::Gpipe, Schedule::OneFOneB], |m| (P - 1, m + P - 1)),
        ("interleaved", &[Schedule::Interleaved], |m| (P - 1, 2 * m + P - 1)),
        ("ZB-H1", &[Schedule::ZbH1], |m| (P - 1, 3 * m + P - 1)),
        ("ZBV", &[Schedule::Zbv], |m| (P - 1, 6 * m + P - 1)),
    ];
    let mut figure = LineChart::new(
        "ch07-bubbles",
        "How long a stage is idle",
        Axis::linear("micro-batches of a step").ticks([4.0, 8.0, 16.0, 24.0, 32.0]),
        Axis::linear("idle share of a step").format(Format::Percent).from_zero(),
    );
    for (name, schedules, closed) in all {
        let mut points = vec![];
        for micros in (P..=8 * P).step_by(P) {
            let (idle_closed, total_closed) = closed(micros);
            for schedule in schedules {
                // ZBV fills the pipeline with two micro-batches for each stage but one.
                if *schedule == Schedule::Zbv && micros < 2 * P - 1 {
                    continue;
                }
                let plan = schedule.plan(P, schedule.usual_chunks(), micros)?;
                let timeline = plan.timeline(Costs::EQUAL)?;
                for stage in 0..P {
                    let (idle, total) = idle(&timeline, stage);
                    ensure!(
                        idle * total_closed as u64 == total * idle_closed as u64,
                        "{schedule}, {micros} micro-batches: stage {stage} is idle for \
                         {idle} of {total}, by closed form for {idle_closed} of \
                         {total_closed}"
                    );
                }
                points.push((micros as f64, idle_closed as f64 / total_closed as f64));
            }
        }
        points.dedup();
        figure = figure.series(Series::new(name, points).markers());
    }
    Ok(figure.svg()?)
}

/// Which chunk is where, of two on each stage.
pub fn chunks(_: &Sources) -> Result<String> {
    let mut figure = Diagram::new("ch07-chunks", "Eight chunks on four stages")
        .hide_title()
        .describe(
            "Interleaved: stage 0 has chunks 0 and 4, stage 1 has 1 and 5, stage 2 has \
             2 and 6, stage 3 has 3 and 7. As a V: stage 0 has chunks 0 and 7, stage 1 \
             has 1 and 6, stage 2 has 2 and 5, stage 3 has 3 and 4.",
        );
    for (i, schedule) in [Schedule::Interleaved, Schedule::Zbv].into_iter().enumerate()
    {
        let x = 12.3 * i as f64;
        let plan = schedule.plan(STAGES, 2, MICROS)?;
        let name = ["interleaved", "zbv"][i];
        figure.note(Note::new(x + 5.7, 0.5, name).bold());
        for stage in 0..STAGES {
            let y = 1.5 + 4.3 * stage as f64;
            figure.group(Group::new(x + 0.2, y, 11.2, 3.7, &format!("stage {stage}")));
        }
        // Along the model.
        let mut before: Option<viz::Spot> = None;
        for (chunk, stage) in plan.places.iter().enumerate() {
            let second = chunk >= STAGES;
            let left = x + if second { 6.3 } else { 1.0 };
            let y = 2.8 + 4.3 * *stage as f64;
            let node = Node::new(left, y, 4.3, 1.8, &format!("chunk {chunk}"));
            let colour = if second { Colour::Sky } else { Colour::Blue };
            let node = figure.node(node.colour(colour));
            if let Some(before) = before {
                figure.arrow(match (second, chunk == STAGES, i) {
                    (false, ..) => before.bottom().to(node.top()),
                    (true, true, 0) => before.right().to(node.left()).elbow(),
                    (true, true, _) => before.right().to(node.left()),
                    (true, false, 0) => before.bottom().to(node.top()),
                    (true, false, _) => before.top().to(node.bottom()),
                });
            }
            before = Some(node);
        }
    }
    Ok(figure.svg()?)
}

/// A step of two stages as planned and as it went.
pub fn measured(sources: &Sources) -> Result<String> {
    let run = "ch07_timeline";
    let mut figure = boxes("ch07-measured", "A step, planned and made", false)
        .category(WEIGHT, Colour::Teal)
        .describe(
            "Two stages and four micro-batches, for 1F1B and for ZB-H1: the plan, in \
             which all passes take as long, stretched to the length of the step, and \
             the step, with the receives that its actions begin with.",
        );
    for (name, metric, schedule) in [
        ("1F1B", "one_f_one_b", Schedule::OneFOneB),
        ("ZB-H1", "zb_h1", Schedule::ZbH1),
    ] {
        let seconds = number(sources, run, &format!("{metric}_ms"))? / 1e3;
        let passes: &[_] = match schedule {
            Schedule::ZbH1 => &[("forward", 0), ("backward", 1), ("weight", 2)],
            _ => &[("forward", 0), ("backward", 1)],
        };
        let mut made = vec![];
        for stage in 0..2 {
            let mut spans = vec![];
            for (pass, category) in passes {
                let times = series(sources, run, &format!("{metric}_{stage}_{pass}"))?;
                for (micro, (from, to)) in times.into_iter().enumerate() {
                    let category = [FORWARD[0], BACKWARD[0], WEIGHT][*category];
                    spans.push((from / 1e3, to / 1e3, category, micro.to_string()));
                }
            }
            made.push(spans);
        }
        // As many micro-batches as were measured.
        let micros = series(sources, run, &format!("{metric}_0_forward"))?.len();
        let plan = schedule.plan(2, 1, micros)?;
        let timeline = plan.timeline(Costs::EQUAL)?;
        let (_, ticks) = idle(&timeline, 0);
        figure = figure.heading(&format!("{name}, planned"));
        figure = tracks(figure, &plan, &timeline, seconds / ticks as f64);
        figure = figure.heading(&format!("{name}, made"));
        for (stage, spans) in made.iter().enumerate() {
            let spans = spans.iter().map(|(from, to, category, micro)| {
                (*from, *to, *category, micro.as_str())
            });
            figure = figure.track(&format!("stage {stage}"), spans);
        }
    }
    Ok(figure.svg()?)
}
