//! The account against what was allocated. Each test uses ranks of its own, so that
//! tests may run side by side.

use memory::{
    Account, Family, RANKS, account, nobody, rank, reset_peak, set_rank, tag,
};
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::mpsc;

fn bytes(n: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(n))
}

#[test]
fn a_tag_ends_when_dropped_and_tags_nest() {
    set_rank(10);
    let before = account(10);
    let outer = tag(Family::Parameters);
    let a = bytes(1000);
    let inner = tag(Family::Gradients);
    let b = bytes(200_000);
    drop(inner);
    let c = bytes(10);
    drop(outer);
    let d = bytes(7);
    let now = account(10);
    let grown = |f: Family| now[f].live - before[f].live;
    assert_eq!(grown(Family::Parameters), 1010);
    assert_eq!(grown(Family::Gradients), 200_000);
    assert_eq!(grown(Family::Other), 7);
    assert_eq!(now.total.live - before.total.live, 201_017);
    drop((a, b, c, d));
    assert_eq!(live(10), live_of(&before));
}

#[test]
fn a_block_is_freed_from_the_account_it_was_made_for() {
    let (send, receive) = mpsc::channel();
    let maker = std::thread::spawn(move || {
        set_rank(11);
        let _tag = tag(Family::Optimizer);
        for size in [100, 100_000, 3_000_000] {
            send.send(bytes(size)).unwrap();
        }
    });
    let blocks: Vec<_> = receive.iter().collect();
    maker.join().unwrap();
    set_rank(12);
    let _tag = tag(Family::Scratch);
    let (other, here) = (account(11), account(12));
    assert!(other[Family::Optimizer].live >= 3_100_100);
    let blocks_alone: usize = blocks.iter().map(Vec::capacity).sum();
    blocks.into_iter().for_each(drop);
    let freed = other[Family::Optimizer].live - account(11)[Family::Optimizer].live;
    // The channel's own blocks may have been freed with them.
    assert!((3_100_100..3_110_000).contains(&freed), "{freed}");
    assert_eq!(blocks_alone, 3_100_100);
    assert!(account(12)[Family::Scratch].live <= here[Family::Scratch].live);
}

#[test]
fn what_the_process_keeps_is_no_ranks() {
    set_rank(17);
    let _tag = tag(Family::Optimizer);
    let nobodys = account(RANKS - 1)[Family::Other].live;
    let kept = {
        let _nobody = nobody();
        assert_eq!(rank(), RANKS - 1);
        bytes(100_000)
    };
    assert_eq!(account(RANKS - 1)[Family::Other].live - nobodys, 100_000);
    assert_eq!((rank(), account(17)), (17, Account::default()));
    drop(kept);
    assert_eq!(account(17), Account::default());
    let own = bytes(10);
    assert_eq!(account(17)[Family::Optimizer].live, own.capacity() as u64);
}

#[test]
fn growing_and_shrinking_keep_the_family() {
    set_rank(13);
    let mut v = {
        let _tag = tag(Family::Activations);
        bytes(16)
    };
    let _tag = tag(Family::Scratch);
    // Small to small, small to large, large in place, large to large, and back.
    for size in [16, 1000, 60_000, 70_000, 71_000, 5_000_000, 4_000_000, 65_000, 20] {
        v.clear();
        v.shrink_to(size);
        v.reserve_exact(size);
        assert_eq!(account(13)[Family::Activations].live, v.capacity() as u64);
        assert_eq!(account(13)[Family::Scratch].live, 0);
        assert_eq!(v.capacity(), size);
    }
}

#[test]
fn contents_survive_every_kind_of_move() {
    let mut v: Vec<u32> = Vec::new();
    let sizes =
        [3, 500, 20_000, 17_000, 1_000_000, 900_000, 100_000, 15_000, 4, 40_000];
    for size in sizes {
        v.truncate(size);
        v.shrink_to_fit();
        v.extend(v.len() as u32..size as u32);
        assert!(v.iter().enumerate().all(|(i, &x)| i as u32 == x), "at {size}");
    }
}

#[test]
fn the_peak_stays_until_it_is_reset() {
    set_rank(14);
    let _tag = tag(Family::Scratch);
    let keep = bytes(1 << 20);
    drop(bytes(8 << 20));
    let peak = account(14)[Family::Scratch].peak;
    assert_eq!(peak, 9 << 20);
    assert_eq!(account(14).total.peak, 9 << 20);
    reset_peak(14);
    assert_eq!(account(14)[Family::Scratch].peak, 1 << 20);
    drop(bytes(2 << 20));
    assert_eq!(account(14)[Family::Scratch].peak, 3 << 20);
    drop(keep);
}

