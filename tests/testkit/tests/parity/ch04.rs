//! Data parallelism: rank-distinct data, and the numbers of one rank.
use ch01_single_gpu as ch01;
use ch04_data_parallel::config::{Granularity, Precision, Switch};
use ch04_data_parallel::run::Outcome;
use ch04_data_parallel::{Config, run};
use params::Params;
use testkit::parity::{Distance, Reference, covering};
use testkit::small::{SEQ_LEN, Small, models};

const STEPS: u64 = 20;
/// Sequences of a step: 1, 2, 3 and 4 ranks divide them.
const GLOBAL_BATCH: usize = 24;

/// One choice of each factor.
struct Case {
    name: String,
    small: Small,
    config: Config,
}

/// The covering set, printed.
fn cases() -> Vec<Case> {
    let dp = [1, 2, 3, 4];
    let accumulation = [1, 2];
    let texts = ["even", "uneven"];
    let recompute = [Granularity::None, Granularity::Selective, Granularity::Full];
    let overlap = [Switch::On, Switch::Off];
    let rows = covering(&[4, 2, 2, 3, 3, 2]);
    println!("{} layouts", rows.len());
    let case = |row: &Vec<usize>| {
        let (kind, model) = models()[row[3]].clone();
        let small = Small::new(&model).unwrap();
        let (dp, n) = (dp[row[0]], accumulation[row[1]]);
        let text = texts[row[2]];
        let data = if text == "even" { small.even() } else { small.uneven() };
        let config = Config {
            model: small.model().to_string_lossy().into_owned(),
            data: vec![data],
            tokenizer: Some("bytes".into()),
            workers: 1,
            threads: 1,
            isolate_documents: true,
            steps: STEPS,
            warmup: Some(2),
            seq_len: SEQ_LEN,
            micro_batch: GLOBAL_BATCH / dp / n,
            global_batch: GLOBAL_BATCH,
            lr: Some(2e-3),
            validation_sequences: 7,
            quiet: true,
            dp,
            overlap: overlap[row[5]],
            recompute: recompute[row[4]],
            ..Config::default()
        };
        let name = format!(
            "dp {dp}, {n} micro-batches, {text} text, {kind}, recompute {:?}, overlap \
             {:?}",
            config.recompute, config.overlap
        );
        println!("  {name}");
        Case { name, small, config }
    };
    rows.iter().map(case).collect()
}

fn train(config: &Config) -> Vec<Outcome> {
    run(config).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Chapter 1 on the same data.
fn reference(config: &Config, precision: ch01::config::Precision) -> Reference {
    let Config { model, data, tokenizer, .. } = config.clone();
    let run = ch01::run(&ch01::Config {
        model,
        data,
        tokenizer,
        workers: 1,
        threads: 1,
        isolate_documents: config.isolate_documents,
        steps: config.steps,
        warmup: config.warmup,
        seq_len: config.seq_len,
        micro_batch: config.global_batch,
        global_batch: config.global_batch,
        lr: config.lr,
        validation_sequences: config.validation_sequences,
        quiet: true,
        precision,
        ..ch01::Config::default()
    });
    let run = run.unwrap_or_else(|error| panic!("{error:#}"));
    Reference::new(&run.steps, run.val_loss, &run.params).unwrap()
}

fn distance(reference: &Reference, run: &Outcome) -> Distance {
    reference.compare(&run.steps, run.val_loss, &run.params).unwrap()
}

#[test]
fn fp64_is_chapter_1_to_the_ninth_digit() {
    for Case { name, config, small: _small } in cases() {
        let config = Config { precision: Precision::Fp64, ..config };
        let reference = reference(&config, ch01::config::Precision::Fp64);
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

/// Rounding in another order, and nothing else: as near to fp64 as one rank is.
#[test]
fn fp32_is_as_near_to_fp64_as_one_rank_is() {
    for Case { name, config, small: _small } in cases() {
        let config = Config { precision: Precision::Fp32, ..config };
        let reference = reference(&config, ch01::config::Precision::Fp64);
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
    for Case { name, config, small: _small } in cases() {
        let config = Config { steps: 4, ..config };
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

/// A step's `[calls, bytes]` of a family of the ledger.
fn booked(step: &runlog::Step, family: &str) -> [u64; 2] {
    let lines = step.extra["comm"].as_array().unwrap();
    let of = lines.iter().filter(|line| line["family"] == family);
    of.fold([0, 0], |[calls, bytes], line| {
        let number = |name: &str| line[name].as_u64().unwrap();
        [calls + number("calls"), bytes + number("bytes")]
    })
}

/// One all-reduce for each bucket and step, however many micro-batches, of
/// `2 (n - 1) / n` of the bucket's bytes, what does not divide padded.
#[test]
fn the_ledger_is_the_closed_form() {
    for Case { name, config, small: _small } in cases() {
        let precisions =
            [(Precision::Fp64, 8), (Precision::Fp32, 4), (Precision::Bf16, 4)];
        for (precision, size) in precisions {
            let config = Config { precision, steps: 2, ..config.clone() };
            for (rank, run) in train(&config).iter().enumerate() {
                let flats = run.params.flats.iter().map(|flat| flat.grads.len());
                let n = config.dp;
                let elements: usize =
                    flats.clone().map(|len| 2 * (n - 1) * len.div_ceil(n)).sum();
                let calls = if n > 1 { flats.count() } else { 0 };
                let want = [calls as u64, (size * elements) as u64];
                for step in &run.steps {
                    let got = booked(step, "gradients");
                    assert_eq!(got, want, "{name}: rank {rank}: calls and bytes");
                }
            }
        }
    }
}

/// 16-bit numbers: in the same band as one rank.
#[test]
fn bf16_and_fp16_stay_in_the_band_of_one_rank() {
    for Case { name, config, small: _small } in cases() {
        let reference = reference(&config, ch01::config::Precision::Fp64);
        for precision in [Precision::Bf16, Precision::Fp16] {
            let config = Config { precision, ..config.clone() };
            let one = Config { dp: 1, micro_batch: GLOBAL_BATCH, ..config.clone() };
            let bound = distance(&reference, &train(&one)[0]).times(2.0);
            let found = distance(&reference, &train(&config)[0]);
            println!("{name} {precision:?}: {found}; bound {bound}");
            found.check(&bound).unwrap_or_else(|e| panic!("{name} {precision:?}: {e}"));
        }
    }
}
