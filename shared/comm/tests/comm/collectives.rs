//! What each call computes, of every type, on groups of every size, beside sums that
//! are written out.
use super::launch;
use candle_core::DType;
use comm::{Error, Group, Number, Reduce, Result};
use half::{bf16, f16};

/// What rank `r` holds at `i`: exact in 8 bits, and of sums in any order.
fn value(r: usize, i: usize) -> f64 {
    ((7 * r + 3 * i) % 11) as f64
}

fn data<T: Number>(r: usize, n: usize) -> Vec<T> {
    (0..n).map(|i| T::from_f64(value(r, i))).collect()
}

fn check<T: Number + PartialEq + std::fmt::Debug>() {
    for ranks in [1, 2, 3, 4, 7] {
        // None, fewer than ranks, not divisible, several blocks.
        for n in [0, 1, 5, 64, 2500] {
            launch(ranks, |world| all::<T>(&world, n)).unwrap();
        }
    }
}

fn all<T: Number + PartialEq + std::fmt::Debug>(world: &Group, n: usize) -> Result<()> {
    let (me, size) = (world.rank(), world.size());
    let of = |f: &dyn Fn(usize) -> f64, n: usize| -> Vec<T> {
        (0..n).map(|i| T::from_f64(f(i))).collect()
    };
    let sum = |i: usize| (0..size).map(|r| value(r, i)).sum::<f64>();
    let max = |i: usize| (0..size).map(|r| value(r, i)).fold(0.0, f64::max);

    let mut x = data::<T>(me, n);
    world.all_reduce("sum", &mut x, Reduce::Sum)?;
    assert_eq!(x, of(&sum, n));
    let mut x = data::<T>(me, n);
    world.all_reduce("max", &mut x, Reduce::Max)?;
    assert_eq!(x, of(&max, n));
    if T::DTYPE.is_float() {
        let mut x = data::<T>(me, n);
        world.all_reduce("average", &mut x, Reduce::Average)?;
        let mean = |i| {
            // As fp32 has it.
            if T::DTYPE == DType::F64 {
                sum(i) / size as f64
            } else {
                f64::from(sum(i) as f32 / size as f32)
            }
        };
        assert_eq!(x, of(&mean, n));
    } else {
        let error = world.all_reduce("average", &mut data::<T>(me, 4), Reduce::Average);
        assert!(error.unwrap_err().to_string().contains("no average"));
    }

    let part = data::<T>(me, n);
    let mut out = vec![T::zero(); n * size];
    world.all_gather("gather", &part, &mut out)?;
    let gathered: Vec<T> = (0..size).flat_map(|r| data::<T>(r, n)).collect();
    assert_eq!(out, gathered);

    let mut out = vec![T::one(); n];
    world.reduce_scatter("scatter", &data::<T>(me, n * size), &mut out, Reduce::Sum)?;
    assert_eq!(out, of(&|i| sum(me * n + i), n));

    for root in [0, size - 1] {
        let mut x = data::<T>(me, n);
        world.broadcast("broadcast", &mut x, root)?;
        assert_eq!(x, data::<T>(root, n));
    }

    // Rank r sends (r + i) % 3 + n / 8 elements to place i.
    let count = |r: usize, i: usize| (r + i) % 3 + n / 8;
    let to: Vec<usize> = (0..size).map(|i| count(me, i)).collect();
    let from: Vec<usize> = (0..size).map(|r| count(r, me)).collect();
    let x = data::<T>(me, to.iter().sum());
    let mut out = vec![T::zero(); from.iter().sum()];
    world.all_to_all("tokens", &x, &mut out, [&to, &from])?;
    let want: Vec<T> = (0..size)
        .flat_map(|r| {
            let start: usize = (0..me).map(|i| count(r, i)).sum();
            data::<T>(r, start + count(r, me)).split_off(start)
        })
        .collect();
    assert_eq!(out, want);

    if size > 1 {
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        let mut out = vec![T::zero(); n];
        world.exchange("ring", &data::<T>(me, n), next, &mut out, previous)?;
        assert_eq!(out, data::<T>(previous, n));
        // Two messages between the same ends, in order.
        match me {
            0 => {
                world.send("message", &data::<T>(5, n), 1)?;
                world.send("message", &data::<T>(6, n), 1)?;
            }
            1 => {
                for r in [5, 6] {
                    world.recv("message", &mut out, 0)?;
                    assert_eq!(out, data::<T>(r, n));
                }
            }
            _ => {}
        }
    }
    world.barrier("barrier")
}

