//! Each GPU, and which can reach which.
use crate::report::{Report, Trouble};
use Trouble::{Failed, Missing};
use cudarc::driver::sys::CUdevice_attribute::*;
use cudarc::driver::{CudaContext, DriverError, sys as driver};
use std::sync::Arc;

/// Kernels need what sm_80 (A100) has: bf16 on tensor cores, and asynchronous copies.
const LEAST_SM: i32 = 80;

/// All that can be used.
pub fn describe(report: &mut Report) -> Vec<Arc<CudaContext>> {
    let mut gpus = vec![];
    let mut count = 0;
    report.tell("GPUs", || {
        let error = |error| match error {
            // As it is where a driver is installed, but no GPU.
            DriverError(driver::CUresult::CUDA_ERROR_NO_DEVICE) => Missing(
                "the driver finds none (CUDA_VISIBLE_DEVICES hides them)".into(),
            ),
            error => Failed(format!("the driver does not start: {}", words(error))),
        };
        count = CudaContext::device_count().map_err(error)?;
        match count {
            0 => Err(Missing("there is none (CUDA_VISIBLE_DEVICES hides them)".into())),
            _ => Ok(count.to_string()),
        }
    });
    for i in 0..count as usize {
        report.tell(&format!("GPU {i}"), || {
            let context = CudaContext::new(i).map_err(failed)?;
            let text = one(&context).map_err(failed)?;
            let (major, minor) = context.compute_capability().map_err(failed)?;
            gpus.push(context);
            match 10 * major + minor {
                LEAST_SM.. => Ok(text),
                _ => {
                    Err(Failed(format!("{text}\nkernels need sm_{LEAST_SM} or later")))
                }
            }
        });
    }
    if gpus.len() > 1 {
        let mut text = String::new();
        report.tell("access", || {
            text = peers(&gpus)?;
            Ok("from the row's GPU to the column's memory (cuDeviceCanAccessPeer)"
                .into())
        });
        print!("{text}");
    }
    gpus
}

fn one(context: &CudaContext) -> Result<String, DriverError> {
    let (major, minor) = context.compute_capability()?;
    let (free, all) = context.mem_get_info()?;
    let sms = context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    // kHz.
    let clock = context.attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
    Ok(format!(
        "{}, sm_{major}{minor}\n{:.1} GB, {:.1} GB free\n{sms} SMs, up to {} MHz",
        context.name()?,
        all as f64 / 1e9,
        free as f64 / 1e9,
        clock / 1000
    ))
}

fn peers(gpus: &[Arc<CudaContext>]) -> Result<String, Trouble> {
    let entry = |from: &CudaContext, to: &CudaContext| match from == to {
        true => Ok("-"),
        false => can_reach(from, to).map(|can| if can { "yes" } else { "no" }),
    };
    matrix(gpus, |from, to| entry(from, to).map(str::to_string).map_err(failed))
}

/// Whether a GPU may read and write another's memory.
pub fn can_reach(from: &CudaContext, to: &CudaContext) -> Result<bool, DriverError> {
    let mut can = 0;
    // SAFETY: it is a number.
    unsafe {
        driver::cuDeviceCanAccessPeer(&mut can, from.cu_device(), to.cu_device())
    }
    .result()?;
    Ok(can != 0)
}

/// An entry for each pair, with the GPUs' numbers around them.
pub fn matrix(
    gpus: &[Arc<CudaContext>],
    entry: impl Fn(&CudaContext, &CudaContext) -> Result<String, Trouble>,
) -> Result<String, Trouble> {
    let numbers = gpus.iter().map(|gpu| format!("{:>7}", gpu.ordinal()));
    let mut text = format!("{:11}{}\n", "", numbers.collect::<String>());
    for from in gpus {
        text += &format!("{:>11}", from.ordinal());
        for to in gpus {
            text += &format!("{:>7}", entry(from, to)?);
        }
        text.push('\n');
    }
    Ok(text)
}

pub fn failed(error: DriverError) -> Trouble {
    Failed(words(error))
}

/// CUDA_ERROR_X (what it means).
fn words(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => format!("{:?} ({})", error.0, text.to_string_lossy()),
        Err(_) => format!("{:?}", error.0),
    }
}
