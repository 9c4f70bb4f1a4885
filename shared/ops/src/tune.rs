//! Which way of multiplying is fastest here.
//!
//! For one product there are several *plans*: instructions, what to copy, how to share
//! the work. All give the same bits (see [`crate::gemm`]), so the first calls of a
//! shape may simply try them in turn: each is timed [`ROUNDS`] times while it does real
//! work, and the fastest is kept for the rest of the process. Two runs may pick
//! differently and still compute the same.
//!
//! [`pin`], or `FERROTRON_GEMM` in the environment, fixes the instructions instead.
//! That is also the only way to the `gemm` crate: it adds in another order, so a tuner
//! that sometimes picked it would make runs irreproducible for a gain that was not
//! found (see `examples/gemm_bench.rs`). `FERROTRON_TUNE=verbose` prints every pick on
//! stderr.

use crate::device;
use crate::gemm::{Isa, Mat, MatMut, On, Plan, Share, Size, Store, gemm};
use candle_core::DType;
use params::Element;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Times that each plan is tried: on a busy machine most of them say little.
const ROUNDS: usize = 5;
/// What a plan must save, in parts of the usual plan's time, to take its place.
const MARGIN: f64 = 0.03;
/// Multiply-adds below which there is too little to win to time anything.
const SMALL: usize = 1 << 21;
/// Shapes that are remembered. Beyond (lengths that always change) nothing is tried.
const SHAPES: usize = 4096;

/// What multiplies matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// The fastest of ours, found by trying.
    Auto,
    /// Ours with AVX-512.
    Avx512,
    /// Ours with AVX2 and FMA.
    Avx2,
    /// Ours in plain Rust. On x86-64 it multiplies and adds in two roundings, so its
    /// results differ from the others'; elsewhere it is what `Auto` uses.
    Portable,
    /// The `gemm` crate where all three matrices are f32 or all are f64 (`Auto` for the
    /// rest). It rounds differently.
    Gemm,
}

impl Choice {
    /// All of them, with the names that `FERROTRON_GEMM` takes.
    pub const ALL: [(Choice, &str); 5] = [
        (Choice::Auto, "auto"),
        (Choice::Avx512, "avx512"),
        (Choice::Avx2, "avx2"),
        (Choice::Portable, "portable"),
        (Choice::Gemm, "gemm"),
    ];

