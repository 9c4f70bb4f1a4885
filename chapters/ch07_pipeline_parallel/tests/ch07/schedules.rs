//! Schedules as data: what they hold and take, what a plan refuses, and their files.
use ch07_pipeline_parallel::plan::{Costs, Plan, idle};
use ch07_pipeline_parallel::schedule::{Action, Pass, Schedule};

const STAGES: std::ops::RangeInclusive<usize> = 1..=8;
const MICROS: std::ops::RangeInclusive<usize> = 1..=24;

/// A schedule for some sizes.
struct Case {
    schedule: Schedule,
    stages: usize,
    chunks: usize,
    micros: usize,
    plan: Plan,
}

impl Case {
    fn words(&self) -> String {
        let Case { schedule, stages, chunks, micros, .. } = self;
        format!("{schedule}: p {stages}, v {chunks}, m {micros}")
    }
    /// What stage `stage` does not work, and all the time.
    fn idle(&self, costs: Costs, stage: usize) -> (usize, usize) {
        let timeline = self.plan.timeline(costs).unwrap();
        let (idle, total) = idle(&timeline, stage);
        (idle as usize, total as usize)
    }
}

/// All that a schedule is for, of these sizes.
fn cases(schedule: &Schedule) -> Vec<Case> {
    let chunks = match schedule {
        Schedule::Interleaved => vec![2, 3],
        _ => vec![schedule.usual_chunks()],
    };
    let mut all = vec![];
    for stages in STAGES {
        for micros in MICROS {
            let fits = micros < stages || micros.is_multiple_of(stages);
            for chunks in chunks.iter().copied() {
                let plan = schedule.plan(stages, chunks, micros);
                if *schedule == Schedule::Interleaved && !fits {
                    let error = plan.unwrap_err().to_string();
                    let what = format!("{micros} are no multiple of --pp {stages}");
                    assert!(error.contains(&what), "{error}");
                    continue;
                }
                let plan = plan.unwrap_or_else(|error| panic!("{error:#}"));
                all.push(Case {
                    schedule: schedule.clone(),
                    stages,
                    chunks,
                    micros,
                    plan,
                });
            }
        }
    }
    all
}

const ALL: [Schedule; 5] = [
    Schedule::Gpipe,
    Schedule::OneFOneB,
    Schedule::Interleaved,
    Schedule::ZbH1,
    Schedule::Zbv,
];

#[test]
fn every_schedule_can_be_carried_out() {
    for schedule in &ALL {
        let cases = cases(schedule);
        assert!(cases.len() >= 80, "{schedule}: {}", cases.len());
        for case in cases {
            let actions = case.plan.stages.iter().map(Vec::len).sum::<usize>();
            let passes = match schedule {
                Schedule::ZbH1 | Schedule::Zbv => 3,
                _ => 2,
            };
            let want = passes * case.stages * case.chunks * case.micros;
            assert_eq!(actions, want, "{}", case.words());
        }
    }
}

/// Exactly those for which the papers have an exact number.
#[test]
fn stages_hold_what_their_schedule_promises() {
    for schedule in &ALL {
        let exact = matches!(schedule, Schedule::Gpipe | Schedule::OneFOneB);
        let mut reached = 0;
        for case in cases(schedule) {
            let (p, v, m) = (case.stages, case.chunks, case.micros);
            for stage in 0..p {
                let held = case.plan.most_held(stage);
                let most = schedule.most_held(stage, p, v, m).unwrap();
                assert!(
                    if exact { held == most } else { held <= most },
                    "{}: stage {stage} holds {held}, promised {most}",
                    case.words()
                );
                reached += usize::from(held == most);
            }
        }
        assert!(reached > 0, "{schedule}: what it promises is never reached");
    }
}

/// Besides the warm-up, one for each: Narayanan et al. 2021, as in Megatron-LM's
/// `schedules.py`.
#[test]
fn interleaved_warms_up_with_two_chunks_for_each_stage_behind() {
    for case in cases(&Schedule::Interleaved) {
        let (p, v, m) = (case.stages, case.chunks, case.micros);
        for (stage, actions) in case.plan.stages.iter().enumerate() {
            let forward = |action: &&Action| action.pass == Pass::Forward;
            let got = actions.iter().take_while(forward).count();
            let want = (2 * (p - 1 - stage) + (v - 1) * p + 1).min(v * m);
            assert_eq!(got, want, "{}: stage {stage}", case.words());
            assert_eq!(case.plan.most_held(stage), want, "{}", case.words());
        }
    }
}

