//! Everything that ranks can ask for, compared bit by bit with what threads make of it.
use super::launch;
use comm::{Group, Layout, Mesh, Number, Reduce, Result, launch_threads};
use half::{bf16, f16};
use std::thread::sleep;
use std::time::Duration;

/// What a rank has seen: names, and bytes or text.
type Seen = Vec<(String, Vec<u8>)>;

pub fn check(ranks: usize) -> Result<()> {
    // Twice: a program may launch again.
    for _ in 0..2 {
        let want = launch_threads(ranks, |world| everything(&world))?;
        let found = launch(ranks, |world| {
            let rank = world.rank();
            Result::Ok((rank, everything(&world)?))
        })?;
        assert_eq!(found.len(), 1, "ranks in this process");
        let (rank, found) = &found[0];
        assert_eq!(found.len(), want[*rank].len());
        for ((name, found), (same, want)) in found.iter().zip(&want[*rank]) {
            assert_eq!(name, same);
            assert!(found == want, "rank {rank}: {name}: {found:?}, expected {want:?}");
        }
        println!("rank {rank} is on {}", host());
        if *rank == 0 {
            // The others are ahead in the next launch, and already write letters.
            sleep(Duration::from_millis(200));
            println!("{} results of each of {ranks} ranks are the same", found.len());
        }
    }
    Ok(())
}

/// The name of this machine, or of what passes for one.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or("an unknown host".into(), |name| name.trim().to_string())
}

fn everything(world: &Group) -> Result<Seen> {
    let mut seen = vec![];
    numbers::<f64>(world, &mut seen)?;
    numbers::<f32>(world, &mut seen)?;
    numbers::<bf16>(world, &mut seen)?;
    numbers::<f16>(world, &mut seen)?;
    numbers::<i64>(world, &mut seen)?;
    numbers::<u32>(world, &mut seen)?;
    numbers::<u8>(world, &mut seen)?;
    started(world, &mut seen)?;
    groups(world, &mut seen)?;
    for comm::Line { family, group, operation: op, entry } in world.ledger().lines() {
        let line = format!("{} calls, {} bytes", entry.calls, entry.bytes);
        seen.push((format!("ledger: {family} {group} {op}"), line.into_bytes()));
        assert!(op == "send" || op == "recv" || entry.exposed.as_nanos() > 0);
    }
    Ok(seen)
}

/// Different on each rank, and of sums that depend on their order.
fn data<T: Number>(rank: usize, n: usize) -> Vec<T> {
    let value = |i: usize| {
        let x = (rank * 7919 + i * 104729) % 1009;
        if T::DTYPE.is_float() { x as f64 / 31.0 - 9.0 } else { (x % 251) as f64 }
    };
    (0..n).map(|i| T::from_f64(value(i))).collect()
}

fn bytes<T: Number>(data: &[T]) -> Vec<u8> {
    let (start, len) = (data.as_ptr().cast(), size_of_val(data));
    // SAFETY: numbers are plain bytes.
    unsafe { std::slice::from_raw_parts(start, len) }.to_vec()
}

/// Every operation on one type of numbers, of none, few, and more than a block.
fn numbers<T: Number>(world: &Group, seen: &mut Seen) -> Result<()> {
    let (me, size) = (world.rank(), world.size());
    let dtype = T::DTYPE.as_str();
    for n in [0, 1, 5, 1500] {
        let mut see = |what: &str, x: &[T]| {
            seen.push((format!("{what} of {n} {dtype}"), bytes(x)));
        };
        for how in [Reduce::Sum, Reduce::Max, Reduce::Average] {
            if how == Reduce::Average && !T::DTYPE.is_float() {
                continue;
            }
            let mut x = data::<T>(me, n);
            world.all_reduce("grads", &mut x, how)?;
            see(&format!("all_reduce ({how:?})"), &x);
            let mut x = vec![T::one(); n];
            world.reduce_scatter("grads", &data::<T>(me, n * size), &mut x, how)?;
            see(&format!("reduce_scatter ({how:?})"), &x);
            let x = data::<T>(me, n * size);
            let x = world.start_reduce_scatter("grads", x, how)?.wait()?;
            see(&format!("started reduce_scatter ({how:?})"), &x);
        }
        let mut x = vec![T::zero(); n * size];
        world.all_gather("params", &data::<T>(me, n), &mut x)?;
        see("all_gather", &x);
        let x = world.start_all_gather("params", data::<T>(me, n * size))?.wait()?;
        see("started all_gather", &x);
        for root in [0, size - 1] {
            let mut x = data::<T>(me, n);
            world.broadcast("tokens", &mut x, root)?;
            see(&format!("broadcast from {root}"), &x);
        }
        // None between some.
        let count = |from: usize, to: usize| (from + 2 * to) % 3 * (n / 2);
        let to: Vec<usize> = (0..size).map(|place| count(me, place)).collect();
        let from: Vec<usize> = (0..size).map(|place| count(place, me)).collect();
        let mut x = vec![T::zero(); from.iter().sum()];
        let y = data::<T>(me, to.iter().sum());
        world.all_to_all("tokens", &y, &mut x, [&to, &from])?;
        see("all_to_all", &x);
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        let mut x = vec![T::zero(); n];
        world.exchange("ring", &data::<T>(me, n), next, &mut x, previous)?;
        see("exchange", &x);
        // Two messages between the same ends, in order, beside the group's calls.
        if me == 0 {
            world.send("act", &data::<T>(5, n), 1)?;
            world.send("act", &data::<T>(6, n), 1)?;
        } else if me == 1 {
            for _ in 0..2 {
                world.recv("act", &mut x, 0)?;
                see("recv", &x);
            }
        }
        world.barrier("end")?;
    }
    Ok(())
}

