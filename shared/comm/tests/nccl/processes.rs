//! Ranks that are processes, as torchrun starts them: this program starts itself.
#[path = "../mpi/cases.rs"]
mod cases;
#[path = "../mpi/parity.rs"]
mod parity;

use crate::gpu::{Fakes, Memory, in_use};
use crate::start::{CASE, Start, end};
use cases::{CASES, Case};
use comm::{Error, Group, Reduce};
use std::fmt::Display;
use std::thread::sleep;
use std::time::Duration;

pub fn launch<T: Send, E: Display + Send>(
    ranks: usize,
    f: impl Fn(Group) -> Result<T, E> + Sync,
) -> Result<Vec<T>, Error> {
    let count = std::env::var("GPUS").ok().and_then(|n| n.parse().ok());
    let count = count.unwrap_or(comm::ranks_here(ranks));
    comm::launch_on(&Fakes::new(count, Memory::Host), ranks, f)
}

/// One rank of a case, in a process of its own.
#[test]
fn as_a_rank() {
    let Ok(case) = std::env::var(CASE) else { return };
    let outcome = comm::processes().and_then(|ranks| {
        let ranks = ranks.expect("torchrun's variables");
        match &*case {
            "parity" => {
                parity::check(ranks)?;
                assert_eq!(in_use(), 0, "buffers were not given back");
                Ok(())
            }
            "without GPUs" => comm::launch(ranks, |_| Ok::<_, Error>(())).map(|_| ()),
            "another number" => launch(ranks + 1, |_| Ok::<_, Error>(())).map(|_| ()),
            name => match cases::find(name) {
                Some(case) => case.run(ranks),
                None => launch(ranks, |world| own(name, &world)).map(|_| ()),
            },
        }
    });
    if let Err(error) = outcome {
        eprintln!("Error: {}", error.to_string().replace('\n', " | "));
        std::process::exit(1);
    }
}

/// The cases of these tests alone.
fn own(case: &str, world: &Group) -> comm::Result<()> {
    let me = world.rank();
    let sum = |n: usize| world.all_reduce("grads", &mut vec![1f32; n], Reduce::Sum);
    sum(4)?;
    match case {
        "one is killed" | "rank 0 is killed" => {
            if me == usize::from(case == "one is killed") {
                // The others are in the call then.
                sleep(Duration::from_millis(1500));
                // SAFETY: ends this process, as by another's hand.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            sum(5)
        }
        "one exits" => {
            if me == 1 {
                sleep(Duration::from_millis(1500));
                std::process::exit(0);
            }
            sum(5)
        }
        "one dies at the end" => {
            if me == 1 {
                std::thread::spawn(|| {
                    sleep(Duration::from_millis(700));
                    // SAFETY: ends this process.
                    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) }
                });
            } else {
                sleep(Duration::from_millis(1500));
            }
            Ok(())
        }
        "one is slow" => {
            if me == 1 {
                sleep(Duration::from_secs(3));
            }
            sum(5)
        }
        "another order" => {
            let [a, b] = [world.subgroup("a", &[0, 1])?, world.subgroup("b", &[0, 1])?];
            let (first, second) = if me == 0 { (a, b) } else { (b, a) };
            first.barrier("x").and_then(|()| second.barrier("x"))
        }
        "a cable is pulled" => world.all_reduce("bytes", &mut [1u8; 13], Reduce::Sum),
        "all is well" => Ok(()),
        other => panic!("no case `{other}`"),
    }
}

#[test]
fn results_are_those_of_threads() {
    for (ranks, watched) in [(2, false), (4, false), (2, true)] {
        let ends = Start { watched, ..Start::of("parity", ranks) }.all();
        assert!(ends.iter().all(|(status, _)| *status == Some(0)), "{ends:?}");
    }
}

/// Of the table of what could hang under MPI, what is the same here.
#[test]
fn what_could_hang_ends_in_words() {
    // What MPI finds because lengths differ, and what ends because mpirun ends it.
    let others =
        ["too_much_comes", "far_too_much_comes", "too_little_comes", "one_exits"];
    let same = |case: &&Case| !others.contains(&case.name) && case.ended.is_empty();
    let cases: Vec<&Case> = CASES.iter().filter(same).collect();
    assert_eq!(cases.len(), 21);
    for case in cases {
        for watched in case.debug.iter().copied() {
            let ends = Start { watched, ..Start::of(case.name, case.ranks) }.all();
            let what = format!("{}, watched {watched}: {ends:#?}", case.name);
            for (rank, (status, said)) in ends.iter().enumerate() {
                assert_eq!(*status, Some(1), "rank {rank} of {what}");
                let told = said.lines().filter(|line| line.starts_with("told: "));
                let told: String = told.collect();
                assert_eq!(!told.is_empty(), case.told.contains(&rank), "{what}");
                for part in case.says.iter().filter(|_| !told.is_empty()) {
                    assert!(told.contains(part), "`{part}`, rank {rank} of {what}");
                }
            }
            let errors =
                ends.iter().filter(|(_, said)| said.contains("Error: ")).count();
            assert_eq!(errors, 1, "{what}");
        }
    }
}