#[test]
fn every_alignment_is_respected_and_zeroed_memory_is_zero() {
    for align in (0..16).map(|p| 1 << p) {
        for size in [1, 15, 4096, 65_536, 65_537, 1 << 20, (1 << 20) + 1] {
            let layout = Layout::from_size_align(size, align).unwrap();
            for _ in 0..3 {
                // SAFETY: not empty; written within its size; freed as it was made.
                unsafe {
                    let dirty = memory::Tagging.alloc(layout);
                    assert_eq!(dirty as usize % align, 0, "{layout:?}");
                    dirty.write_bytes(0xA5, size);
                    memory::Tagging.dealloc(dirty, layout);
                    let clean = memory::Tagging.alloc_zeroed(layout);
                    assert_eq!(clean as usize % align, 0, "{layout:?}");
                    let all = std::slice::from_raw_parts(clean, size);
                    assert!(all.iter().all(|&b| b == 0), "{layout:?}");
                    memory::Tagging.dealloc(clean, layout);
                }
            }
        }
    }
    let large = bytes(1 << 20);
    assert_eq!(large.as_ptr() as usize % 64, 0, "a buffer starts on a cache line");
}

#[test]
fn an_impossible_size_is_an_error_and_not_a_crash() {
    let before = live(0);
    for size in [1 << 49, isize::MAX as usize - 100, isize::MAX as usize] {
        let mut v: Vec<u8> = Vec::new();
        assert!(v.try_reserve_exact(size).is_err(), "{size}");
        v.reserve_exact(100);
        assert!(v.try_reserve_exact(size).is_err(), "{size}");
    }
    assert_eq!(live(0).len(), before.len());
}

#[test]
fn many_threads_end_where_they_began() {
    const THREADS: usize = 8;
    let ranks = 20..20 + THREADS;
    let before: Vec<_> = ranks.clone().map(live).collect();
    std::thread::scope(|scope| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..THREADS).map(|_| mpsc::channel::<(Vec<u64>, u64)>()).unzip();
        let mut threads = Vec::new();
        for (i, inbox) in receivers.into_iter().enumerate() {
            let next = senders[(i + 1) % THREADS].clone();
            threads.push(scope.spawn(move || churn(20 + i, inbox, next)));
        }
        drop(senders);
        // The scope's end alone would not wait for a thread's own last frees.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let after: Vec<_> = ranks.map(live).collect();
    assert_eq!(after, before);
}

#[test]
fn threads_of_one_rank_lose_no_count() {
    let before = live(30);
    std::thread::scope(|scope| {
        let work = || {
            set_rank(30);
            let _tag = tag(Family::Scratch);
            for i in 0..300_000 {
                drop(bytes(1 + i % 100));
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(live(30), before);
}

/// Allocates, grows, frees, and sends every other block to the next thread to free.
fn churn(
    rank: usize,
    inbox: mpsc::Receiver<(Vec<u64>, u64)>,
    next: mpsc::Sender<(Vec<u64>, u64)>,
) {
    set_rank(rank);
    let mut seed = rank as u64;
    for i in 0..3000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let family = Family::ALL[(seed >> 33) as usize % Family::ALL.len()];
        let _tag = tag(family);
        let words = 1 + (seed >> 40) as usize % (1 << (4 + (seed >> 35) % 12));
        let mut block = vec![0u64; words];
        assert!(block.iter().all(|&w| w == 0), "reused without zeroing");
        block.fill(seed);
        block.extend([seed; 3]);
        if i % 2 == 0 && next.send((block, seed)).is_err() {
            break;
        }
        if let Ok((block, seed)) = inbox.try_recv() {
            assert!(block.iter().all(|&w| w == seed), "another's block was written");
        }
    }
    drop(next);
    inbox.iter().for_each(|(block, seed)| assert!(block.iter().all(|&w| w == seed)));
}

#[test]
fn ranks_beyond_the_last_share_its_account() {
    set_rank(memory::RANKS + 5);
    assert_eq!(rank(), memory::RANKS - 1);
    let _tag = tag(Family::Gradients);
    let block = bytes(12345);
    assert_eq!(account(memory::RANKS - 1)[Family::Gradients].live, 12345);
    assert_eq!(account(1 << 40)[Family::Gradients].live, 12345);
    drop(block);
}

#[test]
fn a_new_thread_works_for_rank_zero_and_no_family() {
    set_rank(15);
    let _tag = tag(Family::Gradients);
    let before = account(15)[Family::Gradients].live;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            assert_eq!(rank(), 0);
            bytes(1 << 20)
        });
        let block = worker.join().unwrap();
        let grown = account(15)[Family::Gradients].live - before;
        assert!(grown < 100_000, "only the thread's own upkeep: {grown}");
        drop(block);
    });
}

#[test]
fn accounts_add_up() {
    set_rank(16);
    let _tag = tag(Family::Parameters);
    let block = bytes(1000);
    let sum = Account::sum([account(16), account(16)]);
    assert_eq!(sum[Family::Parameters].live, 2000);
    assert_eq!(sum.total.peak, 2 * account(16).total.peak);
    drop(block);
}

fn live_of(account: &Account) -> Vec<u64> {
    Family::ALL.iter().map(|&f| account[f].live).chain([account.total.live]).collect()
}

fn live(rank: usize) -> Vec<u64> {
    live_of(&account(rank))
}
