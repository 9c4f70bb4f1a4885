//! What calls need of a GPU, and which GPU a rank has.
//!
//! `comm` opens no GPU: whoever launches ranks passes [`Gpus`] to
//! [`launch_on`](crate::launch_on), and each rank asks it for its own, a [`Gpu`]. That
//! is a few functions on *streams* (what is started on one runs in the order in which
//! it was started) and *events* (places in a stream that another can wait for).
//! [`Cuda`] is that of this program's kernels. Tests have one that is made of threads
//! and the processor's memory.
use cudarc::driver::{CudaEvent, CudaStream, DriverError, result, sys};
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;

/// With what went wrong, in words.
pub type Outcome<T> = Result<T, String>;

/// The GPUs of a process.
pub trait Gpus: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// Opens number `ordinal`, for the rank whose thread asks.
    ///
    /// # Errors
    /// It cannot be used: why.
    fn open(&self, ordinal: usize) -> Outcome<Arc<dyn Gpu>>;
    /// Where NCCL is, if not where FERROTRON_NCCL says or libraries are searched for.
    fn nccl(&self) -> Option<PathBuf> {
        None
    }
}

/// One rank's GPU.
pub trait Gpu: Send + Sync {
    /// Makes it the GPU of the calling thread.
    ///
    /// # Errors
    /// The driver's.
    fn enter(&self) -> Outcome<()>;
    /// Whether that address is in its memory, and not in the processor's.
    fn holds(&self, address: usize) -> bool;
    /// Where the rank's kernels run.
    fn kernels(&self) -> Arc<dyn Stream>;
    /// A stream beside that one.
    ///
    /// # Errors
    /// The driver's.
    fn stream(&self) -> Outcome<Arc<dyn Stream>>;
}

/// What is started on it runs in that order, while the processor goes on.
pub trait Stream: Send + Sync {
    /// CUDA's.
    fn raw(&self) -> *mut c_void;
    /// An event of which everything is over that was started here until now.
    ///
    /// # Errors
    /// The driver's.
    fn mark(&self) -> Outcome<Arc<dyn Event>>;
    /// What is started here from now on begins after the event.
    ///
    /// # Errors
    /// The driver's.
    fn follow(&self, event: &dyn Event) -> Outcome<()>;
    /// So many bytes of the GPU's memory, to be used by what is started here.
    ///
    /// # Errors
    /// The driver's; there is too little.
    fn alloc(&self, bytes: usize) -> Outcome<usize>;
    /// Gives it back when what was started here before is over.
    ///
    /// # Safety
    /// It was got from [`Stream::alloc`] and is not used again.
    unsafe fn free(&self, address: usize);
    /// Copies to the GPU. Nothing else is under way here.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// So many bytes of the GPU's memory are at that address.
    unsafe fn write(&self, to: usize, bytes: &[u8]) -> Outcome<()>;
    /// Copies from the GPU, and waits until that is over. Nothing else is under way.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// As for [`Stream::write`].
    unsafe fn read(&self, from: usize, bytes: &mut [u8]) -> Outcome<()>;
}

/// A place in a stream.
pub trait Event: Send + Sync {
    /// CUDA's.
    fn raw(&self) -> *mut c_void;
    /// Whether everything before it is over.
    ///
    /// # Errors
    /// The driver's: something before it went wrong.
    fn is_over(&self) -> Outcome<bool>;
}

/// The GPUs on which this program's kernels run, as `kernels` opens them.
pub struct Cuda;

impl Gpus for Cuda {
    fn count(&self) -> usize {
        kernels::gpu::count()
    }
    fn open(&self, ordinal: usize) -> Outcome<Arc<dyn Gpu>> {
        let gpu = kernels::gpu::Gpu::get(ordinal).map_err(|error| error.to_string())?;
        Ok(Arc::new(CudaGpu(gpu.device().stream().clone())))
    }
}

/// A GPU, by the stream that its kernels run on.
struct CudaGpu(Arc<CudaStream>);

struct OfCuda(Arc<CudaStream>);

impl Gpu for CudaGpu {
    fn enter(&self) -> Outcome<()> {
        self.0.context().bind_to_thread().map_err(named)
    }
    fn holds(&self, address: usize) -> bool {
        memory::device::of(std::ptr::without_provenance::<u8>(address)).is_some()
    }
    fn kernels(&self) -> Arc<dyn Stream> {
        Arc::new(OfCuda(self.0.clone()))
    }
    fn stream(&self) -> Outcome<Arc<dyn Stream>> {
        // Before kernels that wait for a place: a call that comes late holds up others.
        let context = self.0.context();
        context.bind_to_thread().map_err(named)?;
        let (_, first) = result::stream::get_priority_range().map_err(named)?;
        let stream = context.new_stream_with_priority(first).map_err(named)?;
        Ok(Arc::new(OfCuda(stream)))
    }
}

impl Stream for OfCuda {
    fn raw(&self) -> *mut c_void {
        self.0.cu_stream().cast()
    }
    fn mark(&self) -> Outcome<Arc<dyn Event>> {
        Ok(Arc::new(self.0.record_event(None).map_err(named)?))
    }
    fn follow(&self, event: &dyn Event) -> Outcome<()> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        self.0.context().bind_to_thread().map_err(named)?;
        // SAFETY: both are CUDA's, and there.
        unsafe {
            result::stream::wait_event(self.0.cu_stream(), event.raw().cast(), flags)
        }
        .map_err(named)
    }
    fn alloc(&self, bytes: usize) -> Outcome<usize> {
        // In the order of the stream: cuMemFree would wait for all others, and those
        // for other ranks.
        // SAFETY: bytes are bytes.
        let address = unsafe { result::malloc_async(self.0.cu_stream(), bytes.max(1)) };
        address.map(|address| address as usize).map_err(named)
    }
    unsafe fn free(&self, address: usize) {
        // SAFETY: the caller's. Memory is all that an error could cost.
        let _ = unsafe { result::free_async(address as u64, self.0.cu_stream()) };
    }
    unsafe fn write(&self, to: usize, bytes: &[u8]) -> Outcome<()> {
        let stream = self.0.cu_stream();
        // SAFETY: the caller's. The driver has copied pageable memory when it returns;
        // the call that lends it is not over before the stream is.
        unsafe { result::memcpy_htod_async(to as u64, bytes, stream) }.map_err(named)
    }
    unsafe fn read(&self, from: usize, bytes: &mut [u8]) -> Outcome<()> {
        let stream = self.0.cu_stream();
        // SAFETY: the caller's.
        unsafe { result::memcpy_dtoh_async(bytes, from as u64, stream) }
            .map_err(named)?;
        self.0.synchronize().map_err(named)
    }
}

impl Event for CudaEvent {
    fn raw(&self) -> *mut c_void {
        self.cu_event().cast()
    }
    fn is_over(&self) -> Outcome<bool> {
        self.try_is_complete().map_err(named)
    }
}

/// CUDA_ERROR_X (what it means).
fn named(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => format!("{:?} ({})", error.0, text.to_string_lossy()),
        Err(_) => format!("{:?}", error.0),
    }
}
