//! Our model against Hugging Face transformers', for every family and variant.
use candle_core::DType;
use std::path::{Path, PathBuf};
use testkit::{Reference, worst};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hf").join(name)
}

#[test]
fn every_fixture_is_reproduced() {
    for name in ["llama", "qwen3", "qwen2", "llama3", "yarn", "llama_v4"] {
        let folder = fixture(name);
        let reference = Reference::open(&folder).unwrap();
        let all = reference.compare(&folder.to_string_lossy(), DType::F32).unwrap();
        for one in worst(&all) {
            let bound = if one.kind == "gradients" { 1e-4 } else { 1e-5 };
            assert!(one.error <= bound, "{name}: {one:?}");
        }
    }
}

#[test]
fn an_error_that_is_no_number_is_the_worst() {
    let one = |error| testkit::Comparison { kind: "loss", name: "".into(), error };
    assert!(worst(&[one(1.0), one(f64::NAN), one(2.0)])[0].error.is_nan());
}