    /// Whether this machine can.
    pub fn here(self) -> bool {
        match self {
            Choice::Avx512 => Isa::Avx512.here(),
            Choice::Avx2 => Isa::Avx2.here(),
            Choice::Auto | Choice::Portable | Choice::Gemm => true,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = Choice::ALL.iter().find(|(choice, _)| choice == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Choice {
    type Err = String;

    /// The error lists what this machine can.
    fn from_str(name: &str) -> Result<Choice, String> {
        let found = Choice::ALL.iter().find(|(_, known)| *known == name);
        let problem = match found {
            Some((choice, _)) if choice.here() => return Ok(*choice),
            Some(_) => "this CPU lacks the instructions",
            None => "there is no such choice",
        };
        let here = Choice::ALL.iter().filter(|(choice, _)| choice.here());
        let here: Vec<&str> = here.map(|(_, name)| *name).collect();
        Err(format!("FERROTRON_GEMM={name}: {problem}; one of {}", here.join(", ")))
    }
}

static PINNED: LazyLock<Mutex<Choice>> =
    LazyLock::new(|| Mutex::new(environment().unwrap_or_else(|e| panic!("{e}"))));

/// What `FERROTRON_GEMM` pins. A program asks at its start, so that a user's mistake is
/// a message before any work.
///
/// # Errors
/// If it names nothing that this machine can; the error lists what it can.
pub fn environment() -> Result<Choice, String> {
    match std::env::var("FERROTRON_GEMM") {
        Ok(name) => name.parse(),
        Err(_) => Ok(Choice::Auto),
    }
}

static VERBOSE: LazyLock<bool> =
    LazyLock::new(|| std::env::var("FERROTRON_TUNE").is_ok_and(|v| !v.is_empty()));

static SHAPES_SEEN: LazyLock<Mutex<HashMap<Shape, Trials>>> =
    LazyLock::new(Default::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Fixes what multiplies matrices, in the whole process, from now on; in place of
/// `FERROTRON_GEMM`.
///
/// # Errors
/// If this machine cannot; the error lists what it can.
pub fn pin(choice: Choice) -> Result<(), String> {
    let choice = choice.to_string().parse()?;
    *lock(&PINNED) = choice;
    Ok(())
}

/// What is pinned: by [`pin`], or by `FERROTRON_GEMM`.
///
/// # Panics
/// If `FERROTRON_GEMM` names nothing that this machine can.
pub fn pinned() -> Choice {
    *lock(&PINNED)
}

/// A plan that took so many times as long as the fastest is not tried again: a trial of
/// a large product with the wrong instructions costs more than noise could hide.
const HOPELESS: f64 = 1.3;

/// What plans are compared for.
///
/// What is pinned belongs to it: with other instructions, other plans are best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub choice: Choice,
    pub size: Size,
    /// Storage types of A, B and C.
    pub kinds: [DType; 3],
    /// Whether the numbers of a row of A, of B, are neighbours in memory.
    pub rows: [bool; 2],
    /// Threads that take part.
    pub threads: usize,
}

/// The plans of a shape and how they did.
struct Trials {
    plans: Vec<(Plan, Duration)>,
    calls: usize,
    /// Where the best is, once it is known.
    best: Option<usize>,
}

/// Does a product with one of `plans`; with `usual`, which is best for most products,
/// where it is not worth trying.
pub(crate) fn tuned(
    shape: Shape,
    usual: Plan,
    plans: impl FnOnce() -> Vec<Plan>,
    product: impl FnOnce(Plan),
) {
    let Size { m, n, k } = shape.size;
    if m * n * k < SMALL {
        return product(usual);
    }
    let (plan, trial) = next(shape, plans).unwrap_or((usual, None));
    let start = Instant::now();
    product(plan);
    let Some(trial) = trial else { return };
    let time = start.elapsed();
    let mut shapes = lock(&SHAPES_SEEN);
    let Some(trials) = shapes.get_mut(&shape) else { return };
    let best = &mut trials.plans[trial].1;
    *best = time.min(*best);
    // Other ranks may still be timing theirs; what they find comes too late.
    if trials.best.is_none() && trials.calls >= ROUNDS * trials.plans.len() {
        let fastest = (0..trials.plans.len()).min_by_key(|i| trials.plans[*i].1);
        let usual = trials.plans[0].1.mul_f64(1.0 - MARGIN);
        trials.best = fastest.map(|i| if trials.plans[i].1 < usual { i } else { 0 });
        if *VERBOSE {
            eprintln!("gemm: {}", line(&shape, trials));
        }
    }
}

/// The plan for a call and, while they are tried, its number. `None` if the table is
/// full.
fn next(
    shape: Shape,
    plans: impl FnOnce() -> Vec<Plan>,
) -> Option<(Plan, Option<usize>)> {
    // All ranks' shapes are in one table.
    let _nobody = memory::nobody();
    let mut shapes = lock(&SHAPES_SEEN);
    if shapes.len() >= SHAPES && !shapes.contains_key(&shape) {
        return None;
    }
    let trials = shapes.entry(shape).or_insert_with(|| Trials {
        plans: plans().into_iter().map(|plan| (plan, Duration::MAX)).collect(),
        calls: 0,
        best: None,
    });
    if let Some(best) = trials.best {
        return Some((trials.plans[best].0, None));
    }
    let fastest = trials.plans.iter().map(|(_, time)| *time).min()?;
    loop {
        // The fastest itself is never passed over, so this ends.
        let trial = trials.calls % trials.plans.len();
        trials.calls += 1;
        let (plan, time) = trials.plans[trial];
        if time == Duration::MAX || time <= fastest.mul_f64(HOPELESS) {
            return Some((plan, Some(trial)));
        }
    }
}

/// What was picked so far, one line for each shape: sizes, types, layouts, threads, the
/// plan, its speed and that of the slowest one.
pub fn report() -> String {
    let shapes = lock(&SHAPES_SEEN);
    let done = shapes.iter().filter(|(_, trials)| trials.best.is_some());
    let mut lines: Vec<String> = done.map(|(shape, t)| line(shape, t)).collect();
    lines.sort();
    lines.join("\n")
}

fn line(shape: &Shape, trials: &Trials) -> String {
    let Shape { size: Size { m, n, k }, kinds: [a, b, c], rows, threads, .. } = *shape;
    let speed = |time: Duration| (2 * m * n * k) as f64 / time.as_secs_f64() / 1e9;
    let (plan, time) = trials.plans[trials.best.unwrap_or(0)];
    let slowest = trials.plans.iter().map(|(_, time)| *time).max().unwrap_or(time);
    let transposed = |rows: bool| if rows { "" } else { "ᵀ" };
    format!(
        "{m:5} x{n:6} x{k:6}  {a:?}{} {b:?}{} -> {c:?}, {threads} threads: {plan}, \
         {:.0} GFLOP/s (slowest {:.0})",
        transposed(rows[0]),
        transposed(rows[1]),
        speed(time),
        speed(slowest),
    )
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Plan { isa, pack_a, pack_b, share } = self;
        let isa = match isa {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        };
        let copies = match (pack_a, pack_b) {
            (false, false) => "nothing copied",
            (true, false) => "A copied",
            (false, true) => "B copied",
            (true, true) => "A and B copied",
        };
        let share = match share {
            Share::Rows => "rows shared",
            Share::Columns => "columns shared",
        };
        write!(f, "{isa}, {copies}, {share}")
    }
}

/// FLOP/s of a large product of numbers of this type on all threads of the calling
/// rank, or on its GPU: the best of what fits into 50 milliseconds, and of at least
/// three. What a model's FLOP/s are divided by to get its utilization (MFU).
///
/// # Errors
/// The type is no float type, or has no kernels on the GPU.
pub fn peak_flops(dtype: DType) -> candle_core::Result<f64> {
    if let Some(on) = device::on(dtype)? {
        return on.peak_flops();
    }
    Ok(match dtype {
        DType::F64 => peak_here::<f64>(),
        // A CPU multiplies 16-bit numbers as fp32.
        _ => peak_here::<f32>(),
    })
}

fn peak_here<T: Element>() -> f64 {
    const N: usize = 768;
    let _tag = memory::tag(memory::Family::Scratch);
    let (a, b) = (vec![T::default(); N * N], vec![T::default(); N * N]);
    let mut c = vec![T::default(); N * N];
    let best = best_of(|| {
        let (a, b) = (Mat::new(&a, N, N), Mat::new(&b, N, N).t());
        gemm(MatMut::new(&mut c, N, N), Store::Set, a, b, On::AllThreads);
    });
    2.0 * (N * N * N) as f64 / best
}

/// Seconds of the fastest of several runs.
pub(crate) fn best_of(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < 3 || start.elapsed() < Duration::from_millis(50) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_wrong_ones_listed() {
        for (choice, name) in Choice::ALL {
            assert_eq!(choice.to_string(), name);
            assert_eq!(name.parse().is_ok_and(|c: Choice| c == choice), choice.here());
        }
        let e = "mkl".parse::<Choice>().unwrap_err();
        assert!(
            e.starts_with("FERROTRON_GEMM=mkl: there is no such choice; one of auto")
        );
        assert!(e.ends_with("portable, gemm"), "{e}");
    }

    #[test]
    fn each_plan_is_tried_and_the_fastest_stays() {
        let plan = |pack_a| Plan {
            isa: Isa::Portable,
            pack_a,
            pack_b: false,
            share: Share::Rows,
        };
        let shape = Shape {
            choice: Choice::Portable,
            size: Size { m: 1 << 10, n: 1 << 10, k: 1 << 10 },
            kinds: [DType::F64, DType::F64, DType::F64],
            rows: [false, false],
            threads: 77,
        };
        let mut ran = vec![];
        for _ in 0..2 * ROUNDS + 5 {
            tuned(
                shape,
                plan(false),
                || vec![plan(false), plan(true)],
                |plan| {
                    let time = if plan.pack_a { 1 } else { 40 };
                    std::thread::sleep(Duration::from_millis(time));
                    ran.push(plan.pack_a);
                },
            );
        }
        assert_eq!(ran[..2], [false, true]);
        assert!(ran[2..].iter().all(|fast| *fast), "a hopeless plan was tried again");
        let report = report();
        let line = report.lines().find(|line| line.contains("77 threads")).unwrap();
        assert!(line.contains("portable, A copied, rows shared"), "{line}");
    }

    #[test]
    fn the_peak_is_a_rate() {
        let peak = peak_flops(DType::F32).unwrap();
        assert!(peak > 1e8 && peak < 1e14, "{peak:e}");
    }
}
