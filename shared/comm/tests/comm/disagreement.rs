//! The table of everything that could hang: each ends in an error on every rank that
//! names the ranks and what they were calling.
use super::launch;
use comm::{Error, Group, Reduce, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Runs `f`, and ends the process if it hangs.
pub fn watched<T>(f: impl FnOnce() -> T) -> T {
    let (over, waits) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout)
        {
            eprintln!("a hang");
            std::process::abort()
        }
    });
    let result = f();
    drop(over);
    watch.join().unwrap();
    result
}

/// Runs `f` on `ranks`, each of which must fail, with the same that the launch does.
fn fails(ranks: usize, f: impl Fn(&Group) -> Result<()> + Sync) -> String {
    let errors: Mutex<Vec<(usize, Error)>> = Mutex::default();
    let outcome = watched(|| {
        launch(ranks, |world| {
            let result = f(&world);
            let error = result.expect_err("this rank was not told");
            errors.lock().unwrap().push((world.rank(), error.clone()));
            // All later calls fail, too, and say the same.
            assert_eq!(world.barrier("after the end"), Err(error));
            Result::Ok(())
        })
    });
    let what = outcome.unwrap_err();
    let errors = errors.into_inner().unwrap();
    assert_eq!(errors.len(), ranks, "{what}");
    for (rank, error) in errors {
        assert_eq!(error, what, "rank {rank}");
    }
    what.to_string()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

fn sum(world: &Group, family: &'static str, n: usize) -> Result<()> {
    world.all_reduce(family, &mut vec![1f32; n], Reduce::Sum)
}

#[test]
fn another_operation() {
    let text = fails(3, |world| match world.rank() {
        1 => world.barrier("grads"),
        _ => sum(world, "grads", 4),
    });
    says(
        &text,
        &["call 0 of group world [0, 1, 2]", "rank 1: barrier for `grads`, at "],
    );
    says(&text, &["all_reduce (Sum) of 4 f32", "disagreement.rs:"]);
}

#[test]
fn another_shape() {
    let text = fails(2, |world| {
        world.barrier("before")?;
        sum(world, "grads", 4 + world.rank())
    });
    says(&text, &["call 1 of", "rank 0: all_reduce (Sum) of 4 f32", "of 5 f32"]);
}

#[test]
fn another_type() {
    let text = fails(2, |world| match world.rank() {
        0 => sum(world, "grads", 4),
        _ => world.all_reduce("grads", &mut [0f64; 4], Reduce::Sum),
    });
    says(&text, &["of 4 f32", "of 4 f64"]);
}

#[test]
fn another_reduction() {
    let text = fails(2, |world| match world.rank() {
        0 => sum(world, "grads", 4),
        _ => world.all_reduce("grads", &mut [0f32; 4], Reduce::Max),
    });
    says(&text, &["(Sum)", "(Max)"]);
}

/// The same operation, on the same number of elements, of something else.
#[test]
fn another_family() {
    let text = fails(2, |world| {
        let families = ["grads of a", "grads of b"];
        let order = if world.rank() == 0 { [0, 1] } else { [1, 0] };
        order.iter().try_for_each(|i| sum(world, families[*i], 4))
    });
    says(&text, &["`grads of a`", "`grads of b`", "call 0"]);
}

#[test]
fn another_root() {
    let text = fails(2, |world| world.broadcast("x", &mut [0f32; 2], world.rank()));
    says(&text, &["from place 0", "from place 1"]);
}

#[test]
fn other_counts() {
    // Each rank sends 1, 2 and 3 elements; one expects another number from one.
    for (liar, from, order) in [(0, 2, [0, 1, 2]), (2, 1, [0, 1, 2]), (2, 1, [2, 1, 0])]
    {
        let turn = AtomicUsize::new(0);
        let text = fails(3, |world| {
            let (me, to) = (world.rank(), [1, 2, 3]);
            let mut expected = [to[me]; 3];
            if me == liar {
                expected[from] += 5;
            }
            let mut out = vec![0f32; expected.iter().sum()];
            // They post one after the other: whoever is stopped is not waited for.
            let place = order.iter().position(|rank| *rank == me).unwrap();
            while turn.load(Ordering::SeqCst) < place {
                std::thread::yield_now();
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(20));
                    turn.fetch_add(1, Ordering::SeqCst)
                });
                world.all_to_all("tokens", &[0f32; 6], &mut out, [&to, &expected])
            })
        });
        says(&text, &["ranks disagree", "all_to_all of [1, 2, 3] f32 for ["]);
    }
}

