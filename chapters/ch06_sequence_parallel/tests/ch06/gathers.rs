//! What a layer keeps for backward where the sequence is cut.
use candle_core::{DType, Device, Tensor};
use ch06_sequence_parallel::config::Switch;
use ch06_sequence_parallel::linear::ColumnParallel;
use ch06_sequence_parallel::tensor_parallel::TensorParallel;
use comm::{Layout, Mesh, launch};
use hub::{Family, ModelConfig};
use params::ParamBuilder;

/// The input of a column-parallel layer, all of the sequence, is there while it is
/// used, and gathered again in backward; the part is what stays.
#[test]
fn what_was_gathered_is_not_kept() {
    let (ranks, rows, seq, hidden) = (4, 2, 64, 512);
    let kept = launch(ranks, |world| {
        let me = world.rank();
        let model = ModelConfig {
            hidden_size: hidden,
            num_attention_heads: 4,
            num_key_value_heads: 4,
            ..ModelConfig::defaults(Family::Llama)
        };
        let mut kept = vec![];
        let layout = Layout { tp: ranks, ..Layout::default() };
        let mut mesh = Mesh::new(world, &layout)?;
        let tp = TensorParallel::new(&mut mesh, &model, Switch::On)?;
        let mut params = ParamBuilder::new(1, DType::F32);
        // So few outputs that they hardly count.
        let outputs = [("proj", tp.part(4, 1))];
        let layer =
            ColumnParallel::new(&tp, "x", &outputs, hidden, false, 0.1, &mut params);
        params.build(1)?;
        let x = Tensor::ones((rows, seq / ranks, hidden), DType::F32, &Device::Cpu)?;
        let live = || memory::account(me)[memory::Family::Activations].live;
        let before = live();
        let (y, tape) = ops::record(|| layer.forward(&x))?;
        kept.push(live() - before);
        let dx = tape.backward_from(&y, y.ones_like()?)?.only()?;
        assert_eq!(dx.dims(), x.dims());
        let again = mesh.world().ledger().family("f again");
        let part = (ranks - 1) * rows * seq / ranks * hidden * 4;
        assert_eq!([again.calls, again.bytes], [1, part as u64]);
        anyhow::Ok(kept[0])
    });
    // The outputs; this rank's part of the input is held by whoever made it.
    let whole = (rows * seq * hidden * 4) as u64;
    for kept in kept.unwrap() {
        assert!(kept < whole / 16, "{kept} bytes, and the gathered input is {whole}");
    }
}
