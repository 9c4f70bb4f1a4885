//! Which part of what a rank holds, written out.
use ch05_tensor_parallel::tensor_parallel::{Part, TensorParallel, check};
use comm::{Layout, Mesh, launch};
use hub::{Family, ModelConfig};
use params::{Init, ParamBuilder};

fn model(heads: usize, kv_heads: usize, mlp: usize) -> ModelConfig {
    ModelConfig {
        hidden_size: 48,
        head_dim: 6,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        intermediate_size: mlp,
        ..ModelConfig::defaults(Family::Llama)
    }
}

/// Of `units` of two elements each, what each of the ranks has.
fn parts(ranks: usize, units: usize) -> Vec<Part> {
    launch(ranks, |world| {
        let layout = Layout { tp: ranks, ..Layout::default() };
        let mut mesh = Mesh::new(world, &layout)?;
        let tp = TensorParallel::new(&mut mesh, &model(8, 2, 48))?;
        anyhow::Ok(tp.part(units, 2))
    })
    .unwrap()
}

#[test]
fn units_are_divided_or_shared() {
    let part = |range, copies| Part { whole: 8, range, copies };
    assert_eq!(parts(1, 4), [part(0..8, 1)]);
    assert_eq!(parts(2, 4), [part(0..4, 1), part(4..8, 1)]);
    let shared = [part(0..4, 2), part(0..4, 2), part(4..8, 2), part(4..8, 2)];
    let two = shared.map(|part| Part {
        whole: 4,
        range: part.range.start / 2..part.range.end / 2,
        ..part
    });
    assert_eq!(parts(4, 2), two);
    let all = parts(8, 1);
    assert!(all.iter().all(|part| *part == Part { whole: 2, range: 0..2, copies: 8 }));
}

#[test]
fn what_does_not_divide_is_named_with_what_would() {
    let says = |model: ModelConfig, ranks: usize, what: &str| {
        let error = check(&model, ranks).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    for ranks in [1, 2, 4, 8] {
        check(&model(8, 2, 48), ranks).unwrap();
        check(&model(8, 1, 48), ranks).unwrap();
    }
    says(model(8, 2, 48), 3, "its 8 heads do not divide by 3; 1, 2, 4, 8 would");
    says(model(8, 2, 48), 16, "do not divide by 16; 1, 2, 4, 8 would");
    says(model(12, 4, 48), 6, "nor share them evenly; 1, 2, 4, 12 would");
    says(model(8, 2, 44), 8, "the 44 channels of its MLP do not divide by 8; 1, 2, 4");
}

/// Of five words on four ranks each has two rows: the third has one of padding, the
/// last nothing else.
#[test]
fn a_vocabulary_that_does_not_divide_is_filled_up() {
    let rows = launch(4, |world| {
        let layout = Layout { tp: 4, ..Layout::default() };
        let mut mesh = Mesh::new(world, &layout)?;
        let tp = TensorParallel::new(&mut mesh, &model(8, 2, 48))?;
        let mut builder = ParamBuilder::new(1, candle_core::DType::F32);
        let table = builder.add_shard(tp.table("table", [5, 3]), Init::Normal(1.0));
        builder.build(1)?;
        let shard = table.shard().clone();
        let values = table.values::<f32>()?;
        let (held, padding) = values.split_at(shard.held_elements());
        assert!(held.iter().all(|x| *x != 0.0) && padding.iter().all(|x| *x == 0.0));
        anyhow::Ok((shard.offset[0], shard.shape[0], shard.padding))
    });
    assert_eq!(rows.unwrap(), [(0, 2, 0), (2, 2, 0), (4, 2, 1), (5, 2, 2)]);
}
