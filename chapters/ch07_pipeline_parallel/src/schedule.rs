//! Schedules as data: who does what, with which micro-batch, in which order.
//!
//! The model is cut into *chunks* of consecutive layers, `virtual_stages` of them on
//! each *stage*, which is one rank (or several that hold the same layers). Everything
//! here is a list that can be looked at, checked and drawn before anything is computed
//! (`plan.rs`); the engine (`pipeline.rs`) carries out any of them.
use crate::plan::Plan;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Chunks of a stage, each of at least a layer: more than any model has.
const MOST_CHUNKS: usize = 1024;

/// What is done with a micro-batch in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Forward.
    Forward,
    /// Backward, all of it.
    Backward,
    /// Of backward, what the chunk before waits for: the gradient of the input. (The
    /// zero-bubble papers call it B.)
    Input,
    /// Of backward, what nobody waits for: the gradients of the weights.
    Weight,
}

impl Pass {
    /// As in PyTorch's schedule files.
    pub fn letter(self) -> char {
        match self {
            Pass::Forward => 'F',
            Pass::Backward => 'B',
            Pass::Input => 'I',
            Pass::Weight => 'W',
        }
    }
    /// Whether the gradient of the input comes out of it.
    pub fn goes_back(self) -> bool {
        matches!(self, Pass::Backward | Pass::Input)
    }
}

/// One entry of a schedule. Written `3F0`: chunk 3, forward, micro-batch 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// What is done.
    pub pass: Pass,
    /// In which chunk, counted along the model.
    pub chunk: usize,
    /// With which micro-batch of the step.
    pub micro: usize,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.chunk, self.pass.letter(), self.micro)
    }
}

impl FromStr for Action {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Action> {
        let parse = || {
            let at = text.find(|c: char| !c.is_ascii_digit())?;
            let (chunk, rest) = text.split_at(at);
            let pass = [Pass::Forward, Pass::Backward, Pass::Input, Pass::Weight]
                .into_iter()
                .find(|pass| rest.starts_with(pass.letter()))?;
            let micro = rest[1..].parse().ok()?;
            Some(Action { pass, chunk: chunk.parse().ok()?, micro })
        };
        parse().with_context(|| {
            format!(
                "`{text}` is no action: expected a chunk, one of F, B, I and W, and a \
                 micro-batch, like 0F3"
            )
        })
    }
}

/// Which schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Everything forward, then everything backward (Huang et al. 2019, *GPipe*).
    Gpipe,
    /// Backward as early as it can be: a stage has as many micro-batches under way as
    /// there are stages from it to the last (Narayanan et al. 2019, *PipeDream*; with a
    /// flush after each step, Narayanan et al. 2021).
    OneFOneB,
    /// 1F1B over several chunks on each stage, dealt out in turn (Narayanan et al.
    /// 2021, *Efficient large-scale language model training*, §2.2).
    Interleaved,
    /// 1F1B with backward in halves: the gradients of weights fill the gaps (Qi et al.
    /// 2023, *Zero bubble pipeline parallelism*, §2).
    ZbH1,
    /// Two chunks on each stage, laid out as a V, and backward in halves (Qi et al.
    /// 2023, *Zero bubble pipeline parallelism*, §6).
    Zbv,
    /// As the file says, in the form of PyTorch's schedules: a line for each stage, its
    /// actions between commas.
    File(PathBuf),
}

impl FromStr for Schedule {
    type Err = String;
    fn from_str(text: &str) -> Result<Schedule, String> {
        Ok(match text {
            "gpipe" => Schedule::Gpipe,
            "1f1b" => Schedule::OneFOneB,
            "interleaved" => Schedule::Interleaved,
            "zb-h1" => Schedule::ZbH1,
            "zbv" => Schedule::Zbv,
            file if file.ends_with(".csv") => Schedule::File(file.into()),
            _ => {
                let names =
                    "gpipe, 1f1b, interleaved, zb-h1, zbv, or a file of actions";
                return Err(format!("expected {names} that ends with .csv"));
            }
        })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Schedule::Gpipe => "gpipe",
            Schedule::OneFOneB => "1f1b",
            Schedule::Interleaved => "interleaved",
            Schedule::ZbH1 => "zb-h1",
            Schedule::Zbv => "zbv",
            Schedule::File(path) => return write!(f, "{}", path.display()),
        })
    }
}

