//! A check on several ranks ends in a failure, and not in a hang, when one panics.
use std::panic::catch_unwind;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;
use testkit::ranks;

/// What `ranks` panics with; fails if it hangs or does not panic.
fn failure(
    n: usize,
    f: impl Fn(usize) + Send + Sync + std::panic::UnwindSafe + 'static,
) -> String {
    let (sender, message) = mpsc::channel();
    std::thread::spawn(move || {
        let panic = catch_unwind(|| ranks(n, f)).expect_err("no rank panicked");
        let _ = sender.send(*panic.downcast::<String>().expect("a message"));
    });
    // Far more than it takes: a watchdog, not a measurement.
    let message = message.recv_timeout(Duration::from_secs(60));
    message.expect("`ranks` hangs, or did not panic, although a rank did")
}

#[test]
fn results_are_in_the_order_of_the_ranks() {
    let barrier = Barrier::new(3);
    let (turn, turns) = (Mutex::new(2), std::sync::Condvar::new());
    let squares = ranks(3, move |rank| {
        barrier.wait();
        // The last rank ends first.
        let mut next = turn.lock().unwrap();
        while *next != rank as i32 {
            next = turns.wait(next).unwrap();
        }
        *next -= 1;
        turns.notify_all();
        (rank, std::thread::current().name().unwrap().to_string())
    });
    let want = [(0, "rank 0"), (1, "rank 1"), (2, "rank 2")];
    assert_eq!(squares, want.map(|(rank, name)| (rank, name.to_string())));
    assert!(ranks(0, |rank| rank).is_empty());
}

#[test]
fn one_panics_while_the_others_wait_at_a_barrier() {
    let barrier = Arc::new(Barrier::new(4));
    let said = failure(4, move |rank| {
        assert!(rank != 2, "the gradient of rank {rank} is wrong");
        barrier.wait();
    });
    assert_eq!(said, "rank 2 of 4 panicked: the gradient of rank 2 is wrong");
}

#[test]
fn one_panics_after_the_others_are_done() {
    let barrier = Barrier::new(3);
    let said = failure(3, move |rank| {
        barrier.wait();
        if rank == 1 {
            panic!("too late")
        }
    });
    assert_eq!(said, "rank 1 of 3 panicked: too late");
}

#[test]
fn all_that_fail_are_named() {
    let barrier = Barrier::new(2);
    let said = failure(2, move |rank| {
        barrier.wait();
        panic!("{}", ["left", "right"][rank]);
    });
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort();
    let want = ["rank 0 of 2 panicked: left", "rank 1 of 2 panicked: right"];
    assert_eq!(lines, want);
}
