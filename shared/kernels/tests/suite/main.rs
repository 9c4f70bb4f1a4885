//! Each kernel beside the operation of `ops` that it is the twin of, which computes in
//! f64 on the same numbers.
//!
//! They run on the CPU, by `host/`. Outputs are poisoned before, and what lies around
//! every array is looked at after; and all is done twice, with the threads of a block
//! in either order, and must come to the same bits. With FERROTRON_KERNELS=cuda, and
//! the feature `cuda`, they run on a GPU.
//!
//! They are plain functions, in tables: tests/doctor takes this file in as a module.
#![cfg(target_os = "linux")]

/// Names, and what panics if something is wrong.
pub type Checks = &'static [(&'static str, fn())];

macro_rules! checks {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

mod adamw;
mod attention;
mod bias;
mod elementwise;
mod embedding;
pub(crate) mod gpu;
mod host;
mod loss;
#[cfg(feature = "cuda")]
mod matmul;
mod norm;
#[cfg(feature = "cuda")]
mod nvrtc;
mod reduce;
mod rope;
mod twin;

/// By module, those that run on any machine.
pub const ALL: &[(&str, Checks)] = &[
    ("adamw", adamw::CHECKS),
    ("attention", attention::CHECKS),
    ("bias", bias::CHECKS),
    ("elementwise", elementwise::CHECKS),
    ("embedding", embedding::CHECKS),
    ("loss", loss::CHECKS),
    #[cfg(feature = "cuda")]
    ("matmul", matmul::CHECKS),
    ("norm", norm::CHECKS),
    ("reduce", reduce::CHECKS),
    ("rope", rope::CHECKS),
];

/// By module, those that say something of a machine with a GPU and NVRTC alone.
pub const ON_GPU: &[(&str, Checks)] = &[
    #[cfg(feature = "cuda")]
    ("matmul", matmul::ON_GPU),
    #[cfg(feature = "cuda")]
    ("nvrtc", nvrtc::CHECKS),
];

#[test]
fn no_test_is_left_out_of_the_tables() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite");
    let mut left_out = vec![];
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let module = path.file_stem().unwrap().to_str().unwrap();
        let needs_cuda = ["matmul", "nvrtc"].contains(&module);
        if module == "main" || needs_cuda && !cfg!(feature = "cuda") {
            continue;
        }
        assert!(!text.contains("#[test]"), "{module}: a test that doctor cannot call");
        let is_there = |test: &str| {
            let of_module =
                ALL.iter().chain(ON_GPU).filter(|(name, _)| *name == module);
            of_module.flat_map(|(_, checks)| *checks).any(|(name, _)| *name == test)
        };
        for rest in text.split("#[cfg_attr(test, test)]\npub fn ").skip(1) {
            let test = rest.split('(').next().unwrap();
            if !is_there(test) {
                left_out.push(format!("{module}::{test}"));
            }
        }
    }
    assert!(left_out.is_empty(), "{left_out:?}");
}
