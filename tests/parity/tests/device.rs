//! Every chapter on a device: on a CPU in a GPU's role, whose memory is locked away
//! from whoever is not a kernel; or, with the feature `cuda` and FERROTRON_KERNELS=cuda,
//! on a GPU, which all ranks share.
//!
//! In fp32 each training is within a few of one rank's own rounding errors of chapter 1
//! in fp64; in bf16 as well, of a rank of chapter 2 on the CPU.
#![cfg(target_os = "linux")]
use anyhow::Result;
use clap::Parser;
use params::Params;
use parity::small::{SEQ_LEN, Small, wide_models};
use parity::{Distance, Reference};
use runlog::Step;

/// What a run leaves behind.
struct Left {
    steps: Vec<Step>,
    val_loss: Option<f64>,
    params: Vec<Params>,
}

macro_rules! left {
    ($run:expr) => {{
        let run = $run;
        Left { steps: run.steps, val_loss: run.val_loss, params: vec![run.params] }
    }};
    (ranks of $run:expr) => {{
        let mut ranks = $run;
        let params = ranks
            .iter_mut()
            .map(|rank| std::mem::replace(&mut rank.params, Params { flats: vec![] }));
        let params = params.collect();
        let first = ranks.remove(0);
        Left { steps: first.steps, val_loss: first.val_loss, params }
    }};
}

/// Runs chapter `chapter` with these flags.
fn train(chapter: usize, flags: &[String]) -> Result<Left> {
    Ok(match chapter {
        1 => left!(ch01_single_gpu::run(&Parser::try_parse_from(flags)?)?),
        2 => left!(ch02_mixed_precision::run(&Parser::try_parse_from(flags)?)?),
        3 => left!(ch03_recompute::run(&Parser::try_parse_from(flags)?)?),
        4 => left!(ranks of ch04_data_parallel::run(&Parser::try_parse_from(flags)?)?),
        5 => {
            left!(ranks of ch05_tensor_parallel::run(&Parser::try_parse_from(flags)?)?)
        }
        6 => {
            left!(ranks of ch06_sequence_parallel::run(&Parser::try_parse_from(flags)?)?)
        }
        7 => {
            left!(ranks of ch07_pipeline_parallel::run(&Parser::try_parse_from(flags)?)?)
        }
        _ => left!(ranks of ch08_zero::run(&Parser::try_parse_from(flags)?)?),
    })
}

/// Which model, which chapter, with which flags besides.
const CASES: [(usize, usize, &str); 14] = [
    (0, 1, ""),
    (2, 2, ""),
    (3, 3, "--recompute selective"),
    (1, 3, "--recompute full"),
    (0, 4, "--dp 2 --overlap on"),
    (3, 5, "--dp 2 --tp 2"),
    (0, 5, "--dp 1 --tp 4"),
    (1, 6, "--dp 1 --tp 4 --sp on"),
    (2, 6, "--dp 2 --tp 2 --sp on --recompute full"),
    (0, 7, "--dp 1 --pp 2 --schedule 1f1b"),
    (2, 7, "--dp 1 --pp 2 --tp 2 --schedule zb-h1"),
    (0, 8, "--dp 2 --zero 1"),
    (3, 8, "--dp 2 --zero 2 --tp 2"),
    (2, 8, "--dp 2 --zero 3"),
];

const STEPS: usize = 3;

fn check(precision: &str) {
    #[cfg(feature = "cuda")]
    let on_gpu = std::env::var("FERROTRON_KERNELS").as_deref() == Ok("cuda");
    #[cfg(not(feature = "cuda"))]
    let on_gpu = false;
    if !on_gpu {
        kernels::engine::pretend(kernels::host::Host::leaked());
    }
    let mut failed = vec![];
    for (model, chapter, layout) in CASES {
        if precision == "bf16" && chapter == 1 {
            continue;
        }
        let (kind, model) = wide_models()[model].clone();
        let what = format!("chapter {chapter} {layout}, {precision}, {kind}");
        match distances(precision, &model, chapter, layout) {
            Ok((found, bound)) => {
                println!("{what}: {found}");
                if let Err(error) = found.check(&bound) {
                    failed.push(format!("{what}: {error}"));
                }
            }
            Err(error) => failed.push(format!("{what}: {error:#}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// How far the layout on a device is from chapter 1 in fp64, and how far it may be.
fn distances(
    precision: &str,
    model: &hub::ModelConfig,
    chapter: usize,
    layout: &str,
) -> Result<(Distance, Distance)> {
    let files = Small::new(model)?;
    let flags = |precision: &str, rows: usize, rest: &str| -> Vec<String> {
        let flags = format!(
            "ferrotron --tokenizer bytes --workers 1 --threads 1 --isolate-documents \
             --warmup 2 --lr 2e-3 --validation-sequences 3 --quiet --global-batch 4 \
             --seq-len {SEQ_LEN} --micro-batch {rows} --steps {STEPS} \
             --precision {precision} {rest}"
        );
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut flags: Vec<String> =
            flags.split_whitespace().map(String::from).collect();
        flags.extend(["--model".into(), path(files.model())]);
        flags.extend(["--data".into(), path(&files.uneven())]);
        flags
    };
    let exact = train(1, &flags("fp64", 4, "--device cpu"))?;
    let exact = Reference::new(&exact.steps, exact.val_loss, &exact.params[0])?;
    let alone = train(2, &flags(precision, 4, "--device cpu"))?;
    let own = exact.compare(&alone.steps, alone.val_loss, &alone.params[0])?;
    let found =
        train(chapter, &flags(precision, 1, &format!("{layout} --device gpu")))?;
    let ranks: Vec<&Params> = found.params.iter().collect();
    let found = match chapter {
        // What each rank holds is a part of a flat buffer; its losses tell of all.
        8 => exact.compare(&found.steps, found.val_loss, &Params { flats: vec![] })?,
        _ => exact.compare_all(&found.steps, found.val_loss, &ranks)?,
    };
    // Four times as far; and no closer than roundings alone take what is small.
    let floor = if precision == "fp32" { 2e-6 } else { 2e-2 };
    let bound = own.times(4.0);
    let least = |x: f64| x.max(floor);
    let bound = Distance {
        loss: least(bound.loss),
        grad_norm: least(bound.grad_norm),
        gradient: (least(bound.gradient.0), String::new()),
        weight: (least(bound.weight.0), String::new()),
    };
    Ok((found, bound))
}

#[test]
fn every_chapter_on_a_device_in_fp32() {
    check("fp32");
}

#[test]
fn every_chapter_on_a_device_in_bf16() {
    check("bf16");
}