#[test]
fn of_64_bit_floats() {
    check::<f64>();
}
#[test]
fn of_32_bit_floats() {
    check::<f32>();
}
#[test]
fn of_16_bit_floats() {
    check::<bf16>();
    check::<f16>();
}
#[test]
fn of_integers() {
    check::<i64>();
    check::<u32>();
    check::<u8>();
}

/// In the order of the ranks: these four give different sums in different orders.
#[test]
fn sums_are_made_in_the_order_of_the_ranks() {
    let values = [1e8f32, 1.0, -1e8, 1.0];
    let run = || {
        launch(4, |world| {
            let mut x = vec![values[world.rank()]; 3000];
            world.all_reduce("x", &mut x, Reduce::Sum)?;
            let mut part = [0.0; 5];
            let all = vec![values[world.rank()]; 20];
            world.reduce_scatter("x", &all, &mut part, Reduce::Sum)?;
            Result::Ok((x, part))
        })
    };
    let want = ((1e8f32 + 1.0) - 1e8) + 1.0;
    for (x, part) in run().unwrap() {
        assert!(x.iter().all(|x| *x == want) && part == [want; 5]);
    }
}

/// 16-bit numbers are summed in fp32 and rounded once.
#[test]
fn sixteen_bits_are_summed_in_thirty_two() {
    let sums = launch(5, |world| {
        let mut x = [bf16::from_f32(if world.rank() == 0 { 256.0 } else { 1.0 })];
        world.all_reduce("x", &mut x, Reduce::Sum)?;
        Result::Ok(x[0].to_f32())
    });
    // Each by itself, 256 + 1 would be 256.
    assert_eq!(sums.unwrap(), [260.0; 5]);
}

#[test]
fn a_nan_is_not_lost() {
    for at in 0..3 {
        let out = launch(3, |world| {
            let mut x = [if world.rank() == at { f32::NAN } else { 1.0 }];
            world.all_reduce("x", &mut x, Reduce::Max)?;
            Result::Ok(x[0])
        });
        assert!(out.unwrap().iter().all(|x| x.is_nan()), "at {at}");
    }
}

#[test]
fn groups_of_groups() {
    let out = launch(6, |world| {
        let me = world.rank();
        // Odd and even, the latter backwards.
        let key = if me % 2 == 0 { -(me as i64) } else { 0 };
        let group = world.split("parity", (me % 2) as i64, key)?;
        let want: &[usize] = if me % 2 == 0 { &[4, 2, 0] } else { &[1, 3, 5] };
        assert_eq!(group.members(), want);
        let mut all = [0u32; 3];
        group.all_gather("ranks", &[me as u32], &mut all)?;
        assert!(all.iter().zip(want).all(|(a, b)| *a as usize == *b));
        // Two of the same members and name do not take each other's calls.
        if group.rank() == 1 {
            return Result::Ok(());
        }
        let [a, b] =
            [group.subgroup("ends", &[0, 2])?, group.subgroup("ends", &[0, 2])?];
        let (mut x, mut y) = ([1.0f32], [10.0f32]);
        let (first, second) = (b.start_all_reduce("y", y.to_vec(), Reduce::Sum)?, &a);
        second.all_reduce("x", &mut x, Reduce::Sum)?;
        y.copy_from_slice(&first.wait()?);
        assert_eq!((x, y), ([2.0], [20.0]));
        Ok(())
    });
    out.unwrap();
}

