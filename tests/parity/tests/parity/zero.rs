//! ZeRO: whatever ranks divide, the training is that of one rank.
use params::Params;
use parity::Distance;
use parity::tp::Rank;
use parity::zero::{Case, STEPS, cases};

/// The covering set, printed.
fn layouts() -> Vec<Case> {
    let cases = cases().unwrap();
    println!("{} layouts", cases.len());
    cases.iter().for_each(|case| println!("  {}", case.name));
    cases
}

fn train(case: &Case, precision: &str) -> Vec<Rank> {
    case.train(precision, STEPS).unwrap_or_else(|e| panic!("{}: {e:#}", case.name))
}

#[test]
fn fp64_is_chapter_1_to_the_ninth_digit() {
    for case in layouts() {
        let reference = case.reference(STEPS).unwrap();
        let ranks = train(&case, "fp64");
        for (rank, run) in ranks.iter().enumerate() {
            let found = reference.compare(&run.steps, run.val_loss, &run.params);
            let within = found.and_then(|found| found.check(&Distance::all(1e-9)));
            within.unwrap_or_else(|e| panic!("{}: rank {rank}: {e}", case.name));
        }
        // Copies are bit-equal, too.
        let params: Vec<&Params> = ranks.iter().map(|run| &run.params).collect();
        reference.check_ranks(&params).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    }
}

/// At most four times as far from fp64 as one rank in the same precision, as for tensor
/// parallelism.
#[test]
fn other_types_are_as_near_to_fp64_as_one_rank_is() {
    for (i, case) in layouts().iter().enumerate() {
        let reference = case.reference(STEPS).unwrap();
        let distance = |ranks: &[Rank]| {
            let params: Vec<&Params> = ranks.iter().map(|rank| &rank.params).collect();
            let first = &ranks[0];
            reference.compare_all(&first.steps, first.val_loss, &params).unwrap()
        };
        let precision = ["fp32", "bf16", "fp16"][i % 3];
        let alone = case.train_alone(precision, STEPS).unwrap();
        let mut bound = distance(&[alone]).times(4.0);
        // A norm differs by no more than what it is of, and by how much less is chance.
        bound.grad_norm = bound.grad_norm.max(bound.gradient.0);
        let found = distance(&train(case, precision));
        println!("{}: {found}; bound {bound}", case.name);
        let within = found.check(&bound);
        within.unwrap_or_else(|e| panic!("{}, {precision}: {e}", case.name));
    }
}