/// Each rank that fails says all of these.
fn fails(start: &Start, ranks: &[usize], parts: &[&str]) {
    let ends = start.all();
    for rank in ranks {
        let (status, said) = &ends[*rank];
        assert_eq!(*status, Some(1), "rank {rank}: {ends:#?}");
        for part in parts {
            assert!(
                said.contains(part),
                "rank {rank} does not say `{part}`: {ends:#?}"
            );
        }
    }
}

#[test]
fn a_death_is_told_by_all_who_live() {
    for watched in [false, true] {
        let start = |case| Start { watched, ..Start::of(case, 3) };
        let parts = [
            "Error: rank 1 has died: its process ended without a word",
            "all_reduce (Sum) of 5 f32 for `grads`, at shared/comm/tests/nccl/",
            "call 1 of group world [0, 1, 2]",
        ];
        fails(&start("one is killed"), &[0, 2], &parts);
        fails(&start("one exits"), &[0, 2], &parts);
        let parts = ["Error: rank 0 has died", parts[1], parts[2]];
        fails(&start("rank 0 is killed"), &[1, 2], &parts);
    }
}

/// Who has returned owes nobody anything.
#[test]
fn a_death_after_the_end_is_none() {
    let start = Start { seconds: "3", ..Start::of("one dies at the end", 2) };
    let ends = start.all();
    let status = [ends[0].0, ends[1].0];
    assert_eq!(status, [Some(0), None], "{ends:#?}");
}

#[test]
fn the_clock_ends_what_nobody_watches() {
    let slow = Start { seconds: "1", ..Start::of("one is slow", 2) };
    let said = ["rank 0: all_reduce (Sum) of 5 f32", "not over after 1s"];
    let ends = slow.all();
    for part in said {
        assert!(ends[0].1.contains(part), "{ends:#?}");
    }
    assert!(ends.iter().all(|(status, _)| *status == Some(1)), "{ends:#?}");
    // One of both is told of first, and the other ends.
    let order = Start { seconds: "1", ..Start::of("another order", 2) };
    let ends = order.all();
    assert!(ends.iter().all(|(status, _)| *status == Some(1)), "{ends:#?}");
    let said = [&*ends[0].1, &*ends[1].1].concat();
    assert!(said.contains("barrier for `x`") && said.contains("after 1s"), "{said}");
    assert!(said.contains("FERROTRON_COMM_DEBUG=1"), "{said}");
    let none = Start { seconds: "0", ..Start::of("all is well", 2) };
    fails(&none, &[0, 1], &["FERROTRON_COMM_TIMEOUT is `0`, expected seconds"]);
}

/// NCCL says so itself, and all ranks hear it.
#[test]
fn an_error_of_nccl_is_told() {
    let ends = Start::of("a cable is pulled", 2).all();
    assert!(ends.iter().all(|(status, _)| *status == Some(1)), "{ends:#?}");
    let said = [&*ends[0].1, &*ends[1].1].concat();
    assert!(said.contains("NCCL: remote error (error 6): as asked"), "{said}");
    assert!(said.contains("all_reduce (Sum) of 13 u8 for `bytes`"), "{said}");
}

#[test]
fn what_does_not_fit_is_said() {
    let two = |case| Start::of(case, 2);
    fails(
        &two("without GPUs"),
        &[0, 1],
        &["torchrun started 2 processes", "launch_on_gpus"],
    );
    fails(&two("another number"), &[0, 1], &["3 ranks, but torchrun started 2"]);
    let three = Start::of("all is well", 3);
    let ends = Start { gpus: Some(2), ..three.clone() }.all();
    assert!(ends[2].1.contains("rank 2: it is process 2 of its host"), "{ends:#?}");
    assert!(ends[2].1.contains("has 2 GPUs"), "{ends:#?}");
    // All kernels would be on the first one.
    assert!(ends[1].1.contains("GPU 0, and its calls on GPU 1"), "{ends:#?}");
    assert!(ends.iter().all(|(status, _)| *status == Some(1)), "{ends:#?}");
    // Each sees its own alone.
    let ends = Start { gpus: Some(1), ..three }.all();
    assert!(ends.iter().all(|(status, _)| *status == Some(0)), "{ends:#?}");
}

#[test]
fn a_late_rank_is_waited_for_and_another_world_is_not() {
    let start = Start::of("all is well", 2);
    let first = start.start(0);
    sleep(Duration::from_millis(800));
    let ends = end(vec![first, start.start(1)]);
    assert!(ends.iter().all(|(status, _)| *status == Some(0)), "{ends:#?}");
    let start = Start::of("all is well", 2);
    let other = Start { size: 3, ..start.clone() };
    let ends = end(vec![start.start(0), other.start(1)]);
    for (status, said) in &ends {
        assert_eq!(*status, Some(1));
        assert!(said.contains("rank 1 was started as one of 3, rank 0"), "{ends:#?}");
    }
    let start = Start { seconds: "1", ..start };
    let ends = end(vec![start.start(0)]);
    assert!(ends[0].1.contains("rank 1 has not come within 1s, of 2"), "{ends:#?}");
}
