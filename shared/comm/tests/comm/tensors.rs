//! Collectives on tensors, beside what candle makes of all members' tensors.
use super::launch;
use candle_core::{DType, Device, Result, Tensor};
use comm::{Group, Reduce};

/// What rank `r` holds: whole numbers, exact in 8 bits, and of sums in any order.
fn of_rank(r: usize, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let data: Vec<f64> = (0..n).map(|i| ((7 * r + 3 * i) % 11) as f64).collect();
    Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)
}

#[track_caller]
fn same(a: &Tensor, b: &Tensor) {
    assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()));
    let numbers = |x: &Tensor| -> Vec<f64> {
        let x = x.to_dtype(DType::F64).and_then(|x| x.flatten_all()?.to_vec1());
        x.unwrap()
    };
    assert_eq!(numbers(a), numbers(b));
}

fn check(world: &Group, shape: &[usize], dtype: DType) -> Result<()> {
    let (n, me) = (world.size(), world.rank());
    let all: Vec<Tensor> =
        (0..n).map(|r| of_rank(r, shape, dtype)).collect::<Result<_>>()?;
    let mut sum = all[0].clone();
    for x in &all[1..] {
        sum = (sum + x)?;
    }
    let x = &all[me];
    same(&world.all_reduce_tensor("sum", x, Reduce::Sum)?, &sum);
    let started = world.start_all_reduce_tensor("sum", x, Reduce::Sum)?;
    same(&started.wait()?, &sum);
    // The input is what it was, and goes on being used.
    same(x, &of_rank(me, shape, dtype)?);
    for dim in 0..shape.len() {
        let gathered = Tensor::cat(&all, dim)?;
        same(&world.all_gather_tensor("gather", x, dim)?, &gathered);
        same(&world.start_all_gather_tensor("gather", x, dim)?.wait()?, &gathered);
        // A view with gaps, which lies elsewhere than it looks.
        let turned = gathered.transpose(0, shape.len() - 1)?;
        let part = |r: usize| turned.narrow(0, r % turned.dim(0)?, 1);
        let want: Vec<Tensor> = (0..n).map(part).collect::<Result<_>>()?;
        same(&world.all_gather_tensor("view", &part(me)?, 0)?, &Tensor::cat(&want, 0)?);
        if !shape[dim].is_multiple_of(n) {
            let error = world.reduce_scatter_tensor("scatter", x, dim, Reduce::Sum);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&format!("dimension {dim} among {n} ranks")));
            continue;
        }
        let each = shape[dim] / n;
        let own = sum.narrow(dim, me * each, each)?;
        let reduce = Reduce::Sum;
        same(&world.reduce_scatter_tensor("scatter", x, dim, reduce)?, &own);
        let started = world.start_reduce_scatter_tensor("scatter", x, dim, reduce)?;
        same(&started.wait()?, &own);
    }
    Ok(())
}

#[test]
fn they_are_what_candle_makes_of_all_members_tensors() {
    use DType::{BF16, F16, F32, F64, I64, U8, U32};
    for ranks in [1, 2, 3, 4] {
        for shape in [&[12][..], &[2, 12], &[3, 12, 5], &[4, 6, 2, 3]] {
            for dtype in [F64, F32, BF16, F16, I64, U32, U8] {
                launch(ranks, |world| check(&world, shape, dtype)).unwrap();
            }
        }
    }
}

#[test]
fn bytes_are_those_of_a_ring() {
    launch(4, |world| {
        let x = of_rank(world.rank(), &[2, 8, 3], DType::BF16)?;
        world.all_reduce_tensor("a", &x, Reduce::Sum)?;
        world.all_gather_tensor("b", &x, 1)?;
        world.start_reduce_scatter_tensor("c", &x, 1, Reduce::Sum)?.wait()?;
        let bytes = ["a", "b", "c"].map(|family| world.ledger().family(family).bytes);
        assert_eq!(bytes, [2 * 2 * 3 * 12, 2 * 3 * 48, 2 * 3 * 12]);
        Result::Ok(())
    })
    .unwrap();
}

/// What is dropped, and not waited for, is over all the same before its input is freed.
#[test]
fn a_pending_one_that_is_dropped_is_waited_for() {
    launch(2, |world| {
        for _ in 0..50 {
            let x = of_rank(world.rank(), &[5000], DType::F32)?;
            drop(world.start_all_reduce_tensor("dropped", &x, Reduce::Sum)?);
        }
        Result::Ok(())
    })
    .unwrap();
}

/// Around a ring, where everyone sends first; of a view, and of tensors that are freed
/// before they arrive.
#[test]
fn tensors_are_sent_while_the_sender_goes_on() {
    use DType::{BF16, F32, F64};
    for (n, dtype) in [(2, F64), (3, BF16), (4, F32)] {
        launch(n, |world| {
            let me = world.rank();
            let (next, before) = ((me + 1) % n, (me + n - 1) % n);
            let mut sent = vec![];
            for i in 0..5 {
                let x = of_rank(me + i, &[3, 4, 2], dtype)?.transpose(0, 1)?;
                sent.push(world.start_send_tensor("ring", &x, next)?);
            }
            for i in 0..5 {
                let got = world.recv_tensor("ring", (4, 3, 2), dtype, before)?;
                same(&got, &of_rank(before + i, &[3, 4, 2], dtype)?.transpose(0, 1)?);
            }
            sent.into_iter().try_for_each(|sent| sent.wait())?;
            let entry = world.ledger().family("ring");
            let bytes = 5 * 24 * dtype.size_in_bytes() as u64;
            assert_eq!((entry.calls, entry.bytes), (10, bytes));
            Result::Ok(())
        })
        .unwrap();
    }
    let run = |world: Group| match world.rank() {
        0 => world.start_send_tensor("x", &of_rank(0, &[3], DType::F32)?, 1)?.wait(),
        _ => world.recv_tensor("x", 4, DType::F32, 0).map(drop),
    };
    let error = launch(2, run).unwrap_err().to_string();
    assert!(error.contains("send to place 1 of 3 f32 for `x`"), "{error}");
    assert!(error.contains("recv from place 0 of 4 f32"), "{error}");
}

#[test]
fn ranks_that_disagree_about_a_shape_are_told() {
    let run = |world: Group| {
        let x = of_rank(0, &[2, 4 + world.rank()], DType::F32)?;
        world.all_reduce_tensor("sum", &x, Reduce::Sum).map(drop)
    };
    let error = launch(2, run).unwrap_err().to_string();
    assert!(error.contains("all_reduce (Sum) of 8 f32 for `sum`, at "), "{error}");
    assert!(error.contains("of 10 f32") && error.contains("tensors.rs"), "{error}");
}

#[test]
fn a_type_that_ranks_do_not_exchange_is_named() {
    launch(2, |world| {
        let x = Tensor::zeros(4, DType::F8E4M3, &Device::Cpu)?;
        let error = world.all_gather_tensor("gather", &x, 0).unwrap_err().to_string();
        assert!(error.contains("F8E4M3"), "{error}");
        let error = world.all_gather_tensor("gather", &x, 1).unwrap_err().to_string();
        assert!(error.contains("dimension 1"), "{error}");
        Result::Ok(())
    })
    .unwrap();
}
