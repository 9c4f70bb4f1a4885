//! A GPU as an [`Engine`]: its kernels and its products on one stream, and its memory.
use crate::cuda::{Device, named};
use crate::engine::Engine;
use crate::error::Result;
use crate::launch::Launch;
use crate::matmul::Matmul;
use crate::product::{Matrix, Store};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaContext, result as driver};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A GPU that this program uses, for as long as it runs.
pub struct Gpu {
    device: Device,
    matmul: Matmul,
    /// It reads the processor's memory itself, whenever a copy's turn comes. Other
    /// drivers have staged what they copy when they return.
    reads_here: bool,
}

/// How many GPUs there are; zero where there is no driver.
pub fn count() -> usize {
    // SAFETY: it is NVIDIA's library that is loaded, or what a user put in its place.
    if !unsafe { sys::is_culib_present() } {
        return 0;
    }
    CudaContext::device_count().map_or(0, |count| usize::try_from(count).unwrap_or(0))
}

impl Gpu {
    /// GPU `ordinal` of those that CUDA_VISIBLE_DEVICES leaves: the same for all that
    /// ask, and one stream for all of their work.
    ///
    /// # Errors
    /// It is not there; or a library that it takes is not, and where to get it.
    pub fn get(ordinal: usize) -> Result<&'static Gpu> {
        static ALL: Mutex<Option<HashMap<usize, &'static Gpu>>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        if let Some(known) = all.get(&ordinal) {
            return Ok(known);
        }
        let device = Device::new(ordinal)?;
        let matmul = Matmul::new(&device)?;
        let coherent =
            Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES;
        let coherent = device.stream().context().attribute(coherent);
        let reads_here = coherent != Ok(0);
        let gpu: &'static Gpu = Box::leak(Box::new(Gpu { device, matmul, reads_here }));
        all.insert(ordinal, gpu);
        Ok(gpu)
    }
    /// What it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// Says it in words, with the GPU's driver bound to this thread.
    fn driver<T>(
        &self,
        what: &str,
        f: impl FnOnce() -> std::result::Result<T, cudarc::driver::DriverError>,
    ) -> std::result::Result<T, String> {
        let context = self.device.stream().context();
        let done = context.bind_to_thread().and_then(|()| f());
        done.map_err(|error| {
            format!("{what}: {} (or a kernel started before failed)", named(error))
        })
    }
}

impl Engine for Gpu {
    fn name(&self) -> String {
        self.device.name().unwrap_or_else(|_| "a GPU without a name".into())
    }
    unsafe fn launch(&self, launch: &Launch) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.device.launch(launch) }
    }
    unsafe fn multiply(
        &self,
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
    ) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.matmul.start(&self.device, c, store, a, b) }
    }
    fn wait(&self) -> Result<()> {
        self.device.synchronize()
    }
}

impl memory::device::Device for Gpu {
    fn obtain(&self, bytes: usize) -> Option<usize> {
        // SAFETY: bytes, whatever they hold.
        let start = self.driver("memory", || unsafe { driver::malloc_sync(bytes) });
        // A GPU that is full is an everyday matter. Whatever else is wrong is not.
        if let Err(why) = &start
            && !why.contains("OUT_OF_MEMORY")
        {
            eprintln!("{bytes} bytes: {why}");
        }
        start.ok().map(|start| start as usize)
    }
    unsafe fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        bytes: usize,
    ) -> std::result::Result<(), String> {
        let stream = self.device.stream().cu_stream();
        let [here, from_here] =
            [to.cast_const(), from].map(|at| memory::device::of(at).is_none());
        self.driver("a copy", || {
            // Addresses tell whose memory it is.
            // SAFETY: it is a stream; and the caller's.
            unsafe {
                if here {
                    // While the copy waits, the driver may hold what another rank's
                    // thread needs before this stream can go on.
                    driver::stream::synchronize(stream)?;
                }
                sys::cuMemcpyAsync(to as u64, from as u64, bytes, stream).result()?;
                match here || self.reads_here && from_here {
                    true => driver::stream::synchronize(stream),
                    false => Ok(()),
                }
            }
        })
    }
    unsafe fn zero(
        &self,
        at: *mut u8,
        bytes: usize,
    ) -> std::result::Result<(), String> {
        let stream = self.device.stream().cu_stream();
        // SAFETY: the caller's.
        self.driver("zeros", || unsafe {
            driver::memset_d8_async(at as u64, 0, bytes, stream)
        })
    }
}