/// What a rank sends itself, alone and among others.
#[test]
fn counts_that_differ_from_themselves() {
    for ranks in [1, 2] {
        let outcome = launch(ranks, |world| {
            let mut to = vec![0; ranks];
            let mut from = vec![0; ranks];
            (to[world.rank()], from[world.rank()]) = (200, 24);
            world.all_to_all("tokens", &[9u8; 200], &mut [0; 24], [&to, &from])
        });
        let text = outcome.unwrap_err().to_string();
        says(&text, &["what stays here has 24 elements, expected 200"]);
        let outcome = launch(ranks, |world| {
            let mut to = vec![2; ranks];
            to[world.rank()] = usize::MAX;
            world.all_to_all("tokens", &[9u8; 1], &mut [0; 1], [&to, &to])
        });
        assert!(outcome.is_err());
    }
}

#[test]
fn a_message_of_another_length() {
    let text = fails(2, |world| match world.rank() {
        0 => world.send("act", &[0f32; 3], 1),
        _ => world.recv("act", &mut [0f32; 4], 0),
    });
    says(&text, &["message 0 of", "send to place 1 of 3", "recv from place 0 of 4"]);
}

/// Two groups, in different order: each rank waits in another.
#[test]
fn another_order_of_groups() {
    let text = fails(2, |world| {
        let [a, b] = [world.subgroup("a", &[0, 1])?, world.subgroup("b", &[0, 1])?];
        let (first, second) = if world.rank() == 0 { (&a, &b) } else { (&b, &a) };
        sum(first, "grads", 4)?;
        sum(second, "grads", 4)
    });
    says(
        &text,
        &["ranks 0, 1 wait for what will never", "group a [0, 1]; waits for rank 1"],
    );
    says(&text, &["group b [0, 1]; waits for rank 0"]);
}

#[test]
fn three_groups_in_a_circle() {
    let text = fails(3, |world| {
        let me = world.rank();
        let pair = |i: usize| {
            let places = [i, (i + 1) % 3];
            places.contains(&me).then(|| world.subgroup("pair", &places)).transpose()
        };
        let pairs = [pair(0)?, pair(1)?, pair(2)?];
        // Each first with its successor.
        for i in [me, (me + 2) % 3] {
            if let Some(pair) = &pairs[i] {
                sum(pair, "x", 1)?;
            }
        }
        Ok(())
    });
    says(&text, &["rank 0:", "rank 1:", "rank 2:", "pair [2, 0]; waits for rank 0"]);
}

#[test]
fn everyone_sends_first() {
    let text = fails(3, |world| {
        let (next, previous) = ((world.rank() + 1) % 3, (world.rank() + 2) % 3);
        world.send("act", &[0f32; 2], next)?;
        world.recv("act", &mut [0f32; 2], previous)
    });
    says(&text, &["rank 2: send to place 0", "waits for rank 0"]);
}

#[test]
fn both_receive() {
    let text = fails(2, |world| world.recv("act", &mut [0f32], 1 - world.rank()));
    says(&text, &["recv from place 1 of 1 f32", "waits for rank 1"]);
}

#[test]
fn one_waits_for_a_started_call_that_the_other_never_starts() {
    let text = fails(2, |world| match world.rank() {
        0 => world
            .start_all_reduce("grads", vec![0f32; 4], Reduce::Sum)?
            .wait()
            .map(|_| ()),
        _ => world.recv("act", &mut [0f32], 0),
    });
    says(&text, &["rank 0: all_reduce", "rank 1: recv"]);
    // Where it was started, and not in the library.
    assert!(!text.contains("group.rs"), "{text}");
}

#[test]
fn one_returns_early() {
    // Before the others wait for it, and while they do.
    for pause in [0, 30] {
        let outcome = watched(|| {
            launch(3, |world| match world.rank() {
                1 => {
                    std::thread::sleep(Duration::from_millis(pause));
                    Result::Ok(())
                }
                _ => sum(&world, "grads", 4),
            })
        });
        let text = outcome.unwrap_err().to_string();
        // Whichever of the others came first.
        says(&text, &["rank 1: has returned", ": all_reduce (Sum) of 4 f32"]);
        says(&text, &["group world [0, 1, 2]; waits for ", "rank 1"]);
    }
}

#[test]
fn one_fails() {
    let outcome = launch(3, |world| match world.rank() {
        1 => Err("no such file".to_string()),
        _ => sum(&world, "grads", 4).map_err(|error| error.to_string()),
    });
    assert_eq!(outcome.unwrap_err().to_string(), "rank 1: no such file");
}

#[test]
fn one_panics() {
    for at in [0, 2] {
        let outcome = launch(3, |world| {
            sum(&world, "before", 4)?;
            if world.rank() == at {
                panic!("an index out of bounds");
            }
            sum(&world, "grads", 4)?;
            sum(&world, "more", 4)
        });
        let text = outcome.unwrap_err().to_string();
        assert_eq!(text, format!("rank {at} panicked: an index out of bounds"));
    }
}

/// A rank that takes its time is waited for, whatever the others do meanwhile.
#[test]
fn a_slow_rank_is_no_false_alarm() {
    launch(4, |world| {
        let pair = world
            .subgroup("pair", &[world.rank() / 2 * 2, world.rank() / 2 * 2 + 1])?;
        for round in 0..6 {
            if world.rank() == round % 4 {
                std::thread::sleep(Duration::from_millis(30));
            }
            sum(&pair, "pair", 3)?;
            sum(&world, "world", 3)?;
        }
        Result::Ok(())
    })
    .unwrap();
}

