//! GFLOP/s of everything that can multiply matrices here, on the shapes of training.
//!
//! ```text
//! cargo run --release -p ops --example gemm_bench [THREADS [f32|f64|bf16|f16]]
//! python3 shared/ops/examples/gemm_bench.py [THREADS]      # the same from torch (MKL)
//! ```
//!
//! Each figure is the best of many calls, made in turn with those of the other columns,
//! so that a busy machine treats all alike.

use half::{bf16, f16};
use ops::gemm::{Mat, MatMut, On, Store, gemm};
use ops::threads;
use ops::tune::{Choice, peak_flops, pin, report};
use params::Element;
use std::time::{Duration, Instant};

/// Tokens, outputs and inputs of the linears of `tiny` and of `small`.
const SHAPES: [(usize, usize, usize); 10] = [
    (1024, 512, 256),
    (1024, 256, 256),
    (1024, 1408, 256),
    (1024, 256, 704),
    (256, 4096, 256),
    (512, 1280, 768),
    (512, 768, 768),
    (512, 4096, 768),
    (512, 768, 2048),
    (128, 32000, 768),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let threads = args.next().map_or(1, |n| n.parse().expect("a number of threads"));
    let _pool = threads::own(threads);
    match args.next().as_deref().unwrap_or("f32") {
        "f64" => table::<f64>(),
        "f32" => table::<f32>(),
        "bf16" => table::<bf16>(),
        "f16" => table::<f16>(),
        other => panic!("no type {other}: f32, f64, bf16 or f16"),
    }
    println!("\npicked:\n{}", report());
}

fn table<T: Element>() {
    let choices = Choice::ALL.map(|(choice, _)| choice);
    let choices: Vec<Choice> = choices.into_iter().filter(|c| c.here()).collect();
    println!(
        "{:?}, {} threads, peak {:.0} GFLOP/s",
        T::DTYPE,
        threads::count(),
        peak_flops(T::DTYPE).unwrap_or_default() / 1e9
    );
    print!("tokens    out     in         ");
    choices.iter().for_each(|choice| print!("{:>9}", choice.to_string()));
    println!();
    for (n, o, i) in SHAPES {
        let numbers = |len| vec![T::from_f64(0.5); len];
        let (x, w, dy) = (numbers(n * i), numbers(o * i), numbers(n * o));
        let (mut y, mut dx) = (numbers(n * o), numbers(n * i));
        // Main gradients are at least f32.
        let mut dw = vec![T::Acc::default(); o * i];
        let (x, w, dy) = (Mat::new(&x, n, i), Mat::new(&w, o, i), Mat::new(&dy, n, o));
        let flop = (2 * n * o * i) as f64;
        let all = On::AllThreads;
        line("forward", (n, o, i), flop, &choices, || {
            gemm(MatMut::new(&mut y, n, o), Store::Set, x, w.t(), all)
        });
        line("dgrad", (n, o, i), flop, &choices, || {
            gemm(MatMut::new(&mut dx, n, i), Store::Set, dy, w, all)
        });
        line("wgrad", (n, o, i), flop, &choices, || {
            gemm(MatMut::new(&mut dw, o, i), Store::Add, dy.t(), x, all)
        });
    }
}

/// Times one product with every choice in turn.
fn line(
    name: &str,
    (n, o, i): (usize, usize, usize),
    flop: f64,
    choices: &[Choice],
    mut product: impl FnMut(),
) {
    let mut best = vec![f64::INFINITY; choices.len()];
    let begin = Instant::now();
    let mut rounds = 0;
    // The first rounds are the tuner's.
    while rounds < 40 || begin.elapsed() < Duration::from_millis(300) {
        for (choice, best) in choices.iter().zip(&mut best) {
            pin(*choice).expect("filtered");
            let start = Instant::now();
            product();
            *best = best.min(start.elapsed().as_secs_f64());
        }
        rounds += 1;
        if rounds > 3 && begin.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    print!("{n:6} {o:6} {i:6}  {name:8}");
    best.iter().for_each(|seconds| print!("{:9.1}", flop / seconds / 1e9));
    println!();
}
