//! A GPU: kernels are compiled for it by NVRTC, and started by its driver.
//!
//! Both libraries are loaded when they are first needed. This builds where there are
//! none, and says what is missing when it runs.
use crate::error::{Error, Result};
use crate::launch::{Launch, Number, Ptr};
use crate::source::{HEADERS, Source};
use cudarc::driver::result::launch_kernel;
use cudarc::driver::sys::CUfunction_attribute::{self, *};
use cudarc::driver::sys::{CUdevice_attribute::*, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream};
use cudarc::driver::{DevicePtr, DriverError, sys as driver};
use cudarc::nvrtc::{Ptx, result as nvrtc, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A source, compiled.
pub struct Compiled {
    /// The assembly of a GPU that there is not.
    pub ptx: String,
    /// Machine code, for GPUs of one architecture.
    pub cubin: Vec<u8>,
    /// What the compiler said: warnings, and what each kernel takes of registers.
    pub log: String,
}

/// The version of NVRTC, as in 13.0, or an error if there is none.
pub fn nvrtc_version() -> Result<(i32, i32)> {
    // SAFETY: it is NVIDIA's library that is loaded, or what a user put in its place.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error(
            "there is no NVRTC, which compiles kernels: libnvrtc.so and libnvrtc.so.13 \
             are not where libraries are searched for. scripts/setup_cuda.sh fetches \
             it; then add its folder to LD_LIBRARY_PATH"
                .into(),
        ));
    }
    let mut version = (0, 0);
    // SAFETY: they are two numbers.
    unsafe { sys::nvrtcVersion(&mut version.0, &mut version.1) }
        .result()
        .map_err(|error| Error(format!("nvrtcVersion: {error}")))?;
    Ok(version)
}

/// Compiles `source` for GPUs of an architecture: 80 (A100) or 90 (H100), as in sm_90.
pub fn compile(source: Source, number: Number, sm: u32) -> Result<Compiled> {
    nvrtc_version()?;
    let fail = |what: &str, log: &str| {
        let name = [vec![source.name.to_string()], source.flags()].concat().join(" ");
        Error(format!("{name} for {number:?} on sm_{sm}: {what}\n{log}"))
    };
    let program = Program::new(source).map_err(|what| fail(&what, ""))?;
    let mut options = vec![format!("--gpu-architecture=sm_{sm}")];
    options.push("--ptxas-options=-v".into());
    options.extend(number.flags().iter().map(|flag| flag.to_string()));
    options.extend(source.flags());
    // SAFETY: it is a program.
    let status = unsafe { nvrtc::compile_program(program.0, &options) };
    // SAFETY: likewise.
    let log = text(unsafe { nvrtc::get_program_log(program.0) }.unwrap_or_default());
    status.map_err(|status| fail(&format!("{:?}", status.0), &log))?;
    let (ptx, cubin) = program.results().map_err(|what| fail(&what, &log))?;
    Ok(Compiled { ptx, cubin, log })
}

