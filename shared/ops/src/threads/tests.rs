//! Work is shared out once and whole, and a panic reaches the caller.
use super::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[test]
fn every_task_runs_once() {
    for threads in 1..5 {
        let _pool = own(threads);
        assert_eq!(count(), threads);
        for tasks in [0, 1, 2, 3, 17, 1000] {
            let ran: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            run(tasks, |i| {
                ran[i].fetch_add(1, Relaxed);
            });
            assert!(ran.iter().all(|n| n.load(Relaxed) == 1), "{threads} {tasks}");
        }
    }
    assert_eq!(count(), 1);
}

#[test]
fn pieces_cover_the_range_and_respect_the_grain() {
    let _pool = own(3);
    for (n, grain) in [(0, 1), (1, 1), (7, 0), (100, 7), (100, 1000), (12, 1)] {
        let sum = AtomicUsize::new(0);
        split(n, grain, |range| {
            assert!(range.len() >= grain.min(n) || range.end == n);
            sum.fetch_add(range.sum::<usize>(), Relaxed);
        });
        assert_eq!(sum.into_inner(), (0..n).sum::<usize>());
    }
}

#[test]
fn workers_really_run_at_the_same_time() {
    let _pool = own(3);
    for _ in 0..20 {
        // Nobody passes before all three are there: fewer threads would hang.
        let barrier = Barrier::new(3);
        run(3, |_| {
            barrier.wait();
        });
    }
}

#[test]
fn sleeping_workers_wake() {
    let _pool = own(2);
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let barrier = Barrier::new(2);
        run(2, |_| {
            barrier.wait();
        });
    }
}

#[test]
fn nested_regions_run_serially() {
    let _pool = own(2);
    let sum = AtomicUsize::new(0);
    run(4, |_| {
        assert_eq!(count(), 1);
        let me = std::thread::current().id();
        run(10, |i| {
            assert_eq!(std::thread::current().id(), me);
            sum.fetch_add(i, Relaxed);
        });
    });
    assert_eq!(sum.into_inner(), 4 * 45);
    assert_eq!(count(), 2);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let _pool = own(2);
    for at in [0, 1, 63] {
        let panic = std::panic::catch_unwind(|| {
            run(64, |i| {
                if i == at {
                    std::panic::panic_any(format!("task {i}"));
                }
            })
        });
        let said = panic.unwrap_err();
        assert_eq!(said.downcast_ref::<String>(), Some(&format!("task {at}")));
        assert_eq!(count(), 2);
    }
    let ran = AtomicUsize::new(0);
    run(64, |_| {
        ran.fetch_add(1, Relaxed);
    });
    assert_eq!(ran.into_inner(), 64);
}

#[test]
fn one_rank_cannot_block_another() {
    // Two ranks that exchange a message inside their regions: with a shared pool of two
    // threads, rank 0's tasks could take both and wait for ever.
    let (to_one, at_one) = std::sync::mpsc::channel();
    let (to_zero, at_zero) = std::sync::mpsc::channel::<usize>();
    let (at_zero, at_one) =
        (std::sync::Mutex::new(at_zero), std::sync::Mutex::new(at_one));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _pool = own(2);
            run(2, |i| {
                let got = at_zero.lock().unwrap().recv().unwrap();
                to_one.send(got + i).unwrap();
            });
        });
        scope.spawn(|| {
            let _pool = own(2);
            run(2, |i| {
                to_zero.send(i).unwrap();
                at_one.lock().unwrap().recv().unwrap();
            });
        });
    });
}

#[test]
fn many_ranks_with_pools_of_their_own_get_along() {
    std::thread::scope(|scope| {
        for rank in 0..6 {
            scope.spawn(move || {
                let _pool = own(2);
                for round in 0..200 {
                    let sum = AtomicUsize::new(0);
                    run(8, |i| {
                        sum.fetch_add(i + rank + round, Relaxed);
                    });
                    assert_eq!(sum.into_inner(), 28 + 8 * (rank + round));
                }
            });
        }
    });
}

#[test]
fn pools_nest_on_one_thread() {
    let _outer = own(3);
    {
        let _inner = own(2);
        assert_eq!(count(), 2);
    }
    assert_eq!(count(), 3);
    let _alone = own(1);
    assert_eq!(count(), 1);
}