/// Calls that are started in one order and waited for in another.
fn started(world: &Group, seen: &mut Seen) -> Result<()> {
    let (me, size) = (world.rank(), world.size());
    let all: Vec<usize> = (0..size).collect();
    let [a, b] = [world.subgroup("a", &all)?, world.subgroup("b", &all)?];
    let (mut first, mut second) = (vec![], vec![]);
    // Half of the ranks start all of one group's calls first.
    for k in 0..8 {
        let x = data::<f32>(me + k, 2000 + k);
        if me % 2 == 0 {
            first.push(a.start_all_reduce("x", x, Reduce::Sum)?);
        } else {
            second.push(b.start_all_gather("y", data::<f32>(me + k, 100 * size))?);
        }
    }
    for k in 0..8 {
        if me % 2 == 0 {
            second.push(b.start_all_gather("y", data::<f32>(me + k, 100 * size))?);
        } else {
            let x = data::<f32>(me + k, 2000 + k);
            first.push(a.start_all_reduce("x", x, Reduce::Sum)?);
        }
    }
    world.barrier("meanwhile")?;
    for pending in second.into_iter().rev() {
        seen.push(("overtaking".into(), bytes(&pending.wait()?)));
    }
    for pending in first {
        seen.push(("overtaken".into(), bytes(&pending.wait()?)));
    }
    // Of one group, blocking and started ones in turns; dropping waits.
    let pending = world.start_all_reduce("x", data::<bf16>(me, 999), Reduce::Sum)?;
    let mut x = data::<f64>(me, 10);
    world.all_reduce("x", &mut x, Reduce::Max)?;
    seen.push(("blocking".into(), bytes(&x)));
    seen.push(("before it".into(), bytes(&pending.wait()?)));
    drop(world.start_all_reduce("x", data::<f32>(me, 5000), Reduce::Sum)?);
    let counts: Vec<usize> = (0..size).map(|i| 3 * i + 1).collect();
    let leases =
        (data::<f16>(me, counts.iter().sum()), data::<f16>(0, size * (3 * me + 1)));
    let moved = world.start_all_to_all("x", leases, [&counts, &vec![3 * me + 1; size]]);
    let told = world.start_broadcast("x", data::<i64>(me, 77), size - 1)?;
    world.start_barrier("x")?.wait()?;
    seen.push(("told".into(), bytes(&told.wait()?)));
    seen.push(("moved".into(), bytes(&moved?.wait()?.1)));
    // Messages cross, and a rank that only asks comes to an end.
    let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
    let mut sent = vec![];
    for k in 0..5 {
        sent.push(world.start_send("act", data::<f32>(me * 10 + k, 40), next)?);
    }
    for _ in 0..5 {
        let pending = world.start_recv("act", vec![0f32; 40], previous)?;
        while !pending.is_over() {
            std::thread::yield_now();
        }
        seen.push(("message".into(), bytes(&pending.wait()?)));
    }
    sent.into_iter().try_for_each(|pending| pending.wait().map(|_| ()))
}

/// Groups by hand, by color and by axis.
fn groups(world: &Group, seen: &mut Seen) -> Result<()> {
    let (me, size) = (world.rank(), world.size());
    let parity = world.split("parity", (me % 2) as i64, -(me as i64))?;
    let mut members = vec![0u32; parity.size()];
    parity.all_gather("ranks", &[me as u32], &mut members)?;
    assert!(members.iter().zip(parity.members()).all(|(a, b)| *a as usize == *b));
    seen.push(("split".into(), bytes(&members)));
    // Backwards: sums are made in the order of the places.
    let back: Vec<usize> = (0..size).rev().collect();
    let mut x = data::<f32>(me, 3000);
    world.subgroup("back", &back)?.all_reduce("x", &mut x, Reduce::Sum)?;
    seen.push(("backwards".into(), bytes(&x)));
    let layout = Layout { tp: 2, ..Layout::default() };
    let mesh = Mesh::new(world.clone(), &layout)?;
    for axis in ["tp", "dp", "pp", "data", "model"] {
        let group = mesh.axis(axis)?;
        let mut x = data::<f32>(me, 77);
        group.all_reduce(axis_name(axis), &mut x, Reduce::Average)?;
        seen.push((format!("{axis} {:?}", group.members()), bytes(&x)));
    }
    let alone = world.subgroup("alone", &[me])?;
    let x = alone.start_all_reduce("x", data::<f32>(me, 3), Reduce::Sum)?.wait()?;
    seen.push(("alone".into(), bytes(&x)));
    Ok(())
}

fn axis_name(axis: &str) -> &'static str {
    if axis == "tp" { "tensor" } else { "others" }
}