/// NVRTC's, until it is dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: Source) -> std::result::Result<Program, String> {
        let c = |text: &str| CString::new(text).map_err(|_| "a zero in it".to_string());
        let (name, body) = (c(source.name)?, c(source.text)?);
        // Headers come from here, not from files.
        let mut names = vec![];
        let mut bodies = vec![];
        for (name, body) in HEADERS {
            names.push(c(name)?);
            bodies.push(c(body)?);
        }
        let pointers = |of: &[CString]| -> Vec<*const c_char> {
            of.iter().map(|text| text.as_ptr()).collect()
        };
        let mut program = null_mut();
        // SAFETY: all are strings that end with a zero, as many of either kind.
        unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                body.as_ptr(),
                name.as_ptr(),
                HEADERS.len() as i32,
                pointers(&bodies).as_ptr(),
                pointers(&names).as_ptr(),
            )
        }
        .result()
        .map_err(|error| error.to_string())?;
        Ok(Program(program))
    }
    /// PTX and machine code, of a program that is compiled.
    fn results(&self) -> std::result::Result<(String, Vec<u8>), String> {
        // SAFETY: as large as NVRTC says.
        unsafe {
            let ptx = nvrtc::get_ptx(self.0).map_err(|error| error.to_string())?;
            let mut size = 0;
            sys::nvrtcGetCUBINSize(self.0, &mut size)
                .result()
                .map_err(|error| error.to_string())?;
            let mut cubin = vec![0u8; size];
            sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast())
                .result()
                .map_err(|error| error.to_string())?;
            Ok((text(ptx), cubin))
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: nobody else has it. Memory is all that an error could cost.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

/// Up to the zero at its end.
fn text(of: Vec<c_char>) -> String {
    let bytes: Vec<u8> =
        of.iter().map(|c| *c as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A GPU and a stream: what is started here runs in the order in which it was started.
pub struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Its architecture, as [`compile`] takes it.
    sm: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each source is compiled once for each type, when its first kernel is started.
    modules: HashMap<(&'static str, Option<u32>, Number), Arc<CudaModule>>,
    kernels: HashMap<(&'static str, Option<u32>, Number, &'static str), Kernel>,
    /// The one started last: an error may come to light later.
    last: Option<(&'static str, Number)>,
}

struct Kernel {
    function: CudaFunction,
    /// Bytes of shared memory with which it may be started.
    shared: usize,
}

/// Bytes of a [`Device`]'s memory, given back when this is dropped.
pub struct Memory {
    slice: CudaSlice<u8>,
    at: Ptr,
    bytes: usize,
}

impl Memory {
    /// Where it is: at a multiple of 256.
    pub fn at(&self) -> Ptr {
        self.at
    }
    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Device {
    /// GPU `ordinal` of those that CUDA_VISIBLE_DEVICES leaves.
    pub fn new(ordinal: usize) -> Result<Device> {
        // SAFETY: as with NVRTC.
        if !unsafe { driver::is_culib_present() } {
            return Err(Error(
                "there is no driver for NVIDIA's GPUs: libcuda.so and libcuda.so.1 are \
                 not where libraries are searched for. It comes with the machine; a \
                 container must be started with it (--gpus all)"
                    .into(),
            ));
        }
        // Now, rather than at the first kernel.
        nvrtc_version()?;
        let count = CudaContext::device_count().map_err(|error| {
            Error(format!("the driver finds no GPU: {}", named(error)))
        })?;
        if ordinal >= usize::try_from(count).unwrap_or(0) {
            return Err(Error(format!(
                "GPU {ordinal} is not here: there are {count}, counted from 0 \
                 (CUDA_VISIBLE_DEVICES hides others)"
            )));
        }
        let fail = |error| Error(format!("GPU {ordinal}: {}", named(error)));
        let context = CudaContext::new(ordinal).map_err(fail)?;
        // SAFETY: events keep streams apart, and there is one.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(fail)?;
        let (major, minor) = context.compute_capability().map_err(fail)?;
        let sm = (10 * major + minor) as u32;
        Ok(Device { context, stream, sm, state: Mutex::default() })
    }
    /// As NVIDIA calls it.
    pub fn name(&self) -> Result<String> {
        self.context.name().map_err(|error| self.late("its name", error))
    }
    /// Its architecture: 90 for sm_90.
    pub fn sm(&self) -> u32 {
        self.sm
    }
    /// The stream, for what else is to run in order with the kernels.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
    /// Memory that holds anything.
    pub fn alloc(&self, bytes: usize) -> Result<Memory> {
        // None is something that the driver does not give.
        // SAFETY: bytes are bytes, whatever they are.
        let slice = unsafe { self.stream.alloc::<u8>(bytes.max(1)) }
            .map_err(|error| self.late(&format!("{bytes} bytes of memory"), error))?;
        let at = Ptr(slice.device_ptr(&self.stream).0);
        Ok(Memory { slice, at, bytes })
    }
    /// Memory that holds these bytes.
    pub fn upload(&self, bytes: &[u8]) -> Result<Memory> {
        let mut memory = self.alloc(bytes.len())?;
        self.write(&mut memory, 0, bytes)?;
        Ok(memory)
    }
    /// Writes bytes, the first to `start`. Returns when they can be used again.
    pub fn write(&self, to: &mut Memory, start: usize, bytes: &[u8]) -> Result<()> {
        let range = within(to, start, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut to = to.slice.slice_mut(range);
        self.stream
            .memcpy_htod(bytes, &mut to)
            .map_err(|error| self.late("a copy to the GPU", error))
    }
    /// Reads bytes, the first from `start`, after all that was started has ended.
    pub fn read(&self, from: &Memory, start: usize, bytes: &mut [u8]) -> Result<()> {
        let range = within(from, start, bytes.len())?;
        if !bytes.is_empty() {
            self.stream
                .memcpy_dtoh(&from.slice.slice(range), bytes)
                .map_err(|error| self.late("a copy from the GPU", error))?;
        }
        self.synchronize()
    }
    /// Waits until all that was started has ended.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(|error| self.late("a kernel", error))
    }
    /// Starts a kernel, which runs after those that were started before. What it does
    /// wrong at run time is an error of a later call.
    ///
    /// # Safety
    /// The addresses in it are those of this device's memory, as much of it as the
    /// sizes say, which lives until the kernel has ended.
    pub unsafe fn launch(&self, launch: &Launch) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(()); // The driver would call it an error.
        }
        let fail = |error| Error(format!("{launch:?}: {}", named(error)));
        self.context.bind_to_thread().map_err(fail)?;
        let mut state = self.state();
        let function = self.function(&mut state, launch)?;
        state.last = Some((launch.kernel, launch.number));
        drop(state);
        let [x, y, z] = launch.grid;
        // SAFETY: it takes one struct, of which this is the address, and copies it.
        // The struct's addresses are the caller's promise.
        unsafe {
            launch_kernel(
                function.cu_function(),
                (x, y, z),
                (launch.threads, 1, 1),
                launch.shared as u32,
                self.stream.cu_stream(),
                &mut [launch.args().cast_mut()],
            )
        }
        .map_err(fail)
    }
    /// Says that this was started by other means than [`Device::launch`].
    pub(crate) fn started(&self, what: &'static str, number: Number) {
        self.state().last = Some((what, number));
    }
    /// The kernel, with leave to take as much shared memory as it is to have.
    fn function(&self, state: &mut State, launch: &Launch) -> Result<CudaFunction> {
        const SHARED: CUfunction_attribute =
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let Launch { source, kernel: name, number, .. } = *launch;
        let fail = |error| Error(format!("{launch:?}: {}", named(error)));
        let key = (source.name, source.dim, number, name);
        if !state.kernels.contains_key(&key) {
            let module = self.module(state, source, number)?;
            let function = module.load_function(name).map_err(|error| {
                Error(format!("{name} of {}: {}", source.name, named(error)))
            })?;
            // 48 KB, less what the kernel has in any case.
            let shared = function.get_attribute(SHARED).map_err(fail)?.max(0) as usize;
            state.kernels.insert(key, Kernel { function, shared });
        }
        let kernel = state.kernels.get_mut(&key).expect("it is there now");
        if launch.shared > kernel.shared {
            let bytes = i32::try_from(launch.shared).unwrap_or(i32::MAX);
            kernel.function.set_attribute(SHARED, bytes).map_err(|error| {
                let most = CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
                let most = self.context.attribute(most).unwrap_or(0);
                let error = named(error);
                Error(format!("{launch:?}, of {most} that a block can get: {error}"))
            })?;
            kernel.shared = launch.shared;
        }
        Ok(kernel.function.clone())
    }
    fn module(
        &self,
        state: &mut State,
        source: Source,
        number: Number,
    ) -> Result<Arc<CudaModule>> {
        let key = (source.name, source.dim, number);
        if let Some(module) = state.modules.get(&key) {
            return Ok(module.clone());
        }
        // Machine code, not PTX: a driver takes it from any NVRTC of its major version,
        // and has nothing left to compile.
        let compiled = compile(source, number, self.sm)?;
        let module = Ptx::from_binary(compiled.cubin);
        let module = self.context.load_module(module).map_err(|error| {
            let version = nvrtc_version().unwrap_or_default();
            Error(format!(
                "{}: the driver does not take what NVRTC {}.{} made of it (is it as \
                 new as that?): {}",
                source.name,
                version.0,
                version.1,
                named(error)
            ))
        })?;
        state.modules.insert(key, module.clone());
        Ok(module)
    }
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is ever half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Of an error that may be that of a kernel started earlier.
    fn late(&self, what: &str, error: DriverError) -> Error {
        let too_large = error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let error = named(error);
        Error(match self.state().last.filter(|_| !too_large) {
            None => format!("{what}: {error}"),
            Some((kernel, number)) => format!(
                "{what}: {error}. The kernel started last is {kernel} {number:?}; if \
                 one failed, CUDA_LAUNCH_BLOCKING=1 shows which"
            ),
        })
    }
}

/// The part of the memory, if it is one.
fn within(memory: &Memory, start: usize, len: usize) -> Result<std::ops::Range<usize>> {
    match start.checked_add(len) {
        Some(end) if end <= memory.bytes => Ok(start..end),
        _ => Err(Error(format!("{len} bytes from {start}, of {}", memory.bytes))),
    }
}

/// CUDA_ERROR_X (what it means).
pub(crate) fn named(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => format!("{:?} ({})", error.0, text.to_string_lossy()),
        Err(_) => format!("{:?}", error.0),
    }
}
