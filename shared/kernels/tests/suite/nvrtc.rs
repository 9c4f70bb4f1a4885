//! What NVRTC says of a source, or what is said where there is no NVRTC.
use super::Checks;
use kernels::cuda::{compile, nvrtc_version};
use kernels::{Number, Source};

pub const CHECKS: Checks = checks![
    a_broken_source_is_shown_with_its_line,
    assembly_is_assembled,
    flags_are_obeyed,
    what_is_missing_is_said,
];

#[cfg_attr(test, test)]
pub fn a_broken_source_is_shown_with_its_line() {
    let text = "#include \"common.h\"\n\nKERNEL(broken, Nothing) {}\n";
    let broken = Source { name: "broken.cu", text, dim: None };
    let error = compile(broken, Number::Bf16, 90).err().unwrap().to_string();
    let expected = match nvrtc_version() {
        Ok(_) => ["for Bf16 on sm_90", "broken.cu(3): error", "\"Nothing\""],
        Err(_) => ["no NVRTC", "libnvrtc.so.13", "scripts/setup_cuda.sh"],
    };
    for part in expected {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// PTX is not checked before it is assembled: what is written in assembly would pass.
#[cfg_attr(test, test)]
pub fn assembly_is_assembled() {
    let text = "extern \"C\" __global__ void k(int a) { asm volatile(\"movv;\"); }";
    let source = Source { name: "k.cu", text, dim: None };
    let error = compile(source, Number::F32, 90).err().unwrap();
    if nvrtc_version().is_ok() {
        assert!(error.to_string().contains("movv"), "{error}");
    }
}

/// Which type of number, and which size of heads.
#[cfg_attr(test, test)]
pub fn flags_are_obeyed() {
    let text = "#if !defined BF16 || DIM != 96\n#error these are others\n#endif\n";
    let of = |number, dim| {
        compile(Source { name: "flags.cu", text, dim: Some(dim) }, number, 90)
    };
    if nvrtc_version().is_ok() {
        assert!(of(Number::Bf16, 96).is_ok());
        assert!(of(Number::F32, 96).is_err());
        assert!(of(Number::Bf16, 64).is_err());
    }
}

/// Nowhere are there so many GPUs: an error, not a panic, whichever part is missing.
#[cfg_attr(test, test)]
pub fn what_is_missing_is_said() {
    let error = kernels::cuda::Device::new(usize::MAX).err().unwrap().to_string();
    let known = ["no driver", "no NVRTC", "no GPU", "is not here"];
    assert!(known.iter().any(|part| error.contains(part)), "{error}");
}