#[test]
fn what_cannot_be_is_named() {
    let says = |what: &str, f: fn(&Group) -> Result<()>| {
        let error = launch(2, |world| f(&world)).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    says("out has 3 elements, expected 4", |world| {
        world.all_gather("x", &[1f32, 2.0], &mut [0.0; 3])
    });
    says("data has 3 elements, expected 4", |world| {
        world.reduce_scatter("x", &[1f32; 3], &mut [0.0; 2], Reduce::Sum)
    });
    says("place 2, expected 0 to 1", |world| world.broadcast("x", &mut [0f32], 2));
    says("is this rank itself", |world| world.send("x", &[0f32], world.rank()));
    says("counts has 1 elements, expected 2", |world| {
        world.all_to_all("x", &[1f32], &mut [0.0], [&[1], &[1]])
    });
    says("there is no 5, but 0 to 1", |world| world.subgroup("g", &[0, 5]).map(|_| ()));
    says("named twice", |world| world.subgroup("g", &[0, 1, 0]).map(|_| ()));
    says("is not in it", |world| world.subgroup("g", &[1 - world.rank()]).map(|_| ()));
}

#[test]
fn bytes_are_those_of_a_ring() {
    let books = launch(3, |world| {
        let mut x = vec![0f32; 10];
        // Padded to 12: four each, twice two steps.
        world.all_reduce("grads", &mut x, Reduce::Sum)?;
        world.all_reduce("grads", &mut x[..3], Reduce::Sum)?;
        world.all_gather("params", &[bf16::ZERO; 5], &mut [bf16::ZERO; 15])?;
        world.reduce_scatter("grads", &[0f64; 6], &mut [0.0; 2], Reduce::Sum)?;
        world.broadcast("tokens", &mut [0u32; 8], 1)?;
        let counts = [[1, 2, 3], [2, 0, 4], [3, 4, 5]];
        let me = world.rank();
        let from = counts[me];
        let n = counts[me].iter().sum();
        let to = from;
        let (data, mut out) = (vec![0u8; n], vec![0u8; n]);
        world.all_to_all("tokens", &data, &mut out, [&to, &from])?;
        world.exchange(
            "ring",
            &[0f32; 7],
            (me + 1) % 3,
            &mut [0.0; 7],
            (me + 2) % 3,
        )?;
        world.barrier("end")?;
        Result::Ok(world.ledger().clone())
    })
    .unwrap();
    for (me, ledger) in books.iter().enumerate() {
        let entry = |family: &str, op: &str| {
            let all = ledger.lines();
            let found = all.iter().find(|l| (l.family, l.operation) == (family, op));
            found.map(|line| (line.entry.calls, line.entry.bytes)).unwrap()
        };
        assert_eq!(entry("grads", "all_reduce"), (2, (2 * 2 * 4 + 2 * 2) * 4));
        assert_eq!(entry("params", "all_gather"), (1, 2 * 5 * 2));
        assert_eq!(entry("grads", "reduce_scatter"), (1, 2 * 2 * 8));
        // Root 1 sends to 2, 2 to 0; 0 is the last.
        let sends = if me == 0 { 0 } else { 8 * 4 };
        assert_eq!(entry("tokens", "broadcast"), (1, sends));
        let stays = [1, 0, 5][me];
        let all = [6, 6, 12][me];
        assert_eq!(entry("tokens", "all_to_all"), (1, all - stays));
        assert_eq!(entry("ring", "send"), (1, 28));
        assert_eq!(entry("end", "barrier"), (1, 0));
        let grads = ledger.family("grads");
        assert_eq!(grads.bytes, (2 * 2 * 4 + 2 * 2) * 4 + 2 * 2 * 8);
        assert_eq!(grads.calls, 3);
        // What was taken is still in the sum.
        assert_eq!(ledger.take(), ledger.lines());
        assert!(ledger.take().is_empty());
        let table = ledger.to_string();
        assert!(table.contains("grads") && table.contains("in all"), "{table}");
        ledger.reset();
        assert!(ledger.lines().is_empty());
    }
}

/// A group of one sends nothing and books nothing, and computes all the same.
#[test]
fn a_group_of_one() {
    launch(2, |world| {
        let alone = world.subgroup("alone", &[world.rank()])?;
        let mut x = [3f32, 4.0];
        alone.all_reduce("x", &mut x, Reduce::Average)?;
        assert_eq!(x, [3.0, 4.0]);
        let mut out = [0.0; 2];
        alone.all_gather("x", &x, &mut out)?;
        assert_eq!(out, x);
        assert_eq!(
            alone.start_all_reduce("x", vec![1f32], Reduce::Sum)?.wait()?,
            [1.0]
        );
        assert!(world.ledger().lines().is_empty());
        Result::Ok(())
    })
    .unwrap();
}

#[test]
fn an_error_of_ours_is_one_of_candles() {
    let error: Error = launch(1, |_| Err::<(), _>("as asked")).unwrap_err();
    assert_eq!(error.to_string(), "rank 0: as asked");
    let candle: candle_core::Error = error.into();
    assert!(candle.to_string().contains("as asked"));
}
