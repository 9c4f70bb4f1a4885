//! CUDA's libraries: whether they are found, which, and of which version.
use crate::report::{Report, Trouble};
use Trouble::{Failed, Missing};
use cudarc::{cublaslt::sys as cublaslt, driver::sys as driver, nccl::sys as nccl};
use kernels::{cuda::nvrtc_version, matmul};
use std::path::{Path, PathBuf};

/// Which of them are there, and work.
#[derive(Default)]
pub struct There {
    pub driver: bool,
    pub nvrtc: bool,
    pub cublaslt: bool,
}

pub fn describe(report: &mut Report) -> There {
    let mut there = There::default();
    // As in 13.0, that which the driver supports, at most.
    let mut supported = (0, 0);
    report.tell("driver", || {
        supported = driver_version()?;
        there.driver = true;
        let (major, minor) = supported;
        let number = file("libcuda.so").and_then(|file| {
            let name = file.file_name()?.to_string_lossy().into_owned();
            Some(name.strip_prefix("libcuda.so.")?.to_string())
        });
        let number =
            number.or_else(kernel_module).unwrap_or("of unknown version".into());
        Ok(format!("{number}, for CUDA up to {major}.{minor}{}", path("libcuda.so")))
    });
    report.tell("NVRTC", || {
        let (major, minor) =
            nvrtc_version().map_err(|error| Missing(error.to_string()))?;
        there.nvrtc = true;
        if there.driver && supported.0 < major {
            return Err(Failed(format!(
                "{major}.{minor}, newer than the driver, which takes what is compiled \
                 for CUDA {}.{}: update the driver (CUDA 13 needs 580 or later){}",
                supported.0,
                supported.1,
                path("libnvrtc.so")
            )));
        }
        Ok(format!("{major}.{minor}{}", path("libnvrtc.so")))
    });
    report.tell("cuBLASLt", || {
        matmul::library().map_err(|error| Missing(error.to_string()))?;
        // SAFETY: it takes nothing.
        let version = dotted(unsafe { cublaslt::cublasLtGetVersion() });
        there.cublaslt = true;
        Ok(format!("{version}{}", path("libcublasLt.so")))
    });
    report.tell("NCCL", || {
        nccl_version().map(|version| format!("{version}{}", path("libnccl.so")))
    });
    there
}

fn driver_version() -> Result<(i32, i32), Trouble> {
    // SAFETY: it is NVIDIA's library that is loaded, or what a user put in its place.
    if !unsafe { driver::is_culib_present() } {
        return Err(Missing(
            "there is no driver for NVIDIA's GPUs: libcuda.so and libcuda.so.1 are not \
             where libraries are searched for. It comes with the machine; a container \
             must be started with it (--gpus all)"
                .into(),
        ));
    }
    let mut version = 0;
    // SAFETY: it is a number. It can be asked for before anything is started.
    unsafe { driver::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|error| Failed(format!("cuDriverGetVersion: {:?}", error.0)))?;
    Ok((version / 1000, version % 1000 / 10))
}

/// What Linux says of its part of the driver.
fn kernel_module() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let mut words = text.lines().next()?.split_whitespace();
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    words.find(is_number).map(str::to_string)
}

fn nccl_version() -> Result<String, Trouble> {
    // SAFETY: as with the driver.
    if !unsafe { nccl::is_culib_present() } {
        // SAFETY: likewise.
        let other = unsafe { libloading::Library::new("libnccl.so.2") }.is_ok();
        return Err(Missing(match other {
            true => {
                "libnccl.so.2 is there; but it is looked for as libnccl.so: make a \
                     link of that name to it, in a folder of LD_LIBRARY_PATH"
                    .into()
            }
            false => "there is no NCCL, by which GPUs communicate: libnccl.so is not \
                      where libraries are searched for. NVIDIA has packages (libnccl2 \
                      and libnccl-dev), and PyPI (pip install nvidia-nccl-cu13, then a \
                      link libnccl.so to its libnccl.so.2); then add its folder to \
                      LD_LIBRARY_PATH. One GPU does without"
                .into(),
        }));
    }
    let mut version = 0;
    // SAFETY: it is a number.
    let status = unsafe { nccl::ncclGetVersion(&mut version) };
    match status {
        nccl::ncclResult_t::ncclSuccess => {
            Ok(dotted(usize::try_from(version).unwrap_or(0)))
        }
        other => Err(Failed(format!("ncclGetVersion: {other:?}"))),
    }
}

/// 130102 is 13.1.2.
fn dotted(version: usize) -> String {
    format!("{}.{}.{}", version / 10000, version / 100 % 100, version % 100)
}

/// ", from" where, on a line of its own, or nothing.
fn path(library: &str) -> String {
    file(library).map(|file| format!("\n{}", file.display())).unwrap_or_default()
}

/// The file that is loaded, where links end. Linux knows.
fn file(library: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    let is_it = |path: &&str| {
        let name = Path::new(path).file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(library)
    };
    paths.find(is_it).map(PathBuf::from)
}
