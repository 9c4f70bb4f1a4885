//! Replicas and buckets, without a training around them.
use candle_core::DType;
use ch04_data_parallel::gradients::Gradients;
use ch04_data_parallel::replicas::check_equal;
use comm::{Group, Layout, Mesh, launch};
use params::{Init, ParamBuilder, Params, accumulate};

/// Three flat buffers of sizes that two and three ranks do not divide.
fn params(seed: u64, dtype: DType) -> Params {
    let mut builder = ParamBuilder::new(seed, dtype);
    builder.add("a", &[3, 5], Init::Normal(1.0));
    builder.next_flat();
    builder.add("b", &[7], Init::Normal(1.0));
    builder.add("c", &[2, 2], Init::Normal(1.0));
    builder.next_flat();
    builder.add("d", &[1], Init::Ones);
    builder.build(1).unwrap()
}

/// Each rank's gradient of a flat buffer: its rank plus one.
fn fill(params: &Params, flat: usize, rank: usize) -> candle_core::Result<()> {
    accumulate::<f32>(&params.flats[flat].params, |grad, _| {
        grad.fill(rank as f32 + 1.0)
    })
}

fn sums(params: &Params) -> Vec<f32> {
    let first = |param: &params::Param| param.grad::<f32>().unwrap().to_vec();
    params.iter().flat_map(first).collect()
}

fn in_three(f: impl Fn(&Params, &Mesh) -> anyhow::Result<()> + Sync) {
    let run =
        |world| f(&params(1, DType::BF16), &Mesh::new(world, &Layout::default())?);
    launch(3, run).unwrap();
}

#[test]
fn equal_replicas_are_accepted_and_others_named() {
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        launch(3, |world| check_equal(&params(7, dtype), &world)).unwrap();
        let odd = |world: Group| {
            let seed = if world.rank() == 2 { 8 } else { 7 };
            check_equal(&params(seed, dtype), &world)
        };
        let error = launch(3, odd).unwrap_err().to_string();
        let what = "ranks 0 and 2 hold different parameters: give all ranks the same";
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn one_element_that_differs_is_found() {
    let run = |world: Group| {
        let params = params(7, DType::F32);
        if world.rank() == 1 {
            let param = params.get("c").unwrap();
            let mut values = param.values_mut::<f32>()?;
            values[3] = f32::from_bits(values[3].to_bits() ^ 1);
        }
        check_equal(&params, &world)
    };
    assert!(launch(2, run).unwrap_err().to_string().contains("ranks 0 and 1 hold"));
}

#[test]
fn each_bucket_is_summed_once_whenever_it_leaves() {
    in_three(|params, mesh| {
        for starts in [&[2, 1, 0][..], &[1, 1, 2, 0], &[0], &[], &[3, 2]] {
            params.begin_step()?;
            mesh.world().ledger().reset();
            let mut gradients = Gradients::new(params, mesh);
            let mut left = 3;
            for first in starts {
                // Backward has come this far.
                while left > *first {
                    left -= 1;
                    fill(params, left, mesh.world().rank())?;
                }
                gradients.start(*first)?;
            }
            (0..left).try_for_each(|flat| fill(params, flat, mesh.world().rank()))?;
            gradients.finish()?;
            assert_eq!(sums(params), vec![6.0; 27], "{starts:?}");
            // In fp32, of 15, 11 and 1 elements, in thirds.
            let booked = mesh.world().ledger().family("gradients");
            assert_eq!([booked.calls, booked.bytes], [3, 4 * 4 * (5 + 4 + 1)]);
        }
        Ok(())
    });
}

#[test]
fn a_bucket_without_its_gradients_does_not_leave() {
    in_three(|params, mesh| {
        params.begin_step()?;
        fill(params, 2, mesh.world().rank())?;
        let mut gradients = Gradients::new(params, mesh);
        let error = gradients.start(1).unwrap_err().to_string();
        assert!(error.contains("b received no gradient"), "{error}");
        Ok(())
    });
}

/// A rank that fails, or panics, with buckets under way takes the others with it.
#[test]
fn a_failure_in_the_middle_of_backward_reaches_all() {
    for panics in [false, true] {
        let run = |world: Group| -> anyhow::Result<()> {
            let params = params(1, DType::F32);
            let rank = world.rank();
            let mesh = Mesh::new(world, &Layout::default())?;
            params.begin_step()?;
            (0..3).try_for_each(|flat| fill(&params, flat, rank))?;
            let mut gradients = Gradients::new(&params, &mesh);
            gradients.start(1)?;
            if rank == 1 {
                assert!(!panics, "as asked");
                anyhow::bail!("as asked");
            }
            gradients.finish()?;
            Ok(())
        };
        let error = launch(3, run).unwrap_err().to_string();
        assert!(error.starts_with("rank 1") && error.contains("as asked"), "{error}");
    }
}

#[test]
fn a_bucket_under_way_cannot_be_written() {
    in_three(|params, mesh| {
        params.begin_step()?;
        (0..3).try_for_each(|flat| fill(params, flat, mesh.world().rank()))?;
        let mut gradients = Gradients::new(params, mesh);
        gradients.start(1)?;
        let error = fill(params, 1, 0).unwrap_err().to_string();
        assert!(error.contains("wanted to write"), "{error}");
        // The others can, meanwhile.
        fill(params, 0, mesh.world().rank())?;
        gradients.finish()?;
        fill(params, 1, 0)?;
        Ok(())
    });
}
