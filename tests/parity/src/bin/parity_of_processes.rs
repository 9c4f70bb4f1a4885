//! Parity of chapters 4 to 8 with chapter 1 where ranks are processes:
//! `mpirun -n 4 target/debug/parity_of_processes`.
//!
//! The layouts of the test `parity`: of chapter 4 each with as many ranks as there are
//! processes, of chapters 5 to 8 those that have as many.
//! Every process trains chapter 1 too, and compares what it holds itself.
use anyhow::{Context, Result, ensure};
use ch04_data_parallel::Config;
use ch04_data_parallel::config::Precision;
use parity::ch04::{GLOBAL_BATCH, cases};
use parity::tp::{self, Chapter, Rank, STEPS};
use parity::{Distance, Reference, pp, zero};

fn main() -> Result<()> {
    let ranks = comm::processes()?.context("no mpirun has started this program")?;
    ensure!(
        GLOBAL_BATCH.is_multiple_of(2 * ranks),
        "{ranks} ranks: expected 1, 2, 3, 4, 6 or 12, among which {GLOBAL_BATCH} \
         sequences in two micro-batches divide"
    );
    let mut worst = 0.0_f64;
    let all = cases()?;
    for case in &all {
        let accumulation = GLOBAL_BATCH / case.config.dp / case.config.micro_batch;
        let config = Config {
            dp: ranks,
            micro_batch: GLOBAL_BATCH / ranks / accumulation,
            precision: Precision::Fp64,
            ..case.config.clone()
        };
        let reference = case.reference()?;
        for run in &ch04_data_parallel::run(&config)? {
            let found = reference.compare(&run.steps, run.val_loss, &run.params)?;
            let within = found.check(&Distance::all(1e-9));
            within.with_context(|| format!("{} as {ranks} processes", case.name))?;
            worst = worst.max(found.worst());
        }
    }
    println!("{} layouts on {ranks} processes: at most {worst:.1e} apart", all.len());
    for chapter in [Chapter::Five, Chapter::Six] {
        let all = tp::cases(chapter)?;
        let mut these = Layouts::default();
        for case in all.iter().filter(|case| case.tp * case.dp == ranks) {
            let runs = case.train("fp64", STEPS)?;
            these.compare(&case.name, &case.reference(STEPS)?, &runs)?;
        }
        these.report(&format!("{chapter:?}"), ranks)?;
    }
    let mut these = Layouts::default();
    let all = pp::cases()?;
    for case in all.iter().filter(|case| case.pp * case.tp * case.dp == ranks) {
        let runs = case.train("fp64", pp::STEPS)?;
        these.compare(&case.name, &case.reference(pp::STEPS)?, &runs)?;
    }
    these.report("Seven", ranks)?;
    let mut these = Layouts::default();
    for case in zero::cases()?.iter().filter(|case| case.ranks == ranks) {
        let runs = case.train("fp64", zero::STEPS)?;
        these.compare(&case.name, &case.reference(zero::STEPS)?, &runs)?;
    }
    these.report("Eight", ranks)
}

/// Those of a chapter that were compared.
#[derive(Default)]
struct Layouts {
    count: usize,
    worst: f64,
}

impl Layouts {
    fn compare(&mut self, name: &str, one: &Reference, runs: &[Rank]) -> Result<()> {
        for run in runs {
            let found = one.compare(&run.steps, run.val_loss, &run.params)?;
            let within = found.check(&Distance::all(1e-9));
            within.with_context(|| name.to_string())?;
            self.worst = self.worst.max(found.worst());
        }
        self.count += 1;
        Ok(())
    }
    fn report(&self, chapter: &str, ranks: usize) -> Result<()> {
        ensure!(self.count > 0, "chapter {chapter}: no layout of {ranks} ranks");
        println!(
            "{} layouts of chapter {chapter} on {ranks} processes: at most {:.1e} \
             apart",
            self.count, self.worst
        );
        Ok(())
    }
}
