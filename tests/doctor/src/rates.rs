//! How fast GPUs copy and multiply.
use crate::gpus::{can_reach, failed, matrix};
use crate::libraries::There;
use crate::report::{Report, Trouble};
use Trouble::Failed;
use cudarc::driver::sys::{CUdeviceptr, CUevent_flags::CU_EVENT_DEFAULT, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys as driver};
use kernels::Number::{self, Bf16, F32};
use kernels::cuda::Device;
use kernels::matmul::Matmul;
use kernels::{Error, Math, Matrix, Store};
use std::ffi::c_void;
use std::sync::Arc;

const ROUNDS: usize = 10;
/// Of a copy, if there is so much memory.
const BYTES: usize = 256_000_000;
/// Rows and columns of a matrix, likewise.
const SIZE: usize = 8192;

pub fn describe(report: &mut Report, gpus: &[Arc<CudaContext>], there: &There) {
    println!(
        "  copies: GB/s of 256 MB, from and to pinned memory of the host; within a"
    );
    println!("  device, its memory moves twice that. Products: TFLOP/s of {SIZE}³");
    for gpu in gpus {
        let name = format!("GPU {}", gpu.ordinal());
        report.tell(&name, || copies(gpu).map_err(failed));
        if !(there.nvrtc && there.cublaslt) {
            report.missing(&name, "products need NVRTC and cuBLASLt");
            continue;
        }
        for (what, number, math) in [
            ("bf16", Bf16, Math::Fp32),
            ("TF32", F32, Math::Tf32),
            ("fp32", F32, Math::Fp32),
        ] {
            report.tell(&name, || product(gpu, what, number, math));
        }
    }
    if gpus.len() > 1 {
        let mut text = String::new();
        report.tell("copies", || {
            text = matrix(gpus, |from, to| between(from, to).map_err(failed))?;
            Ok("from the row's GPU to the column's, GB/s".into())
        });
        print!("{text}");
    }
}

/// The median of as many seconds, after some rounds to warm up.
fn median<E: From<DriverError>>(
    stream: &CudaStream,
    start: impl Fn() -> Result<(), E>,
) -> Result<f64, E> {
    for _ in 0..3 {
        start()?;
    }
    let mut all = [0.0; ROUNDS];
    for seconds in &mut all {
        let before = stream.record_event(Some(CU_EVENT_DEFAULT))?;
        start()?;
        let after = stream.record_event(Some(CU_EVENT_DEFAULT))?;
        *seconds = f64::from(before.elapsed_ms(&after)?) / 1e3;
    }
    all.sort_by(f64::total_cmp);
    Ok((all[ROUNDS / 2 - 1] + all[ROUNDS / 2]) / 2.0)
}

/// Memory of a GPU that other GPUs may reach.
struct Memory(CUdeviceptr, Arc<CudaContext>);

impl Memory {
    fn new(gpu: &Arc<CudaContext>, bytes: usize) -> Result<Memory, DriverError> {
        gpu.bind_to_thread()?;
        // SAFETY: nothing reads it but copies of bytes.
        let at = unsafe { result::malloc_sync(bytes) }?;
        Ok(Memory(at, gpu.clone()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: all copies have ended. Memory is all that an error could cost.
        let _ =
            self.1.bind_to_thread().and_then(|()| unsafe { result::free_sync(self.0) });
    }
}

/// Memory of the host that GPUs may reach.
struct Pinned(*mut c_void, Arc<CudaContext>);

impl Pinned {
    fn new(gpu: &Arc<CudaContext>, bytes: usize) -> Result<Pinned, DriverError> {
        gpu.bind_to_thread()?;
        // SAFETY: as above.
        let at = unsafe { result::malloc_host(bytes, 0) }?;
        Ok(Pinned(at, gpu.clone()))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: as above.
        let _ =
            self.1.bind_to_thread().and_then(|()| unsafe { result::free_host(self.0) });
    }
}

/// What a copy takes of two such memories, at most.
fn bytes_of_copy(gpu: &CudaContext) -> Result<usize, DriverError> {
    let (free, _) = gpu.mem_get_info()?;
    Ok(BYTES.min(free / 4 / 256 * 256))
}

fn copies(gpu: &Arc<CudaContext>) -> Result<String, DriverError> {
    let bytes = bytes_of_copy(gpu)?;
    let host = Pinned::new(gpu, bytes)?;
    let [from, to] = [Memory::new(gpu, bytes)?, Memory::new(gpu, bytes)?];
    let stream = gpu.new_stream()?;
    let on = stream.cu_stream();
    let rate = |start: &dyn Fn() -> Result<(), DriverError>| {
        gpu.bind_to_thread()?;
        median(&stream, start).map(|seconds| bytes as f64 / seconds / 1e9)
    };
    // SAFETY, of all three: the memories are as large as that, and live until the
    // median is known.
    let up = rate(&|| {
        unsafe { driver::cuMemcpyHtoDAsync_v2(from.0, host.0, bytes, on) }.result()
    })?;
    let down = rate(&|| {
        unsafe { driver::cuMemcpyDtoHAsync_v2(host.0, from.0, bytes, on) }.result()
    })?;
    let within =
        rate(&|| unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, on) })?;
    let short = short_of(bytes, BYTES, "bytes");
    Ok(format!(
        "from the host {up:.1}, to the host {down:.1}, within {within:.1} GB/s{short}"
    ))
}

