//! Parity of chapters 4 to 7 with chapter 1 where ranks are processes:
//! `mpirun -n 4 target/debug/parity_of_processes`.
//!
//! The layouts of the test `parity`: of chapter 4 each with as many ranks as there are
//! processes, of chapters 5, 6 and 7 those that have as many.
//! Every process trains chapter 1 too, and compares what it holds itself.
use anyhow::{Context, Result, ensure};
use ch04_data_parallel::Config;
use ch04_data_parallel::config::Precision;
use parity::Distance;
use parity::ch04::{GLOBAL_BATCH, cases};
use parity::pp;
use parity::tp::{self, Chapter, STEPS};

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
        let (mut count, mut worst) = (0, 0.0_f64);
        let all = tp::cases(chapter)?;
        for case in all.iter().filter(|case| case.tp * case.dp == ranks) {
            let reference = case.reference(STEPS)?;
            for run in &case.train("fp64", STEPS)? {
                let found = reference.compare(&run.steps, run.val_loss, &run.params)?;
                let within = found.check(&Distance::all(1e-9));
                within.with_context(|| case.name.clone())?;
                worst = worst.max(found.worst());
            }
            count += 1;
        }
        ensure!(count > 0, "no layout of {ranks} ranks");
        println!(
            "{count} layouts of chapter {chapter:?} on {ranks} processes: at most \
             {worst:.1e} apart"
        );
    }
    let (mut count, mut worst) = (0, 0.0_f64);
    let all = pp::cases()?;
    for case in all.iter().filter(|case| case.pp * case.tp * case.dp == ranks) {
        let reference = case.reference(pp::STEPS)?;
        for run in &case.train("fp64", pp::STEPS)? {
            let found = reference.compare(&run.steps, run.val_loss, &run.params)?;
            let within = found.check(&Distance::all(1e-9));
            within.with_context(|| case.name.clone())?;
            worst = worst.max(found.worst());
        }
        count += 1;
    }
    ensure!(count > 0, "no layout of {ranks} ranks");
    println!(
        "{count} layouts of chapter 7 on {ranks} processes: at most {worst:.1e} apart"
    );
    Ok(())
}