/// One rank is still computing while two others wait for each other: these two are told
/// meanwhile, and the third at its next call.
#[test]
fn a_circle_of_some_is_found_while_others_run() {
    let told = AtomicUsize::new(0);
    let text = fails(3, |world| {
        world.barrier("start")?;
        if world.rank() == 2 {
            while told.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            return world.barrier("end");
        }
        let error = world.recv("act", &mut [0f32], 1 - world.rank());
        told.fetch_add(1, Ordering::SeqCst);
        error
    });
    says(&text, &["ranks 0, 1 wait for", "rank 2: is computing", "rank 0: recv"]);
}

/// The cause is told, although a call in flight made others fail before it.
#[test]
fn the_cause_is_told_with_calls_in_flight() {
    for panics in [false, true] {
        let outcome = watched(|| {
            launch(2, |world| {
                if world.rank() == 0 {
                    let data = vec![0f32; 8];
                    let _flying = world.start_all_reduce("x", data, Reduce::Sum)?;
                    if panics {
                        panic!("the true cause");
                    }
                    return Err(anyhow("the true cause"));
                }
                world.subgroup("other", &[0, 1])?.barrier("y")
            })
        });
        let text = outcome.unwrap_err().to_string();
        says(&text, &["the true cause", "rank 0"]);
    }
}

/// An error of the program's own.
fn anyhow(why: &str) -> Error {
    launch(1, |_| Err::<(), _>(why)).unwrap_err()
}

#[test]
fn asking_again_and_again_comes_to_an_end() {
    let outcome = watched(|| {
        launch(2, |world| {
            if world.rank() == 0 {
                let pending =
                    world.start_all_reduce("x", vec![0f32; 8], Reduce::Sum)?;
                while !pending.is_over() {
                    std::thread::yield_now();
                }
                return pending.wait().map(|_| ());
            }
            Result::Ok(())
        })
    });
    says(&outcome.unwrap_err().to_string(), &["rank 1: has returned"]);
}

/// One that asks whether a call is over, and then does what the other needs for it.
#[test]
fn asking_is_not_waiting() {
    watched(|| {
        launch(2, |world| {
            let other = world.subgroup("other", &[0, 1])?;
            if world.rank() == 0 {
                let pending =
                    world.start_all_reduce("x", vec![1f32; 8], Reduce::Sum)?;
                std::thread::sleep(Duration::from_millis(20));
                assert!(!pending.is_over());
                other.barrier("first")?;
                pending.wait().map(|_| ())
            } else {
                other.barrier("first")?;
                sum(&world, "x", 8)
            }
        })
    })
    .unwrap();
}

#[test]
fn no_ranks_are_no_world() {
    assert!(launch(0, |_| Result::Ok(())).is_err());
}

/// An error that cannot even be shown.
#[test]
fn an_error_that_panics_is_a_panic() {
    struct Worse;
    impl std::fmt::Display for Worse {
        fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result {
            panic!("no words")
        }
    }
    let outcome = watched(|| {
        launch(2, |world| match world.rank() {
            0 => Err(Worse),
            _ => world.barrier("x").map_err(|_| Worse),
        })
    });
    says(&outcome.unwrap_err().to_string(), &["rank 0 panicked: no words"]);
}

/// Many ranks, groups and started calls, in an order of each rank's own, with pauses:
/// neither a false alarm nor a hang.
#[test]
fn a_storm() {
    for seed in 0..4u64 {
        launch(8, |world| {
            let me = world.rank();
            let row = world.split("row", (me / 4) as i64, me as i64)?;
            let column = world.split("column", (me % 4) as i64, me as i64)?;
            let mut state = seed * 977 + me as u64 + 1;
            let mut random = |n: u64| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state >> 33) % n
            };
            for _ in 0..40 {
                let a = row.start_all_reduce("a", vec![1f32; 300], Reduce::Sum)?;
                let b = column.start_all_reduce("b", vec![1f32; 200], Reduce::Sum)?;
                if random(4) == 0 {
                    std::thread::sleep(Duration::from_micros(random(200)));
                }
                let (next, previous) = ((me + 1) % 8, (me + 7) % 8);
                let mut out = [0u32];
                world.exchange("ring", &[me as u32], next, &mut out, previous)?;
                assert_eq!(out[0] as usize, previous);
                let (a, b) = if random(2) == 0 {
                    let a = a.wait()?;
                    (a, b.wait()?)
                } else {
                    let b = b.wait()?;
                    (a.wait()?, b)
                };
                assert!(a.iter().all(|x| *x == 4.0) && b.iter().all(|x| *x == 2.0));
            }
            Result::Ok(())
        })
        .unwrap();
    }
}
