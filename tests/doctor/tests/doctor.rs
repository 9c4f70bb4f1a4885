//! What it says of a machine without CUDA's libraries; on one that has them, what it
//! says of flags.
use std::process::{Command, Output};

fn doctor(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doctor")).args(flags).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Without `name`, if that is not here; this test says nothing where it is.
#[cfg(feature = "cuda")]
fn is_here(name: &str) -> bool {
    // SAFETY: it is what doctor loads, too.
    unsafe { libloading::Library::new(name) }.is_ok()
}

#[test]
#[cfg(feature = "cuda")]
fn each_missing_library_is_named() {
    let names = ["libcuda.so", "libnvrtc.so", "libcublasLt.so", "libnccl.so"];
    // Where some are here, tests with all of them are its own job.
    if names.into_iter().any(is_here) {
        return;
    }
    let output = doctor(&[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for what in [
        "there is no driver for NVIDIA's GPUs: libcuda.so and libcuda.so.1 are not",
        "there is no NVRTC, which compiles kernels: libnvrtc.so and libnvrtc.so.13 are",
        "there is no cuBLASLt, which multiplies matrices: libcublasLt.so and",
        "there is no NCCL, by which GPUs communicate: libnccl.so is not",
    ] {
        assert!(words.contains(what), "{what}: {text}");
    }
    for what in ["driver", "NVRTC", "cuBLASLt", "NCCL", "GPUs", "rates", "checks"] {
        let line = format!("  missing  {what:<8} ");
        assert!(text.contains(&line), "{what}: {text}");
    }
    for what in ["--gpus all", "scripts/setup_cuda.sh", "LD_LIBRARY_PATH", "--on-cpu"] {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(text.contains("\n0 failed, 7 missing.\n"), "{text}");
    // Nothing is measured, and so not missed.
    let quick = doctor(&["--quick"]);
    assert!(
        String::from_utf8_lossy(&quick.stdout).contains("\n0 failed, 6 missing.\n")
    );
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_build_without_cuda_says_how_to_have_it() {
    let output = doctor(&[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("cargo run -p doctor --features cuda"), "{text}");
    assert!(text.contains("doctor --on-cpu"), "{text}");
}

#[test]
fn lines_fit_80_columns() {
    let text = text(&doctor(&[]));
    // Paths cannot be broken.
    for line in text.lines().filter(|line| !line.contains('/')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(text.contains("\n1. The machine\n  ok       CPU "), "{text}");
}

#[test]
fn wrong_flags_are_refused() {
    let output = doctor(&["--quickly"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--quickly") && output.stdout.is_empty(), "{error}");
}

/// Which needs a C compiler to be there.
#[test]
#[cfg(target_os = "linux")]
fn without_a_compiler_nothing_is_checked() {
    let output = Command::new(env!("CARGO_BIN_EXE_doctor"))
        .arg("--on-cpu")
        .env("PATH", "")
        .output()
        .unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("missing  checks   there is no C compiler"), "{text}");
}
