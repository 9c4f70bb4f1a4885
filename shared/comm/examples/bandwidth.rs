//! How fast ranks exchange, beside a plain copy of as many bytes:
//! `cargo run -p comm --example bandwidth [ROUNDS [RANKS KB]]`.
//!
//! For each number of ranks and size of buffer, the median of some rounds, in each of
//! which every operation and the copy had their turn, so that whatever else the machine
//! does hits all alike. The copy is made by as many threads, each its own buffer.
//!
//! An all-reduce of n ranks reads n buffers and writes n, each rank its part: a copy of
//! the n buffers, which reads and writes each once, moves as many bytes. So a ratio of
//! 1 would be a sum that costs nothing.
use comm::{Group, Reduce, Result, launch};
use std::time::Instant;

const SIZES: [usize; 6] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];
const OPERATIONS: [&str; 4] = ["copy", "all_reduce", "all_gather", "reduce_scatter"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Option<Vec<usize>> =
        words.iter().map(|word| word.parse().ok().filter(|n| *n > 0)).collect();
    match numbers.as_deref() {
        Some([]) => table(15),
        Some([rounds]) => table(*rounds),
        // For a script: the seconds of a copy and of each operation.
        Some([rounds, ranks, kb]) => {
            match launch(*ranks, |world| measure(&world, kb << 10, *rounds)) {
                Ok(times) => {
                    let seconds = times[0].map(|time| format!("{time:e}"));
                    println!("{}", seconds.join(" "))
                }
                Err(error) => fail(&error.to_string()),
            }
        }
        _ => fail("expected [ROUNDS [RANKS KB]], numbers of at least 1"),
    }
}

fn fail(why: &str) {
    eprintln!("error: {why}");
    std::process::exit(1)
}

fn table(rounds: usize) {
    println!(
        "Seconds relative to a copy of as many bytes; GB/s of each rank's buffer."
    );
    println!(
        "{:>5} {:>9} {:>12} {:>12} {:>14} {:>16}",
        "ranks", "KB", "copy, GB/s", "all_reduce", "all_gather", "reduce_scatter"
    );
    for ranks in [2, 4, 8] {
        for size in SIZES {
            match launch(ranks, |world| measure(&world, size, rounds)) {
                Ok(times) => show(ranks, size, &times[0]),
                Err(error) => fail(&error.to_string()),
            }
        }
    }
}

fn show(ranks: usize, size: usize, seconds: &[f64; 4]) {
    let [copy, rest @ ..] = seconds;
    let [reduce, gather, scatter] = rest.map(|time| time / copy);
    println!(
        "{ranks:>5} {:>9} {:>12.2} {reduce:>12.2} {gather:>14.2} {scatter:>16.2}",
        size >> 10,
        size as f64 / copy / 1e9
    );
}

/// Median seconds of each operation on buffers of so many bytes.
fn measure(world: &Group, size: usize, rounds: usize) -> Result<[f64; 4]> {
    let n = size / size_of::<f32>();
    let (mut data, mut other) = (vec![1f32; n], vec![0f32; n]);
    let part = n / world.size();
    let repeat = ((4 << 20) / size).max(1);
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds + 2 {
        for (which, times) in times.iter_mut().enumerate() {
            world.barrier("start")?;
            let start = Instant::now();
            for _ in 0..repeat {
                match OPERATIONS[which] {
                    "copy" => other.copy_from_slice(&data),
                    "all_reduce" => world.all_reduce("x", &mut data, Reduce::Max)?,
                    "all_gather" => {
                        let out = &mut other[..part * world.size()];
                        world.all_gather("x", &data[..part], out)?;
                    }
                    _ => {
                        let out = &mut other[..part];
                        let data = &data[..part * world.size()];
                        world.reduce_scatter("x", data, out, Reduce::Sum)?;
                    }
                }
                std::hint::black_box((&mut data, &mut other));
            }
            world.barrier("end")?;
            // The first rounds touch the memory.
            if round >= 2 {
                times.push(start.elapsed().as_secs_f64() / repeat as f64);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}