/// What is said where memory did not allow more.
fn short_of(n: usize, wanted: usize, what: &str) -> String {
    match n < wanted {
        true => format!(" ({n} {what}: memory is short)"),
        false => String::new(),
    }
}

/// GB/s of a copy, direct if they can reach each other. The driver takes it over the
/// host if not.
fn between(from: &CudaContext, to: &CudaContext) -> Result<String, DriverError> {
    if from == to {
        return Ok("-".into());
    }
    let [source, target] =
        [CudaContext::new(from.ordinal())?, CudaContext::new(to.ordinal())?];
    for (one, other) in [(&source, &target), (&target, &source)] {
        if can_reach(one, other)? {
            one.bind_to_thread()?;
            // SAFETY: it is a context, as long as this function runs.
            match unsafe { driver::cuCtxEnablePeerAccess(other.cu_ctx(), 0) } {
                CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => {}
                status => status.result()?,
            }
        }
    }
    let bytes = bytes_of_copy(&source)?.min(bytes_of_copy(&target)?);
    let (a, b) = (Memory::new(&source, bytes)?, Memory::new(&target, bytes)?);
    source.bind_to_thread()?;
    let stream = source.new_stream()?;
    let (of_a, of_b) = (source.cu_ctx(), target.cu_ctx());
    let seconds = median(&stream, || {
        // SAFETY: they are as large as that, and live until the median is known.
        unsafe {
            result::memcpy_peer_async(of_b, b.0, of_a, a.0, bytes, stream.cu_stream())
        }
    })?;
    Ok(format!("{:.1}", bytes as f64 / seconds / 1e9))
}

/// Of the two kinds of errors here.
struct Text(String);

impl From<DriverError> for Text {
    fn from(error: DriverError) -> Text {
        Text(format!("{:?}", error.0))
    }
}

impl From<Error> for Text {
    fn from(error: Error) -> Text {
        Text(error.to_string())
    }
}

fn product(
    gpu: &CudaContext,
    what: &str,
    number: Number,
    math: Math,
) -> Result<String, Trouble> {
    timed_product(gpu, what, number, math).map_err(|Text(text)| Failed(text))
}

/// `C = A · Bᵀ`, as of a layer, where B is A.
fn timed_product(
    gpu: &CudaContext,
    what: &str,
    number: Number,
    math: Math,
) -> Result<String, Text> {
    let device = Device::new(gpu.ordinal())?;
    let mut matmul = Matmul::new(&device)?;
    matmul.math = math;
    let (free, _) = gpu.mem_get_info()?;
    let mut n = SIZE;
    while 3 * n * n * number.size() > free / 2 {
        n /= 2;
    }
    // Not zeros: they are multiplied at less power, and so at a higher clock.
    let values = numbers(number, n * n);
    let [a, b, c] =
        [device.upload(&values)?, device.upload(&values)?, device.alloc(values.len())?];
    let [x, y, z] = [&a, &b, &c].map(|memory| Matrix::new(number, memory.at(), n, n));
    let seconds = median(device.stream(), || {
        // SAFETY: they are as large as that, and live until the median is known.
        unsafe { matmul.start(&device, z, Store::Set, x, y.t()) }.map_err(Text::from)
    })?;
    // A few of its elements: a wrong product may well be a fast one.
    for (row, col) in [(0, 1), (n / 2, n - 1), (n - 1, 0)] {
        let mut got = vec![0; number.size()];
        device.read(&c, (row * n + col) * number.size(), &mut got)?;
        let (got, of) = (value(number, &got, 0), |i| value(number, &values, i));
        let want: f64 = (0..n).map(|i| of(row * n + i) * of(col * n + i)).sum();
        // Its terms are a third in size, and random.
        let apart = (got - want).abs();
        if apart.is_nan() || apart > 0.02 * (n as f64).sqrt() {
            return Err(Text(format!(
                "a product in {what} of {n}³ is wrong: [{row}, {col}] is {got}, not \
                 {want}"
            )));
        }
    }
    let rate = 2.0 * (n as f64).powi(3) / seconds / 1e12;
    Ok(format!("{what} {rate:.1} TFLOP/s{}", short_of(n, SIZE, "rows")))
}

/// Numbers between -1 and 1 that look random.
fn numbers(number: Number, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * number.size());
    let mut state = 1u64;
    for _ in 0..count {
        state =
            state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = (state >> 33) as f32 / (1u64 << 30) as f32 - 1.0;
        match number {
            F32 => bytes.extend(x.to_le_bytes()),
            Bf16 => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
        }
    }
    bytes
}

fn value(number: Number, bytes: &[u8], i: usize) -> f64 {
    let at = &bytes[i * number.size()..][..number.size()];
    match *at {
        [a, b] => half::bf16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).into(),
        _ => f64::NAN,
    }
}