/// What waits for its weights' gradients is held.
#[test]
fn activations_are_held_until_the_second_half() {
    let held = |list: &str, micros| {
        let plan = Plan::new(parse(&[list]), 1, micros).unwrap();
        plan.most_held(0)
    };
    assert_eq!(held("0F0 0I0 0F1 0I1 0W0 0W1", 2), 2);
    assert_eq!(held("0F0 0I0 0W0 0F1 0I1 0W1", 2), 1);
    assert_eq!(held("0F0 0F1 0B0 0F2 0B1 0I2 0W2", 3), 2);
    for case in cases(&Schedule::ZbH1) {
        for stage in 0..case.stages {
            let want = case.stages.min(case.micros);
            assert_eq!(case.plan.most_held(stage), want, "{}", case.words());
        }
    }
}

#[test]
fn one_f_one_b_holds_no_more_than_there_are_stages_behind() {
    for case in cases(&Schedule::OneFOneB) {
        for stage in 0..case.stages {
            let want = (case.stages - stage).min(case.micros);
            assert_eq!(case.plan.most_held(stage), want, "{}", case.words());
        }
    }
}

const COSTS: [Costs; 3] = [
    Costs::EQUAL,
    Costs { forward: 1, input: 1, weight: 0 },
    Costs { forward: 3, input: 2, weight: 5 },
];

#[test]
fn the_bubble_of_gpipe_and_1f1b_is_one_micro_batch_for_each_other_stage() {
    for schedule in [Schedule::Gpipe, Schedule::OneFOneB] {
        for case in cases(&schedule) {
            let (p, m) = (case.stages, case.micros);
            for costs in COSTS {
                let each = (costs.forward + costs.input + costs.weight) as usize;
                let want = ((p - 1) * each, (m + p - 1) * each);
                for stage in 0..p {
                    let got = case.idle(costs, stage);
                    assert_eq!(got, want, "{}, {costs:?}", case.words());
                }
            }
        }
    }
}

#[test]
fn the_bubble_of_interleaved_is_one_chunk_of_each_other_stage() {
    for case in cases(&Schedule::Interleaved) {
        let (p, v, m) = (case.stages, case.chunks, case.micros);
        if !m.is_multiple_of(p) {
            continue;
        }
        for costs in COSTS {
            let each = (costs.forward + costs.input + costs.weight) as usize;
            let want = ((p - 1) * each, (v * m + p - 1) * each);
            for stage in 0..p {
                let got = case.idle(costs, stage);
                assert_eq!(got, want, "{}, {costs:?}", case.words());
            }
        }
    }
}

#[test]
fn the_bubble_of_zb_h1_is_a_third() {
    for case in cases(&Schedule::ZbH1) {
        let (p, m) = (case.stages, case.micros);
        for stage in 0..p {
            let got = case.idle(Costs::EQUAL, stage);
            if m >= p {
                assert_eq!(got, (p - 1, 3 * m + p - 1), "{}", case.words());
            }
        }
    }
}

/// A stage waits for its first micro-batch alone, and is done so much earlier.
#[test]
fn zbv_has_no_bubble_but_at_its_ends() {
    for case in cases(&Schedule::Zbv) {
        let (p, m) = (case.stages, case.micros);
        if m < 2 * p - 1 {
            continue;
        }
        let timeline = case.plan.timeline(Costs::EQUAL).unwrap();
        for (stage, slots) in timeline.iter().enumerate() {
            let got = case.idle(Costs::EQUAL, stage);
            assert_eq!(got, (p - 1, 6 * m + p - 1), "{}", case.words());
            assert_eq!(slots[0].start, stage as u64, "{}", case.words());
            let waits = slots.windows(2).find(|pair| pair[0].end < pair[1].start);
            assert!(waits.is_none(), "{}: stage {stage}: {waits:?}", case.words());
        }
    }
}

fn parse(lists: &[&str]) -> Vec<Vec<Action>> {
    let list = |list: &&str| {
        list.split_whitespace().map(|action| action.parse().unwrap()).collect()
    };
    lists.iter().map(list).collect()
}

#[track_caller]
fn refused(lists: &[&str], chunks: usize, micros: usize, what: &str) {
    let error = Plan::new(parse(lists), chunks, micros).map(|_| "accepted");
    let error = error.unwrap_err().to_string();
    assert!(error.contains(what), "{error}");
}

