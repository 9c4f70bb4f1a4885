//! The table of what could hang, or end without a word.
use super::launch;
use comm::{Error, Group, Reduce, Result};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

pub struct Case {
    pub name: &'static str,
    pub ranks: usize,
    /// Whether rank 0 watches: what is found in any case is tried in both.
    pub debug: &'static [bool],
    run: fn(&Group) -> Result<()>,
    /// What is in the error that each of these ranks gets.
    pub told: &'static [usize],
    pub says: &'static [&'static str],
    /// Ranks that are made to end from without, and what each then says.
    pub ended: &'static [(usize, &'static [&'static str])],
}

const WATCHED: &[bool] = &[true];
const ANY: &[bool] = &[false, true];

impl Case {
    pub fn run(&self, ranks: usize) -> Result<()> {
        let results = launch(ranks, |world| {
            let result = (self.run)(&world);
            if let Err(error) = &result {
                tell(&format!("told: {}\n", error.to_string().replace('\n', " | ")));
                // All later calls fail, too, and say the same.
                if !error.to_string().contains(OWN) {
                    assert_eq!(world.barrier("after the end").as_ref(), Err(error));
                }
            }
            result.map(|()| world.rank())
        })?;
        if self.name == AGAIN && results != [1] {
            launch(ranks, |world| world.barrier("the second time"))?;
        }
        Ok(())
    }
}

pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

fn sum(world: &Group, family: &'static str, n: usize) -> Result<()> {
    world.all_reduce(family, &mut vec![1f32; n], Reduce::Sum)
}

/// In one piece, so that other ranks' words are not in between.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// In the program's own errors.
const OWN: &str = "as asked";

fn own() -> Error {
    comm::launch_threads(1, |_| Err::<(), _>(OWN)).unwrap_err()
}

fn pause() {
    sleep(Duration::from_millis(300));
}

