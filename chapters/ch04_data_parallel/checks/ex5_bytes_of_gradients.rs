//! The formula beside the ledgers of the chapter's code.
use super::{many, ranks};
use crate::answer::ex5_bytes_of_gradients::*;
use candle_core::{DType, Result};
use ch04_data_parallel::Config;
use ch04_data_parallel::gradients::Gradients;
use comm::{Layout, Mesh};
use params::{Element, Init, ParamBuilder, Real, with_float};

const TYPES: [DType; 4] = [DType::F32, DType::F64, DType::BF16, DType::F16];

/// What each rank's ledger has for gradients after steps as the chapter makes them: the
/// micro-batches accumulate ones, and in the last one the buckets leave.
fn booked(
    buckets: &[usize],
    dtype: DType,
    n: usize,
    micro_batches: usize,
    steps: usize,
) -> Vec<u64> {
    ranks(n, "the chapter's sums", |group| {
        let mut builder = ParamBuilder::new(1, dtype);
        for (i, elements) in buckets.iter().enumerate() {
            if i > 0 {
                builder.next_flat();
            }
            builder.add(&format!("bucket {i}"), &[*elements], Init::Zeros);
        }
        let params = builder.build(1)?;
        let mesh = Mesh::new(group.clone(), &Layout::default())?;
        for _ in 0..steps {
            params.begin_step()?;
            let mut gradients = Gradients::new(&params, &mesh);
            for micro in 0..micro_batches {
                for (i, flat) in params.flats.iter().enumerate().rev() {
                    with_float!(dtype, T => {
                        type A = <T as Element>::Acc;
                        params::accumulate::<A>(&flat.params, |grads, first| {
                            if first { grads.fill(A::of(0.0)) }
                            grads.iter_mut().for_each(|x| *x += A::of(1.0));
                        })
                    })?;
                    if micro + 1 == micro_batches {
                        gradients.start(i)?;
                    }
                }
            }
            gradients.finish()?;
        }
        Result::Ok(group.ledger().family("gradients").bytes)
    })
}

fn agrees(
    buckets: &[usize],
    dtype: DType,
    n: usize,
    micro_batches: usize,
    steps: usize,
) {
    let got = gradient_bytes(buckets, dtype, n, micro_batches, steps);
    let all = booked(buckets, dtype, n, micro_batches, steps);
    for (rank, want) in all.into_iter().enumerate() {
        assert!(
            got == want,
            "buckets of {buckets:?} elements, parameters in {dtype:?}, {} with {} a \
             step, {}: you say {got} bytes, and the ledger of rank {rank} says {want}",
            many(n, "rank"),
            many(micro_batches, "micro-batch"),
            many(steps, "step")
        );
    }
}

#[test]
fn one_bucket_that_divides_or_does_not() {
    for n in 1..=5 {
        for elements in [1, 2, 3, 5, 60, 61, 1000, 1003] {
            agrees(&[elements], DType::F32, n, 1, 1);
        }
    }
}

#[test]
fn several_buckets_are_padded_one_by_one() {
    for n in 1..=5 {
        agrees(&[5, 5], DType::F32, n, 1, 1);
        agrees(&[7, 1, 130, 129, 3], DType::F32, n, 1, 1);
    }
}

#[test]
fn gradients_have_a_type_of_their_own() {
    for dtype in TYPES {
        agrees(&[17, 6], dtype, 3, 1, 1);
    }
}

#[test]
fn micro_batches_and_steps() {
    for (micro_batches, steps) in [(1, 2), (2, 1), (3, 4)] {
        for dtype in TYPES {
            agrees(&[17, 6, 9], dtype, 4, micro_batches, steps);
        }
    }
}

#[test]
fn no_number_is_too_large() {
    // Llama 3 405B in fp32: an embedding, 126 layers and what comes after them.
    let layer = 16_384 * (2 * 16_384 + 2 * 1024 + 3 * 53_248 + 2);
    let table = 128_256 * 16_384;
    let buckets = [&[table][..], &[layer; 126], &[table + 16_384]].concat();
    let elements: usize = buckets.iter().sum();
    // 8 divides all of these.
    let want = 2 * 7 * (elements / 8) as u64 * 4 * 1000;
    let got = gradient_bytes(&buckets, DType::BF16, 8, 4, 1000);
    assert!(
        got == want,
        "Llama 3 405B with {elements} parameters in bf16 on 8 ranks, 1000 steps: you \
         say {got} bytes, expected {want}"
    );
}

#[test]
fn the_chapters_program_books_as_much() {
    for (dp, micro_batches) in [(1, 3), (3, 2)] {
        let config = Config {
            data: vec!["random".into()],
            steps: 2,
            seq_len: 8,
            micro_batch: 1,
            global_batch: dp * micro_batches,
            dp,
            threads: 1,
            validation_sequences: 1,
            quiet: true,
            ..Config::default()
        };
        // The preset nano; how large its buffers are, the run says itself.
        let run = ch04_data_parallel::run(&config);
        let run = run.unwrap_or_else(|error| panic!("a run of 2 steps: {error:#}"));
        for (rank, outcome) in run.iter().enumerate() {
            let flats = &outcome.params.flats;
            let buckets: Vec<usize> = flats.iter().map(|f| f.grads.len()).collect();
            let got = gradient_bytes(&buckets, DType::F32, dp, micro_batches, 2);
            let ours = outcome.communication.iter();
            let ours = ours.filter(|line| line.family == "gradients");
            let want: u64 = ours.map(|line| line.entry.bytes).sum();
            assert!(
                got == want,
                "the chapter's program, 2 steps of {micro_batches} micro-batches on \
                 each of {dp} ranks, buckets of {buckets:?} elements: you say {got} \
                 bytes, and the ledger of rank {rank} says {want}"
            );
        }
    }
}