impl Schedule {
    /// So many chunks on each stage, if the user does not say.
    pub fn usual_chunks(&self) -> usize {
        match self {
            Schedule::Interleaved | Schedule::Zbv => 2,
            _ => 1,
        }
    }
    /// # Errors
    /// It has another number of chunks on each stage.
    pub fn check_chunks(&self, chunks: usize) -> Result<()> {
        let fits = match self {
            Schedule::Interleaved => (2..=MOST_CHUNKS).contains(&chunks),
            Schedule::Zbv => chunks == 2,
            Schedule::File(_) => (1..=MOST_CHUNKS).contains(&chunks),
            _ => chunks == 1,
        };
        let expected = match self {
            Schedule::Interleaved => format!("2 to {MOST_CHUNKS}"),
            Schedule::Zbv => "2".into(),
            Schedule::File(_) => format!("1 to {MOST_CHUNKS}"),
            _ => "1: more are for interleaved and zbv".into(),
        };
        ensure!(fits, "--virtual {chunks} with --schedule {self}: expected {expected}");
        Ok(())
    }
    /// What each stage does in a step of `micros` micro-batches, checked.
    ///
    /// # Errors
    /// `chunks` on each stage, or so many micro-batches, are not what the schedule is
    /// for; or the file cannot be read, or says what cannot be done.
    pub fn plan(&self, stages: usize, chunks: usize, micros: usize) -> Result<Plan> {
        self.check_chunks(chunks)?;
        let all = stages * chunks;
        if let Schedule::File(path) = self {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the schedule {shown}"))?;
            let plan = from_csv(&text).and_then(|lists| {
                let n = lists.len();
                ensure!(
                    n == stages,
                    "{n} lines: expected one for each of --pp {stages}"
                );
                Plan::new(lists, all, micros)
            });
            return plan.with_context(|| {
                format!(
                    "the schedule {shown}, for {chunks} chunks on each stage \
                     (--virtual) and {micros} micro-batches (--global-batch by \
                     --micro-batch and --dp)"
                )
            });
        }
        ensure!(
            *self != Schedule::Interleaved
                || micros < stages
                || micros.is_multiple_of(stages),
            "--schedule interleaved deals out as many micro-batches at a time as there \
             are stages: {micros} are no multiple of --pp {stages}"
        );
        let list = |stage| self.actions(stage, stages, chunks, micros);
        let plan = Plan::new((0..stages).map(list).collect(), all, micros)?;
        for stage in 0..stages {
            let (held, most) =
                (plan.most_held(stage), self.most_held(stage, stages, chunks, micros));
            ensure!(
                most.is_none_or(|most| held <= most),
                "--schedule {self}: stage {stage} would hold {held} chunks' activations"
            );
        }
        Ok(plan)
    }
    /// What a stage does, in order: a pure function. None of a file's.
    pub fn actions(
        &self,
        stage: usize,
        stages: usize,
        chunks: usize,
        micros: usize,
    ) -> Vec<Action> {
        match self {
            Schedule::Gpipe => gpipe(stage, micros),
            Schedule::OneFOneB => one_f_one_b(stage, stages, micros),
            Schedule::Interleaved => interleaved(stage, stages, chunks, micros),
            Schedule::ZbH1 => zb_h1(stage, stages, micros),
            Schedule::Zbv => zbv(stage, stages, micros),
            Schedule::File(_) => vec![],
        }
    }
    /// The largest number of chunks' activations that a stage holds at any time, as the
    /// papers promise it. Not known of a file.
    pub fn most_held(
        &self,
        stage: usize,
        stages: usize,
        chunks: usize,
        micros: usize,
    ) -> Option<usize> {
        Some(match self {
            Schedule::Gpipe => micros,
            Schedule::OneFOneB => (stages - stage).min(micros),
            Schedule::Interleaved => {
                let first = interleaved_warmup(stage, stages, chunks, micros) + 1;
                first.min(chunks * micros)
            }
            Schedule::ZbH1 => stages.min(micros),
            Schedule::Zbv => (2 * stages).min(2 * micros),
            Schedule::File(_) => return None,
        })
    }
}

/// An action of each kind.
fn forward(chunk: usize, micro: usize) -> Action {
    Action { pass: Pass::Forward, chunk, micro }
}
fn backward(chunk: usize, micro: usize) -> Action {
    Action { pass: Pass::Backward, chunk, micro }
}
fn input(chunk: usize, micro: usize) -> Action {
    Action { pass: Pass::Input, chunk, micro }
}
fn weight(chunk: usize, micro: usize) -> Action {
    Action { pass: Pass::Weight, chunk, micro }
}

fn gpipe(stage: usize, micros: usize) -> Vec<Action> {
    let all = |action: fn(usize, usize) -> Action| {
        (0..micros).map(move |micro| action(stage, micro))
    };
    all(forward).chain(all(backward)).collect()
}

fn one_f_one_b(stage: usize, stages: usize, micros: usize) -> Vec<Action> {
    // As many as it takes until the first one comes back.
    let warmup = (stages - 1 - stage).min(micros);
    let mut actions: Vec<Action> = (0..warmup).map(|i| forward(stage, i)).collect();
    for i in warmup..micros {
        actions.extend([forward(stage, i), backward(stage, i - warmup)]);
    }
    actions.extend((micros - warmup..micros).map(|i| backward(stage, i)));
    actions
}

