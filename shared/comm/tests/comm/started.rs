//! Calls that are started and waited for later: they overtake others, keep their
//! memory, and are booked as hidden.
use super::launch;
use comm::{Reduce, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn started_calls_come_in_order_and_overtake_other_groups() {
    for ranks in [2, 3, 5] {
        launch(ranks, |world| {
            let (me, n) = (world.rank(), world.size());
            let other = world.subgroup("other", &(0..n).collect::<Vec<_>>())?;
            let of = |k: usize| vec![(me + k) as f32; 2000 + k];
            let mut flying = vec![];
            for k in 0..20 {
                flying.push(world.start_all_reduce("grads", of(k), Reduce::Sum)?);
                if k % 3 == me % 3 {
                    // Ranks are at different places in the other group.
                    sleep(Duration::from_micros(300));
                }
                if k == 10 {
                    other.barrier("between")?;
                }
            }
            let want = |k: usize| (0..n).map(|r| (r + k) as f32).sum::<f32>();
            // Waited for backwards.
            for (k, pending) in flying.into_iter().enumerate().rev() {
                let x = pending.wait()?;
                assert!(x.len() == 2000 + k && x.iter().all(|x| *x == want(k)));
            }
            Result::Ok(())
        })
        .unwrap();
    }
}

/// While a call of one group waits for a rank, another group's goes on: that rank makes
/// it before it joins the first.
#[test]
fn a_call_in_flight_delays_no_other_group() {
    launch(2, |world| {
        let [a, b] = [world.subgroup("a", &[0, 1])?, world.subgroup("b", &[0, 1])?];
        let (x, y) = (vec![1f32; 9], vec![2f32; 9]);
        let (x, y) = if world.rank() == 0 {
            let first = a.start_all_reduce("x", x, Reduce::Sum)?;
            let second = b.start_all_reduce("y", y, Reduce::Sum)?;
            let y = second.wait()?;
            world.barrier("b is over")?;
            (first.wait()?, y)
        } else {
            let y = b.start_all_reduce("y", y, Reduce::Sum)?.wait()?;
            world.barrier("b is over")?;
            (a.start_all_reduce("x", x, Reduce::Sum)?.wait()?, y)
        };
        assert!(x == [2.0; 9] && y == [4.0; 9]);
        Result::Ok(())
    })
    .unwrap();
}

#[test]
fn gathers_and_scatters_in_place() {
    launch(3, |world| {
        let me = world.rank();
        let mut data = vec![0i64; 12];
        data[me * 4..me * 4 + 4].fill(me as i64 + 1);
        let data = world.start_all_gather("params", data)?.wait()?;
        assert_eq!(data, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        let data: Vec<f32> = (0..6).map(|i| (i * (me + 1)) as f32).collect();
        let data =
            world.start_reduce_scatter("grads", data, Reduce::Average)?.wait()?;
        for i in 0..6 {
            let own = i / 2 == me;
            let want = if own { i * 2 } else { i * (me + 1) };
            assert_eq!(data[i], want as f32, "{i} of rank {me}");
        }
        Result::Ok(())
    })
    .unwrap();
}

#[test]
fn messages_that_are_started_cross() {
    launch(2, |world| {
        let (me, other) = (world.rank(), 1 - world.rank());
        let mut sent = vec![];
        for k in 0..5 {
            sent.push(world.start_send("act", vec![(10 * me + k) as f32; 4], other)?);
        }
        for k in 0..5 {
            let x = world.start_recv("act", vec![0f32; 4], other)?.wait()?;
            assert_eq!(x, [(10 * other + k) as f32; 4]);
        }
        for pending in sent {
            pending.wait()?;
        }
        Result::Ok(())
    })
    .unwrap();
}

/// Memory that is dropped with its call stays until the call is over.
#[test]
fn dropping_waits() {
    launch(2, |world| {
        if world.rank() == 0 {
            drop(world.start_all_reduce("x", vec![1f32; 5000], Reduce::Sum)?);
            // Others' memory is over what was freed.
            let _other = vec![7f32; 5000];
            world.barrier("after")?;
        } else {
            sleep(Duration::from_millis(20));
            let mut x = vec![2f32; 5000];
            world.all_reduce("x", &mut x, Reduce::Sum)?;
            assert!(x.iter().all(|x| *x == 3.0));
            world.barrier("after")?;
        }
        Result::Ok(())
    })
    .unwrap();
}

#[test]
fn what_is_hidden_is_booked_as_such() {
    let paused = AtomicBool::new(false);
    let times = launch(2, |world| {
        if world.rank() == 1 {
            // Joins only after rank 0 has done something else for a while.
            while !paused.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(40));
        }
        let pending = world.start_all_reduce("x", vec![1f32; 100], Reduce::Sum)?;
        let start = Instant::now();
        if world.rank() == 0 {
            sleep(Duration::from_millis(20));
        }
        let pause = start.elapsed();
        paused.store(true, Ordering::SeqCst);
        pending.wait()?;
        let entry = world.ledger().family("x");
        Result::Ok((entry.overlapped, entry.exposed, pause))
    })
    .unwrap();
    let (hidden, exposed, pause) = times[0];
    // All of the pause, and hardly more; and then rank 1's.
    assert!(hidden >= pause, "{hidden:?} of {pause:?} were hidden");
    assert!(exposed >= Duration::from_millis(39), "{exposed:?} were waited");
}

#[test]
fn a_lease_of_a_boxed_slice_or_a_vector_will_do() {
    launch(2, |world| {
        let boxed: Box<[f32]> = vec![1.0; 3].into();
        let boxed = world.start_all_reduce("x", boxed, Reduce::Sum)?.wait()?;
        assert_eq!(*boxed, [2.0; 3]);
        Result::Ok(())
    })
    .unwrap();
}

/// Neither does waiting for one call hide another, nor does a moment count twice.
#[test]
fn a_moment_is_booked_once_whatever_is_under_way() {
    let books = launch(2, |world| {
        let mut books = vec![];
        for (family, busy) in [("waits", 0), ("computes", 15)] {
            world.barrier("turn")?;
            let begun = Instant::now();
            // Rank 1 comes late. Rank 0 has many calls under way then, which it took
            // some time to start, and waits for one after the other, or does something
            // else first.
            if world.rank() == 1 {
                sleep(Duration::from_millis(30));
            }
            let start = || world.start_all_reduce(family, vec![1f32; 9], Reduce::Sum);
            let all = (0..500).map(|_| start()).collect::<Result<Vec<_>>>()?;
            sleep(Duration::from_millis(busy));
            for pending in all {
                pending.wait()?;
            }
            books.push((world.ledger().family(family), begun.elapsed()));
        }
        Result::Ok(books)
    })
    .unwrap();
    for (entry, elapsed) in &books[0] {
        assert!(entry.overlapped + entry.exposed <= *elapsed, "{entry:?} {elapsed:?}");
    }
}

/// What every operation comes to when it was started.
#[test]
fn every_operation_can_be_started() {
    launch(3, |world| {
        let me = world.rank();
        let sent: Vec<f64> = (0..6).map(|i| (10 * me + i) as f64).collect();
        // Place i gets i + 1 of them.
        let from: Vec<usize> = vec![me + 1; 3];
        let leases = (sent, vec![0.0; 3 * (me + 1)]);
        let moved = world.start_all_to_all("x", leases, [&[1, 2, 3], &from])?;
        let data = vec![me as f32; 5];
        let told = world.start_broadcast("x", data, 2)?;
        let here = world.start_barrier("x")?;
        here.wait()?;
        assert_eq!(told.wait()?, [2.0; 5]);
        let (sent, got) = moved.wait()?;
        assert_eq!(sent[0], 10.0 * me as f64);
        let start = me * (me + 1) / 2;
        let of =
            |from: usize| (start..=start + me).map(move |i| (10 * from + i) as f64);
        assert_eq!(got, (0..3).flat_map(of).collect::<Vec<f64>>());
        let lines = world.ledger().lines();
        let operations: Vec<&str> = lines.iter().map(|line| line.operation).collect();
        assert_eq!(operations, ["all_to_all", "barrier", "broadcast"]);
        let wrong = world.start_broadcast("x", vec![0f32], 3).err().unwrap();
        let wrong = wrong.to_string();
        let what = "place 3, expected 0 to 2, at shared/comm/tests/";
        assert!(wrong.contains(what) && wrong.contains("comm/started.rs:"), "{wrong}");
        let leases = (vec![0f32; 2], vec![0f32; 3]);
        let wrong = world.start_all_to_all("x", leases, [&[1, 1, 1], &[1, 1, 1]]);
        assert!(wrong.err().unwrap().to_string().contains("2 elements, expected 3"));
        Result::Ok(())
    })
    .unwrap();
}
