//! Data parallelism: rank-distinct data, and the numbers of one rank.
use ch04_data_parallel::config::{Precision, Switch};
use ch04_data_parallel::run::Outcome;
use ch04_data_parallel::{Config, run};
use params::Params;
use parity::ch04::{Case, GLOBAL_BATCH, cases};
use parity::small::LAYERS;
use parity::{Distance, Reference};

/// The covering set, printed.
fn layouts() -> Vec<Case> {
    let cases = cases().unwrap();
    println!("{} layouts", cases.len());
    cases.iter().for_each(|case| println!("  {}", case.name));
    cases
}

fn train(config: &Config) -> Vec<Outcome> {
    run(config).unwrap_or_else(|error| panic!("{error:#}"))
}

fn distance(reference: &Reference, run: &Outcome) -> Distance {
    reference.compare(&run.steps, run.val_loss, &run.params).unwrap()
}

#[test]
fn fp64_is_chapter_1_to_the_ninth_digit() {
    for case in layouts() {
        let Case { name, config, .. } = &case;
        let config = Config { precision: Precision::Fp64, ..config.clone() };
        let reference = case.reference().unwrap();
        let ranks = train(&config);
        for (rank, run) in ranks.iter().enumerate() {
            let found = distance(&reference, run);
            let within = found.check(&Distance::all(1e-9));
            within.unwrap_or_else(|error| panic!("{name}: rank {rank}: {error}"));
        }
        let params: Vec<&Params> = ranks.iter().map(|run| &run.params).collect();
        reference.check_ranks(&params).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Rounding in another order, and nothing else: about as near to fp64 as one rank is.
/// Four times, since twenty steps of Adam multiply what two orders of one sum differ
/// by, and which of the two is nearer is chance.
#[test]
fn fp32_is_as_near_to_fp64_as_one_rank_is() {
    for case in layouts() {
        let Case { name, config, .. } = &case;
        let config = Config { precision: Precision::Fp32, ..config.clone() };
        let reference = case.reference().unwrap();
        let one = Config { dp: 1, micro_batch: GLOBAL_BATCH, ..config.clone() };
        let bound = distance(&reference, &train(&one)[0]).times(4.0);
        for (rank, run) in train(&config).iter().enumerate() {
            let found = distance(&reference, run);
            println!("{name}: rank {rank}: {found}; bound {bound}");
            let within = found.check(&bound);
            within.unwrap_or_else(|error| panic!("{name}: rank {rank}: {error}"));
        }
    }
}

/// All that a rank leaves, in bits.
fn bits(run: &Outcome) -> Vec<u64> {
    let steps = run.steps.iter().flat_map(|step| [step.loss, step.grad_norm]);
    let mut numbers: Vec<f64> = steps.chain(run.val_loss).collect();
    for param in run.params.iter() {
        for tensor in [param.to_tensor().unwrap(), param.grad_tensor().unwrap()] {
            let tensor = tensor.to_dtype(candle_core::DType::F64).unwrap();
            numbers.extend(tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap());
        }
    }
    numbers.into_iter().map(f64::to_bits).collect()
}

#[test]
fn every_run_is_the_same_bit_for_bit() {
    for case in layouts() {
        let Case { name, config, .. } = &case;
        let config = Config { steps: 4, ..config.clone() };
        let want: Vec<_> = train(&config).iter().map(bits).collect();
        // When a bucket leaves changes nothing about what arrives.
        for overlap in [Switch::On, Switch::Off] {
            let config = Config { overlap, ..config.clone() };
            let got: Vec<_> = train(&config).iter().map(bits).collect();
            assert!(got == want, "{name}: again, overlap {overlap:?}");
        }
        assert!(want.iter().all(|rank| *rank == want[0]), "{name}: between ranks");
    }
}

/// One all-reduce for each bucket and step, however many micro-batches, of
/// `2 (n - 1) / n` of the bucket's bytes, what does not divide padded.
#[test]
fn the_ledger_is_the_closed_form() {
    for case in layouts() {
        let Case { name, config, .. } = &case;
        let precisions =
            [(Precision::Fp64, 8), (Precision::Fp32, 4), (Precision::Bf16, 4)];
        for (precision, size) in precisions {
            let config = Config { precision, steps: 2, ..config.clone() };
            for (rank, run) in train(&config).iter().enumerate() {
                let flats = run.params.flats.iter().map(|flat| flat.grads.len());
                let n = config.dp;
                let elements: usize =
                    flats.clone().map(|len| 2 * (n - 1) * len.div_ceil(n)).sum();
                assert_eq!(
                    flats.count(),
                    LAYERS + 2,
                    "a bucket for each layer, and two"
                );
                let calls = if n > 1 { LAYERS + 2 } else { 0 };
                let calls = config.steps * calls as u64;
                let bytes = config.steps * (size * elements) as u64;
                let of = run.communication.iter();
                let of = of.filter(|line| line.family == "gradients");
                let got = of.fold([0, 0], |[calls, bytes], line| {
                    [calls + line.entry.calls, bytes + line.entry.bytes]
                });
                assert_eq!(got, [calls, bytes], "{name}: rank {rank}: calls and bytes");
            }
        }
    }
}

/// 16-bit numbers: at most twice as far from fp64 as one rank. Their own rounding is so
/// much coarser than that of the sums that the ranks' order hardly matters.
#[test]
fn bf16_and_fp16_stay_in_the_band_of_one_rank() {
    for case in layouts() {
        let Case { name, config, .. } = &case;
        let reference = case.reference().unwrap();
        for precision in [Precision::Bf16, Precision::Fp16] {
            let config = Config { precision, ..config.clone() };
            let one = Config { dp: 1, micro_batch: GLOBAL_BATCH, ..config.clone() };
            let bound = distance(&reference, &train(&one)[0]).times(2.0);
            for run in &train(&config) {
                let found = distance(&reference, run);
                println!("{name} {precision:?}: {found}; bound {bound}");
                let within = found.check(&bound);
                within.unwrap_or_else(|e| panic!("{name} {precision:?}: {e}"));
            }
        }
    }
}
