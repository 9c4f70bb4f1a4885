//! What keeping large blocks is worth, against the alternatives, on this machine:
//! `cargo run -p memory --example policies`. Each line is a process of its own.
//!
//! - `system`: the C library's allocator as it comes.
//! - `mallopt`: the same (glibc only) told neither to map large blocks one by one
//!   (`M_MMAP_THRESHOLD`) nor to return the top of its heap (`M_TRIM_THRESHOLD`).
//! - `one arena`: that, and all threads in one arena (`M_ARENA_MAX`).
//! - `memory`: this crate.
//!
//! `reverse` allocates 200 blocks of 1–8 MB, writes all of each, and frees them in
//! reverse, each step. `layers` is nearer to training: forward, twelve layers keep ten
//! blocks each and use scratch in between; backward, gradients come and go
//! while the kept are freed. Last, the time of one small allocation and its free.

use memory::{Tagging, page_faults, process_peak};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

const STEPS: u32 = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, policy, pattern, threads] = &arguments[..] {
        return steps(policy, pattern, threads.parse().expect("a number of threads"));
    }
    println!("pattern   threads  policy      ms/step  faults/step  peak MB");
    for pattern in ["reverse", "layers"] {
        for threads in ["1", "2"] {
            for policy in ["system", "mallopt", "one arena", "memory"] {
                print!("{pattern:8}  {threads:7}  {policy:9}");
                std::io::Write::flush(&mut std::io::stdout()).expect("stdout");
                let me = std::env::current_exe().expect("this program's path");
                let child = Command::new(me).args([policy, pattern, threads]).status();
                assert!(child.expect("a child process").success());
            }
        }
    }
    pairs();
}

/// Runs the pattern on each of the threads; main only waits, as it does for ranks.
fn steps(policy: &str, pattern: &str, threads: usize) {
    let allocator: &'static (dyn GlobalAlloc + Sync) = match policy {
        "memory" => &Tagging,
        _ => &System,
    };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt may be called at any time.
    unsafe {
        if policy == "mallopt" || policy == "one arena" {
            assert_eq!(libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX), 1);
            assert_eq!(libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX), 1);
        }
        if policy == "one arena" {
            assert_eq!(libc::mallopt(libc::M_ARENA_MAX, 1), 1);
        }
    }
    let step = if pattern == "reverse" { reverse } else { layers };
    let run = |steps: u32| {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|_| scope.spawn(move || (0..steps).for_each(|_| step(allocator))))
                .collect();
            all.into_iter().for_each(|thread| thread.join().expect("a thread"));
        });
    };
    run(1);
    let (start, faults) = (Instant::now(), page_faults());
    run(STEPS);
    let ms = start.elapsed().as_secs_f64() * 1e3 / f64::from(STEPS);
    let faults = (page_faults() - faults) / u64::from(STEPS);
    println!("  {ms:9.1}  {faults:11}  {:7}", process_peak() >> 20);
}

type Allocator = &'static (dyn GlobalAlloc + Sync);

/// A block, written from end to end.
struct Block(Allocator, *mut u8, Layout);

impl Block {
    fn new(allocator: Allocator, bytes: usize) -> Block {
        let layout = Layout::from_size_align(bytes, 4).expect("a layout");
        // SAFETY: not empty, and written within its size.
        unsafe {
            let start = allocator.alloc(layout);
            assert!(!start.is_null());
            start.write_bytes(1, bytes);
            Block(allocator, black_box(start), layout)
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: made in `new` by this allocator with this layout.
        unsafe { self.0.dealloc(self.1, self.2) }
    }
}

fn reverse(allocator: Allocator) {
    let mut seed = 1u64;
    let mut all = Vec::new();
    for _ in 0..200 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        all.push(Block::new(allocator, (1 << 20) + (seed >> 33) as usize % (7 << 20)));
    }
    while all.pop().is_some() {}
}

fn layers(allocator: Allocator) {
    // KiB kept by a layer of hidden 768, MLP 2048, 512 tokens, and its scratch.
    const KEPT: [usize; 10] = [1536, 2, 1536, 512, 512, 1536, 24, 1536, 4096, 4096];
    let block = |kib: usize| Block::new(allocator, kib << 10);
    let mut kept = Vec::new();
    for _ in 0..12 {
        for kib in KEPT {
            drop(block(kib + 300));
            kept.push((kib, block(kib)));
        }
    }
    drop((block(64_000), block(1536))); // a chunk of logits
    let mut upstream = block(1536);
    while let Some((kib, saved)) = kept.pop() {
        let scratch = block(2 * kib);
        upstream = block(kib);
        drop((scratch, saved));
    }
    drop(upstream);
}

/// Nanoseconds for one small allocation and its free.
fn pairs() {
    let time = |allocator: Allocator, layout: Layout| {
        const PAIRS: u32 = 2_000_000;
        let round = || {
            let start = Instant::now();
            for _ in 0..PAIRS {
                // SAFETY: not empty, and freed as it was made.
                unsafe { allocator.dealloc(black_box(allocator.alloc(layout)), layout) }
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
        };
        (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
    };
    println!("\nns per allocation and free   system  memory");
    for size in [64, 1024, 16 << 10, 128 << 10, 4 << 20] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        let (system, ours) = (time(&System, layout), time(&Tagging, layout));
        println!("{size:8} bytes               {system:6.1}  {ours:6.1}");
    }
}
