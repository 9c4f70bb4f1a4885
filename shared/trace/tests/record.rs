//! One file for all ranks.
use candle_core::{Device, Tensor};
use comm::{Group, Reduce, launch};
use std::path::Path;

/// An operation and a call of its own on each rank.
fn train(world: &Group) -> anyhow::Result<usize> {
    let x = Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu)?;
    for _ in 0..=world.rank() {
        ops::add(&x, &x)?;
    }
    world.all_reduce("sums", &mut [1f32], Reduce::Sum)?;
    Ok(world.rank())
}

#[test]
fn all_ranks_are_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("of/all/trace.json");
    trace::check_writable(&path).unwrap();
    assert!(!path.exists(), "it only looked");
    let record = |world: Group| trace::record(Some(&path), &world, || train(&world));
    assert_eq!(launch(3, record).unwrap(), [0, 1, 2]);
    let text = std::fs::read_to_string(&path).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for rank in 0..3 {
        let count = |name: &str| {
            let own = events.iter().filter(|e| e["pid"] == rank && e["ph"] == "X");
            own.filter(|e| e["name"] == name && e["cat"] != "wait").count()
        };
        // An operation is cut where the rank waited.
        assert!(count("add") > rank && count("sums") == 1, "rank {rank}");
    }
}

#[test]
fn without_a_path_nothing_is_kept_or_sent() {
    let run = |world: Group| {
        trace::record(None, &world, || train(&world))?;
        assert_eq!(world.ledger().lines().len(), 1);
        assert!(world.ledger().take_spans().is_empty());
        anyhow::Ok(())
    };
    launch(2, run).unwrap();
}

#[test]
fn a_failure_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let fail = |world: Group| -> anyhow::Result<()> {
        trace::record(Some(&path), &world, || anyhow::bail!("as asked"))
    };
    assert!(launch(2, fail).unwrap_err().to_string().contains("as asked"));
    assert!(trace::check_writable(Path::new("/proc/no/trace.json")).is_err());
    assert!(trace::check_writable(folder.path()).is_err());
}

/// A name that the user gave twice by mistake costs nothing but the trace.
#[test]
fn only_an_earlier_trace_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    let record = |world: Group| trace::record(Some(&path), &world, || train(&world));
    launch(2, record).unwrap();
    trace::check_writable(&path).unwrap();
    launch(2, record).unwrap();
    for text in ["{\"text\": \"precious\"}\n", "{"] {
        std::fs::write(&path, text).unwrap();
        let error = trace::check_writable(&path).unwrap_err().to_string();
        assert!(error.contains("data.jsonl` is there and is no trace"), "{error}");
        let error = launch(2, record).unwrap_err().to_string();
        assert!(error.contains("is no trace"), "{error}");
        let fail = |world: Group| -> anyhow::Result<()> {
            trace::record(Some(&path), &world, || anyhow::bail!("as asked"))
        };
        launch(2, fail).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