/// The forwards before the first backward. Of one chunk two for each stage behind this
/// one, as the last is to have the chunks before it under way; and all of the chunks
/// before the last.
fn interleaved_warmup(
    stage: usize,
    stages: usize,
    chunks: usize,
    micros: usize,
) -> usize {
    let warmup = 2 * (stages - 1 - stage) + (chunks - 1) * stages;
    warmup.min(chunks * micros)
}

fn interleaved(
    stage: usize,
    stages: usize,
    chunks: usize,
    micros: usize,
) -> Vec<Action> {
    // As many micro-batches as there are stages go through a chunk before its stage
    // turns to the next chunk; the rest, if they do not divide, at the end.
    let mut order = vec![];
    for first in (0..micros).step_by(stages) {
        let group = first..micros.min(first + stages);
        for chunk in 0..chunks {
            order.extend(group.clone().map(|micro| (chunk, micro)));
        }
    }
    let at = |chunk| chunk * stages + stage;
    let forward_of = |i: usize| forward(at(order[i].0), order[i].1);
    let backward_of = |i: usize| backward(at(chunks - 1 - order[i].0), order[i].1);
    let (warmup, all) =
        (interleaved_warmup(stage, stages, chunks, micros), order.len());
    let mut actions: Vec<Action> = (0..warmup).map(forward_of).collect();
    for i in warmup..all {
        actions.extend([forward_of(i), backward_of(i - warmup)]);
    }
    actions.extend((all - warmup..all).map(backward_of));
    actions
}

fn zb_h1(stage: usize, stages: usize, micros: usize) -> Vec<Action> {
    let mut actions = vec![];
    let mut weights = 0;
    for action in one_f_one_b(stage, stages, micros) {
        if action.pass == Pass::Forward {
            actions.push(action);
            continue;
        }
        actions.push(input(stage, action.micro));
        // The later the stage, the earlier its first gradient, and the more weights'
        // gradients may wait for the gaps at the end, without more memory than the
        // first stage needs.
        if action.micro >= stage {
            actions.push(weight(stage, weights));
            weights += 1;
        }
    }
    actions.extend((weights..micros).map(|i| weight(stage, i)));
    actions
}

/// Actions of which each is of the next micro-batch.
#[derive(Default)]
struct InTurn {
    actions: Vec<Action>,
    counts: HashMap<(Pass, usize), usize>,
}

impl InTurn {
    fn count(&self, pass: Pass, chunk: usize) -> usize {
        self.counts.get(&(pass, chunk)).copied().unwrap_or(0)
    }
    fn push(&mut self, passes: &[Pass], chunk: usize) {
        for pass in passes {
            let micro = self.counts.entry((*pass, chunk)).or_default();
            self.actions.push(Action { pass: *pass, chunk, micro: *micro });
            *micro += 1;
        }
    }
}

fn zbv(stage: usize, stages: usize, micros: usize) -> Vec<Action> {
    use Pass::{Forward, Input, Weight};
    // Down the V, and up again.
    let (down, up) = (stage, 2 * stages - 1 - stage);
    // As if there were as many micro-batches as fill the pipeline.
    let all = micros.max(2 * stages - 1);
    let mut list = InTurn::default();
    // Until the first micro-batch comes back up: the last stage has it at once.
    for _ in 0..2 * (stages - stage) - 1 {
        list.push(&[Forward], down);
    }
    // Until its gradient does.
    for _ in 0..stage {
        list.push(&[Forward], up);
        list.push(&[Forward], down);
    }
    // Until its gradient comes back down.
    for _ in stage..stages {
        list.push(&[Forward, Input, Weight], up);
    }
    while list.count(Forward, up) < all {
        if list.count(Forward, down) < all {
            list.push(&[Forward], down);
        }
        list.push(&[Input, Weight], down);
        list.push(&[Forward, Input, Weight], up);
    }
    // Others wait for these: weights go last.
    for _ in 0..stage {
        list.push(&[Input], down);
        list.push(&[Input], up);
    }
    for _ in stage..stages {
        list.push(&[Input, Weight], down);
    }
    for chunk in [up, down] {
        while list.count(Weight, chunk) < all {
            list.push(&[Weight], chunk);
        }
    }
    list.actions.retain(|action| action.micro < micros);
    list.actions
}

fn from_csv(text: &str) -> Result<Vec<Vec<Action>>> {
    let mut lists = vec![];
    // Some programs write a mark in front, and empty lines behind.
    let text = text.trim_start_matches('\u{feff}').trim_end();
    for (i, line) in text.lines().enumerate() {
        let cells = line.split(',').map(str::trim).filter(|cell| !cell.is_empty());
        let list =
            cells.map(|cell| cell.parse().with_context(|| format!("line {}", i + 1)));
        lists.push(list.collect::<Result<Vec<Action>>>()?);
    }
    if lists.is_empty() {
        bail!("it is empty: expected a line for each stage");
    }
    Ok(lists)
}