#[test]
fn what_cannot_be_carried_out_is_named() {
    assert!(Plan::new(parse(&["0F0 0B0", "1F0 1B0"]), 2, 1).is_ok());
    assert!(Plan::new(parse(&["0F0 0I0 0W0", "1F0 1B0"]), 2, 1).is_ok());
    refused(&["0F0 0F0 0B0"], 1, 1, "stage 0: 0F0 comes twice");
    refused(&["0F0 0B0 0B0"], 1, 1, "stage 0: 0B0 comes twice");
    refused(&["0F0 0I0 0W0 0W0"], 1, 1, "0W0 comes twice");
    refused(&["0F0 0B0"], 1, 2, "chunk 0: 1 of 2 micro-batches");
    refused(&["0F0 0F1 0B1"], 1, 2, "stage 0: 0F0, but no 0B0 after it");
    refused(&["0F0 0I0"], 1, 1, "stage 0: 0I0, but no 0W0 after it");
    refused(&["0B0 0F0"], 1, 1, "stage 0: 0B0 comes before 0F0");
    refused(&["0I0 0F0 0W0"], 1, 1, "stage 0: 0I0 comes before 0F0");
    refused(&["0F0 0W0 0I0"], 1, 1, "stage 0: 0W0 comes before 0I0");
    refused(&["0F0 0W0 0B0"], 1, 1, "stage 0: 0W0 comes before 0I0");
    refused(&["0F0 0B0 0I0 0W0"], 1, 1, "both 0B0 and 0I0: expected one of them");
    refused(&["0F0 0I0 0B0 0W0"], 1, 1, "both 0B0 and 0I0: expected one of them");
    refused(&["0F0 0B0", "0F1 0B1"], 1, 2, "chunk 0 is on stages 0 and 1");
    refused(&["0F0 0B0", "2F0 2B0"], 3, 1, "chunk 1 is on no stage");
    refused(&["0F0 0B0", ""], 2, 1, "chunk 1 is on no stage");
    refused(&["0F0 1F0 1B0 0B0", ""], 2, 1, "stage 1 has nothing to do");
    refused(&["0F0 0B0 1F0 1B0"], 1, 1, "stage 0: 1F0, of 1 chunks and 1 micro");
    refused(&["0F0 0B0 0F1 0B1"], 1, 1, "stage 0: 0F1, of 1 chunks and 1 micro");
}