pub const CASES: &[Case] = &[
    Case {
        name: "another_operation",
        ranks: 3,
        debug: WATCHED,
        run: |world| match world.rank() {
            1 => world.barrier("grads"),
            _ => sum(world, "grads", 4),
        },
        told: &[0, 1, 2],
        says: &[
            "ranks disagree about call 0 of group world [0, 1, 2]",
            "rank 1: barrier for `grads`, at shared/comm/tests/",
            "mpi/cases.rs:",
            "all_reduce (Sum) of 4 f32",
        ],
        ended: &[],
    },
    Case {
        name: "another_shape",
        ranks: 2,
        debug: WATCHED,
        run: |world| {
            world.barrier("before")?;
            sum(world, "grads", 4 + world.rank())
        },
        told: &[0, 1],
        says: &["call 1 of", "rank 0: all_reduce (Sum) of 4 f32", "of 5 f32"],
        ended: &[],
    },
    Case {
        name: "another_type",
        ranks: 2,
        debug: WATCHED,
        run: |world| match world.rank() {
            0 => sum(world, "grads", 4),
            _ => world.all_reduce("grads", &mut [0f64; 4], Reduce::Sum),
        },
        told: &[0, 1],
        says: &["of 4 f32", "of 4 f64"],
        ended: &[],
    },
    Case {
        name: "another_reduction",
        ranks: 2,
        debug: WATCHED,
        run: |world| match world.rank() {
            0 => sum(world, "grads", 4),
            _ => world.all_reduce("grads", &mut [0f32; 4], Reduce::Max),
        },
        told: &[0, 1],
        says: &["(Sum)", "(Max)"],
        ended: &[],
    },
    Case {
        name: "another_family",
        ranks: 2,
        debug: WATCHED,
        run: |world| {
            let families = ["grads of a", "grads of b"];
            let order = if world.rank() == 0 { [0, 1] } else { [1, 0] };
            order.iter().try_for_each(|i| sum(world, families[*i], 4))
        },
        told: &[0, 1],
        says: &["`grads of a`", "`grads of b`", "call 0"],
        ended: &[],
    },
    Case {
        name: "another_root",
        ranks: 2,
        debug: WATCHED,
        run: |world| world.broadcast("x", &mut [0f32; 2], world.rank()),
        told: &[0, 1],
        says: &["from place 0", "from place 1"],
        ended: &[],
    },
    Case {
        name: "other_counts",
        ranks: 2,
        debug: WATCHED,
        run: |world| {
            let to = [[1, 2], [3, 1]][world.rank()];
            let from = [[1, 3], [4, 1]][world.rank()];
            let mut out = vec![0f32; from.iter().sum()];
            let data = vec![0f32; to.iter().sum()];
            world.all_to_all("tokens", &data, &mut out, [&to, &from])
        },
        told: &[0, 1],
        says: &["ranks disagree", "of [3, 1] f32 for [4, 1]"],
        ended: &[],
    },
    Case {
        name: "a_message_of_another_length",
        ranks: 2,
        debug: WATCHED,
        run: |world| match world.rank() {
            0 => world.send("act", &[0f32; 3], 1),
            _ => world.recv("act", &mut [0f32; 4], 0),
        },
        told: &[0, 1],
        says: &["message 0 of", "send to place 1 of 3", "recv from place 0 of 4"],
        ended: &[],
    },
    // Without the watch, what comes is too long.
    Case {
        name: "too_much_comes",
        ranks: 2,
        debug: &[false],
        run: |world| sum(world, "grads", 400 * (1 + world.rank())),
        told: &[0, 1],
        says: &["all_reduce (Sum) of ", "FERROTRON_COMM_DEBUG=1 tells"],
        ended: &[],
    },
    // Enough for MPI to copy from one process's memory to the other's; there must be
    // nothing behind what was asked for.
    Case {
        name: "far_too_much_comes",
        ranks: 2,
        debug: &[false],
        run: |world| match world.rank() {
            0 => world.send("act", &vec![1f32; 1 << 20], 1).and(world.barrier("end")),
            _ => {
                let mut all = vec![0f32; 1 << 20];
                let result = world.recv("act", &mut all[..1 << 14], 0);
                let first = all[1 << 14..].iter().position(|x| *x != 0.0);
                assert_eq!(first, None, "memory was overwritten");
                result
            }
        },
        told: &[0, 1],
        says: &["recv from place 0 of 16384"],
        ended: &[],
    },
    Case {
        name: "too_little_comes",
        ranks: 2,
        debug: &[false],
        run: |world| match world.rank() {
            0 => world.send("act", &[0f32; 3], 1).and(world.barrier("end")),
            _ => world.recv("act", &mut [0f32; 4], 0),
        },
        told: &[0, 1],
        says: &["recv from place 0 of 4", "rank 0 sent 12 bytes, expected 16"],
        ended: &[],
    },
    Case {
        name: "another_order_of_groups",
        ranks: 2,
        debug: WATCHED,
        run: |world| {
            let [a, b] = [world.subgroup("a", &[0, 1])?, world.subgroup("b", &[0, 1])?];
            let (first, second) = if world.rank() == 0 { (&a, &b) } else { (&b, &a) };
            sum(first, "grads", 4)?;
            sum(second, "grads", 4)
        },
        told: &[0, 1],
        says: &[
            "ranks 0, 1 wait for what will never",
            "group a [0, 1]; waits for rank 1",
            "group b [0, 1]; waits for rank 0",
        ],
        ended: &[],
    },
    Case {
        name: "three_groups_in_a_circle",
        ranks: 3,
        debug: WATCHED,
        run: |world| {
            let me = world.rank();
            // Each first with its successor.
            for i in [me, (me + 2) % 3] {
                sum(&world.subgroup("pair", &[i, (i + 1) % 3])?, "x", 1)?;
            }
            Ok(())
        },
        told: &[0, 1, 2],
        says: &["rank 0:", "rank 1:", "rank 2:", "pair [2, 0]; waits for rank 0"],
        ended: &[],
    },
    Case {
        name: "everyone_sends_first",
        ranks: 3,
        debug: WATCHED,
        run: |world| {
            let (next, previous) = ((world.rank() + 1) % 3, (world.rank() + 2) % 3);
            world.send("act", &[0f32; 2], next)?;
            world.recv("act", &mut [0f32; 2], previous)
        },
        told: &[0, 1, 2],
        says: &["rank 2: send to place 0", "waits for rank 0"],
        ended: &[],
    },
    Case {
        name: "both_receive",
        ranks: 2,
        debug: WATCHED,
        run: |world| world.recv("act", &mut [0f32], 1 - world.rank()),
        told: &[0, 1],
        says: &["recv from place 1 of 1 f32", "waits for rank 1"],
        ended: &[],
    },
    Case {
        name: "one_starts_what_the_other_never_does",
        ranks: 2,
        debug: WATCHED,
        run: |world| match world.rank() {
            0 => {
                let x = vec![0f32; 4];
                world.start_all_reduce("grads", x, Reduce::Sum)?.wait().map(|_| ())
            }
            _ => world.recv("act", &mut [0f32], 0),
        },
        told: &[0, 1],
        says: &["rank 0: all_reduce", "mpi/cases.rs", "rank 1: recv"],
        ended: &[],
    },
    Case {
        name: "a_circle_of_some_while_others_run",
        ranks: 3,
        debug: WATCHED,
        run: |world| {
            world.barrier("start")?;
            if world.rank() == 2 {
                pause();
                return world.barrier("end");
            }
            world.recv("act", &mut [0f32], 1 - world.rank())
        },
        told: &[0, 1, 2],
        says: &["ranks 0, 1 wait for", "rank 2: is computing", "rank 0: recv"],
        ended: &[],
    },
    Case {
        name: "one_returns_early",
        ranks: 3,
        debug: ANY,
        run: |world| match world.rank() {
            1 => Ok(()),
            _ => sum(world, "grads", 4),
        },
        told: &[0, 2],
        says: &[
            "rank 1: has returned",
            ": all_reduce (Sum) of 4 f32",
            "call 0 of group world [0, 1, 2]; waits for ",
        ],
        ended: &[],
    },
    Case {
        name: "one_returns_later",
        ranks: 3,
        debug: ANY,
        run: |world| match world.rank() {
            0 => {
                world.barrier("before")?;
                pause();
                Ok(())
            }
            _ => world.barrier("before").and_then(|()| sum(world, "grads", 1 << 20)),
        },
        told: &[1, 2],
        says: &["rank 0: has returned", "call 1 of group world [0, 1, 2]; waits for "],
        ended: &[],
    },
    // Few enough bytes to be on their way before anybody asks for them.
    Case {
        name: "a_message_that_nobody_receives",
        ranks: 2,
        debug: ANY,
        run: |world| match world.rank() {
            0 => world.send("act", &[1f32; 4], 1),
            _ => Ok(()),
        },
        told: &[0],
        says: &["send to place 1 of 4 f32", "rank 1: has returned"],
        ended: &[],
    },
    Case {
        name: "asking_again_and_again",
        ranks: 2,
        debug: ANY,
        run: |world| {
            if world.rank() == 1 {
                return Ok(());
            }
            let pending = world.start_all_reduce("x", vec![0f32; 8], Reduce::Sum)?;
            while !pending.is_over() {
                std::thread::yield_now();
            }
            pending.wait().map(|_| ())
        },
        told: &[0],
        says: &["rank 1: has returned"],
        ended: &[],
    },
    Case {
        name: "one_fails",
        ranks: 3,
        debug: ANY,
        run: |world| match world.rank() {
            1 => Err(own()),
            _ => sum(world, "grads", 1 << 20),
        },
        told: &[0, 1, 2],
        says: &["rank 0: as asked"],
        ended: &[],
    },
    Case {
        name: "one_panics",
        ranks: 3,
        debug: ANY,
        run: |world| {
            sum(world, "before", 4)?;
            if world.rank() == 2 {
                panic!("an index out of bounds");
            }
            sum(world, "grads", 4)
        },
        told: &[0, 1],
        says: &["rank 2 panicked: an index out of bounds"],
        ended: &[],
    },
    Case {
        name: "one_panics_with_a_call_in_flight",
        ranks: 2,
        debug: ANY,
        run: |world| {
            if world.rank() == 0 {
                let x = vec![0f32; 1 << 20];
                let _flying = world.start_all_reduce("x", x, Reduce::Sum)?;
                panic!("the true cause");
            }
            world.subgroup("other", &[0, 1])?.barrier("y")
        },
        told: &[1],
        says: &["rank 0 panicked with a call in flight"],
        ended: &[],
    },
    Case {
        name: "one_exits",
        ranks: 3,
        debug: ANY,
        run: |world| {
            sum(world, "before", 4)?;
            if world.rank() == 0 {
                std::process::exit(0);
            }
            sum(world, "grads", 4)
        },
        told: &[1, 2],
        says: &["rank 0: its process ends meanwhile"],
        ended: &[],
    },
    Case {
        name: "one_is_killed",
        ranks: 3,
        debug: ANY,
        run: |world| {
            sum(world, "before", 4)?;
            if world.rank() == 1 {
                pause();
                kill();
            }
            if world.rank() == 2 {
                sleep(Duration::from_secs(60));
            }
            world.subgroup("dp", &[0, 1])?.barrier("grads")
        },
        told: &[],
        says: &[],
        ended: &[
            (
                0,
                &[
                    "rank 0: terminated while waiting in barrier for `grads`, at \
                     shared/comm/tests/mpi/cases.rs:",
                    ": call 0 of group dp [0, 1], for rank 1",
                ],
            ),
            (2, &["rank 2: terminated while computing"]),
        ],
    },
    Case {
        name: "one_is_killed_in_the_middle",
        ranks: 2,
        debug: ANY,
        run: |world| {
            let mut data = vec![1f32; 1 << 24];
            let hangman = (world.rank() == 0).then(|| {
                std::thread::spawn(|| {
                    sleep(Duration::from_millis(700));
                    kill()
                })
            });
            for _ in 0..10_000 {
                world.all_reduce("grads", &mut data, Reduce::Max)?;
            }
            drop(hangman);
            Ok(())
        },
        told: &[],
        says: &[],
        ended: &[(
            1,
            &["rank 1: terminated while waiting in all_reduce (Max)", "rank 0"],
        )],
    },
    Case {
        name: "one_does_not_come_to_an_end",
        ranks: 2,
        debug: ANY,
        run: |world| {
            if world.rank() == 1 {
                sleep(Duration::from_secs(60));
            }
            Err(own())
        },
        told: &[0],
        says: &["as asked"],
        ended: &[(1, &["rank 1: terminated while computing"])],
    },
    Case {
        name: AGAIN,
        ranks: 3,
        debug: ANY,
        run: |world| world.barrier("the first time"),
        told: &[],
        says: &[],
        ended: &[(0, &["launch 1 of this process, but rank 1's has ended without"])],
    },
];

/// Of three processes, one launches once, the others twice.
const AGAIN: &str = "one_launches_once";

/// As by another's hand.
fn kill() {
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
