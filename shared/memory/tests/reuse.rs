//! Large blocks are reused, and returned when told. One test: it watches its process.
#![cfg(target_os = "linux")]

use memory::{cached, page_faults, process_peak, release};
use std::hint::black_box;

const MB: usize = 1 << 20;

fn touched(bytes: usize) -> Vec<u8> {
    black_box(vec![1u8; bytes])
}

/// Allocates, touches and frees 64 MB in `n` blocks; the page faults it took.
fn step(n: usize) -> u64 {
    let before = page_faults();
    let mut all: Vec<_> = (0..n).map(|_| touched(64 * MB / n - 4096)).collect();
    while all.pop().is_some() {}
    page_faults() - before
}

#[test]
fn what_was_freed_serves_again_in_any_size_until_released() {
    let pages = 64 * MB as u64 / 4096;
    assert!(step(16) > pages / 2, "fresh pages are faulted in");
    let peak = process_peak();
    for n in [16, 8, 32, 1, 16, 5] {
        let faults = step(n);
        assert!(faults < pages / 10, "{n} blocks took {faults} page faults");
    }
    assert!(process_peak() < peak + 4 * MB as u64, "{} {peak}", process_peak());
    assert!(cached() >= 63 * MB, "{}", cached());

    // Reused memory is cleared where zeros were asked for.
    let zeros = black_box(vec![0u8; 48 * MB]);
    assert!(zeros.iter().all(|&b| b == 0));
    drop(zeros);

    let resident = resident();
    let released = release();
    assert!(released >= 60 * MB, "{released}");
    assert!(cached() < MB, "{}", cached());
    assert!(resident - self::resident() >= 50 * MB);
    let before = page_faults();
    let zeros = black_box(vec![0u8; 48 * MB]);
    assert!(page_faults() - before < 100, "zeros were written to fresh zero pages");
    assert!(zeros.iter().all(|&b| b == 0));
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