/// The message says of each stage what it waits for, and where that is done.
#[test]
fn stages_that_wait_for_each_other_are_named() {
    let wait = "the stages wait for each other for ever: ";
    let first = "stage 0, before 0B0, for 1B0 of stage 1";
    let second = "stage 1, before 1F1, for 0F1 of stage 0";
    let crossed = ["0F0 0B0 0F1 0B1", "1F0 1F1 1B0 1B1"];
    refused(&crossed, 2, 2, &format!("{wait}{first}; {second}"));
    // Who is done is not among them; who waits for one of those is.
    let more = ["0F0 0B0 0F1 0B1", "1F0 1F1 1B0 1B1", "2F0 2B0 2F1 2B1"];
    let third = "stage 2, before 2F1, for 1F1 of stage 1";
    refused(&more, 3, 2, &format!("{first}; {second}; {third}"));
    // A stage waits for itself.
    refused(&["0F0 1F0 0B0 1B0"], 2, 1, "stage 0, before 0B0, for 1B0 of stage 0");
    refused(&["1F0 1B0 0F0 0B0"], 2, 1, "stage 0, before 1F0, for 0F0 of stage 0");
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn plan_of(
    text: &str,
    stages: usize,
    chunks: usize,
    micros: usize,
) -> anyhow::Result<Plan> {
    let file = file(text);
    let schedule: Schedule = file.path().to_str().unwrap().parse().unwrap();
    assert_eq!(schedule, Schedule::File(file.path().into()));
    schedule.plan(stages, chunks, micros)
}

#[test]
fn what_is_written_down_is_read_back() {
    for schedule in &ALL {
        for (stages, micros) in [(1, 1), (2, 4), (3, 12), (4, 8)] {
            let chunks = schedule.usual_chunks();
            let plan = schedule.plan(stages, chunks, micros).unwrap();
            let line = |list: &Vec<Action>| {
                let all: Vec<String> = list.iter().map(Action::to_string).collect();
                all.join(",") + "\n"
            };
            let text: String = plan.stages.iter().map(line).collect();
            let again = plan_of(&text, stages, chunks, micros).unwrap();
            assert_eq!(again.stages, plan.stages, "{schedule}");
            assert_eq!(again.places, plan.places, "{schedule}");
        }
    }
    let action = Action { pass: Pass::Weight, chunk: 12, micro: 345 };
    assert_eq!(action.to_string(), "12W345");
    assert_eq!("12W345".parse::<Action>().unwrap(), action);
}

/// Where a stage has nothing to do, PyTorch leaves the cell empty.
#[test]
fn files_as_pytorch_writes_them() {
    let text = "0F0,0F1,,,0B0,,0B1\n,1F0, 1F1,1B0 ,,1B1,\n";
    let plan = plan_of(text, 2, 1, 2).unwrap();
    assert_eq!(plan.stages, parse(&["0F0 0F1 0B0 0B1", "1F0 1F1 1B0 1B1"]));
    let windows = text.replace('\n', "\r\n");
    assert_eq!(plan_of(&windows, 2, 1, 2).unwrap().stages, plan.stages);
    let marked = format!("\u{feff}{text}\n \n");
    assert_eq!(plan_of(&marked, 2, 1, 2).unwrap().stages, plan.stages);
}

#[test]
fn what_a_file_gets_wrong_is_named() {
    let says = |text: &str, what: &[&str]| {
        let error = format!("{:#}", plan_of(text, 2, 1, 2).unwrap_err());
        for what in [&["the schedule /"], what].concat() {
            assert!(error.contains(what), "{text}: {error}");
        }
    };
    let good = "0F0,0F1,0B0,0B1\n";
    for bad in ["F0", "1X0", "1F", "1F-1", "1F0B0", "1f0", "1F 0", "1É0"] {
        let text = format!("{good}1F0,{bad},1B0\n");
        says(&text, &["line 2", &format!("`{bad}` is no action"), "like 0F3"]);
    }
    says(&format!("0F0,?\n{good}"), &["line 1", "`?`"]);
    says(good, &["1 lines: expected one for each of --pp 2"]);
    says(&good.repeat(3), &["3 lines: expected one for each of --pp 2"]);
    says("", &["it is empty"]);
    says("0F0,1F0,1B0,0B0,0F1,1F1,1B1,0B1\n,\n", &["stage 1 has nothing to do"]);
    says(&good.repeat(2), &["chunk 0 is on stages 0 and 1"]);
    says(&format!("{good}1F0,1B0\n"), &["chunk 1: 1 of 2 micro-batches", "--virtual"]);
    says(&format!("{good}1F0,1F2,1B0,1B2\n"), &["1F2, of 2 chunks and 2 micro"]);
    let missing = Schedule::File("/nowhere/schedule.csv".into());
    let error = format!("{:#}", missing.plan(2, 1, 2).unwrap_err());
    assert!(error.contains("cannot read the schedule /nowhere"), "{error}");
}

#[test]
fn names_are_read_back_and_others_refused() {
    for schedule in &ALL {
        assert_eq!(schedule.to_string().parse::<Schedule>().as_ref(), Ok(schedule));
    }
    let error = "1F1B".parse::<Schedule>().unwrap_err();
    assert!(error.contains("gpipe, 1f1b, interleaved, zb-h1, zbv"), "{error}");
}

#[test]
fn numbers_of_chunks_that_do_not_fit_are_named() {
    let says = |schedule: Schedule, chunks: usize, what: &str| {
        let error = schedule.plan(2, chunks, 4).unwrap_err().to_string();
        let first = format!("--virtual {chunks} with --schedule {schedule}: expected ");
        assert!(error.starts_with(&first) && error.ends_with(what), "{error}");
    };
    for schedule in [Schedule::Gpipe, Schedule::OneFOneB, Schedule::ZbH1] {
        says(schedule.clone(), 2, "1: more are for interleaved and zbv");
        says(schedule, 0, "1: more are for interleaved and zbv");
    }
    says(Schedule::Interleaved, 1, "2 to 1024");
    says(Schedule::Interleaved, usize::MAX, "2 to 1024");
    says(Schedule::Zbv, 1, "2");
    says(Schedule::Zbv, 3, "2");
    says(Schedule::File("a.csv".into()), 0, "1 to 1024");
}
