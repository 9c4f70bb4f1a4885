//! Files in Hugging Face's form, on any number of ranks.
use candle_core::{DType, Device};
use ch05_tensor_parallel::model::Transformer;
use ch05_tensor_parallel::recompute::Recompute;
use ch05_tensor_parallel::tensor_parallel::{TensorParallel, check};
use ch05_tensor_parallel::{Config, weights};
use comm::{Layout, Mesh, launch};
use hub::Folder;
use params::ParamBuilder;
use std::path::{Path, PathBuf};

fn fixtures() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hf");
    let mut all: Vec<PathBuf> =
        all.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    assert!(all.len() >= 6);
    all
}

/// Loads a folder on so many ranks, each its slices, and saves it again.
fn again(from: &Path, to: &Path, ranks: usize, dtype: DType) {
    launch(ranks, |world| {
        let folder = Folder::open(&from.to_string_lossy())?;
        let model = folder.config()?;
        let layout = Layout { tp: ranks, ..Layout::default() };
        let mut mesh = Mesh::new(world, &layout)?;
        let tp = TensorParallel::new(&mut mesh, &model)?;
        let recompute = Recompute::new(&Config::default(), model.num_hidden_layers)?;
        let mut builder = ParamBuilder::new(1, dtype);
        Transformer::new(&tp, &model, 8, dtype, &recompute, &mut builder)?;
        let params = builder.build(1)?;
        weights::load(&params, &folder.weights()?)?;
        let held: usize = params.iter().map(|p| p.shard().held_elements()).sum();
        // Norms and shared heads are on every rank; all else is on one.
        assert!(ranks == 1 || (held as u64) < model.parameters() * 3 / 4);
        let tokenizer = corpus::Tokenizer::Bytes;
        weights::save(to, &model, &params, &tokenizer, mesh.model())
    })
    .unwrap();
}

#[test]
fn what_is_loaded_is_saved_identically() {
    let mut tried = 0;
    for from in fixtures() {
        let model = Folder::open(&from.to_string_lossy()).unwrap().config().unwrap();
        for ranks in [1, 2, 4, 8].into_iter().filter(|n| check(&model, *n).is_ok()) {
            for dtype in [DType::F32, DType::F64] {
                let to = tempfile::tempdir().unwrap();
                again(&from, to.path(), ranks, dtype);
                let read = |folder: &Path| {
                    let file = folder.join("model.safetensors");
                    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
                };
                let (before, after) = (read(&from), read(to.path()));
                for (name, tensor) in &after {
                    let bits = |tensor: &candle_core::Tensor| -> Vec<u32> {
                        let tensor = tensor.to_dtype(DType::F32).unwrap();
                        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>();
                        numbers.unwrap().into_iter().map(f32::to_bits).collect()
                    };
                    assert_eq!(before[name].dims(), tensor.dims(), "{name}");
                    assert!(
                        bits(&before[name]) == bits(tensor),
                        "{name}, {ranks} ranks"
                    );
                }
                assert_eq!(before.len(), after.len(), "{}", from.display());
                tried += usize::from(ranks > 1);
            }
        }
    }
    assert!(tried >= 12, "{tried}");
}

#[test]
fn a_folder_that_cannot_be_written_ends_all_ranks() {
    let from = &fixtures()[0];
    let run = || again(from, Path::new("/proc/none"), 2, DType::F32);
    let panic = std::panic::catch_unwind(run).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("/proc/none"), "{said}");
}
