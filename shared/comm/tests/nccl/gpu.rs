//! A GPU that is made of threads: a stream is a thread that runs jobs, its memory is
//! the processor's. With it, NCCL as `fake.c` has it.
use comm::gpu::{Event, Gpu, Gpus, Outcome, Stream};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// GPUs, and whose memory the ranks' numbers are said to be in.
#[derive(Clone, Copy)]
pub struct Fakes {
    pub count: usize,
    pub memory: Memory,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Memory {
    /// The processor's: every call goes through the buffer.
    Host,
    /// The GPU's; when a call was waited for, it is over, so that tests can look.
    Gpu,
    /// The GPU's, and it is over when the kernels' stream is.
    Late,
}

impl Fakes {
    pub fn new(count: usize, memory: Memory) -> Fakes {
        Fakes { count, memory }
    }
}

impl Gpus for Fakes {
    fn count(&self) -> usize {
        self.count
    }
    fn open(&self, ordinal: usize) -> Outcome<Arc<dyn Gpu>> {
        if ordinal >= self.count {
            return Err(format!("there are {}", self.count));
        }
        Ok(Arc::new(FakeGpu::new(self.memory)))
    }
    fn nccl(&self) -> Option<PathBuf> {
        Some(library())
    }
}

/// `fake.c`, compiled once.
pub fn library() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        // The ranks of a test that are processes have it from the first of them.
        if let Some(path) = std::env::var_os("FAKE_NCCL") {
            return path.into();
        }
        compile("")
    });
    made.clone()
}

/// Compiles it, with a flag of its own.
pub fn compile(flag: &str) -> PathBuf {
    let name = format!("fake-nccl-{}{flag}.so", std::process::id());
    let path = std::env::temp_dir().join(name);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nccl/fake.c");
    let made = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-fwrapv", "-ffp-contract=off", "-fPIC"])
        .args(["-shared", "-Wall", "-Wextra", "-Werror", source, "-o"])
        .arg(&path)
        .args(["-lm"].iter().chain([flag].iter().filter(|flag| !flag.is_empty())))
        .output()
        .expect("a C compiler: rustc needs one, too");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    path
}

/// Of a test's own, to look at its streams.
pub struct FakeGpu {
    pub kernels: Arc<FakeStream>,
    pub memory: Memory,
    /// What is the processor's memory all the same.
    pub host: Mutex<Range<usize>>,
}

impl FakeGpu {
    pub fn new(memory: Memory) -> FakeGpu {
        let kernels = Arc::new(FakeStream::new(memory == Memory::Gpu));
        FakeGpu { kernels, memory, host: Mutex::new(0..0) }
    }
}

impl Gpu for FakeGpu {
    fn enter(&self) -> Outcome<()> {
        Ok(())
    }
    fn holds(&self, address: usize) -> bool {
        self.memory != Memory::Host && !self.host.lock().unwrap().contains(&address)
    }
    fn kernels(&self) -> Arc<dyn Stream> {
        self.kernels.clone()
    }
    fn stream(&self) -> Outcome<Arc<dyn Stream>> {
        Ok(Arc::new(FakeStream::new(false)))
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// What `fake.c` knows of a stream is its first field.
#[repr(C)]
pub struct FakeStream {
    enqueue: extern "C" fn(*const FakeStream, extern "C" fn(*mut c_void), *mut c_void),
    jobs: Sender<Job>,
    /// Jobs that are not over.
    under_way: Arc<AtomicUsize>,
    /// The processor waits for what this stream follows.
    eager: bool,
}

struct Argument(*mut c_void);
// SAFETY: the job is the only one to use it.
unsafe impl Send for Argument {}

extern "C" fn enqueue(
    stream: *const FakeStream,
    run: extern "C" fn(*mut c_void),
    argument: *mut c_void,
) {
    let argument = Argument(argument);
    // SAFETY: fake.c has it from `raw`, and uses it while it is there.
    unsafe { &*stream }.run(move || {
        let argument = argument;
        run(argument.0)
    });
}

impl FakeStream {
    fn new(eager: bool) -> FakeStream {
        let (jobs, todo) = channel::<Job>();
        std::thread::spawn(move || todo.into_iter().for_each(|job| job()));
        FakeStream { enqueue, jobs, under_way: Arc::default(), eager }
    }
    /// Starts a job: a kernel.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.clone();
        let job = move || {
            job();
            under_way.fetch_sub(1, Ordering::SeqCst);
        };
        self.jobs.send(Box::new(job)).unwrap();
    }
    /// As CUDA's copies of pageable memory, which may wait inside the driver: nobody
    /// may rely on that.
    fn idle(&self) {
        // The job that rings a bell is not quite over when the bell is heard.
        let start = Instant::now();
        while self.under_way.load(Ordering::SeqCst) > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "a copy waits for a call"
            );
            std::thread::yield_now();
        }
    }
    /// Waits for all that was started.
    pub fn synchronize(&self) {
        let end = FakeEvent::after(self);
        end.wait();
    }
}

/// Bytes that are in use, by their address.
static BUFFERS: Mutex<Option<HashMap<usize, Vec<u64>>>> = Mutex::new(None);

/// How many there are of these.
pub fn in_use() -> usize {
    BUFFERS.lock().unwrap().as_ref().map_or(0, HashMap::len)
}

impl Stream for FakeStream {
    fn raw(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
    fn mark(&self) -> Outcome<Arc<dyn Event>> {
        Ok(FakeEvent::after(self))
    }
    fn follow(&self, event: &dyn Event) -> Outcome<()> {
        // SAFETY: it is one of `mark`'s, and there: this is one more of it.
        let event = unsafe {
            Arc::increment_strong_count(event.raw().cast::<FakeEvent>());
            Arc::from_raw(event.raw().cast::<FakeEvent>())
        };
        if self.eager {
            event.wait();
        } else {
            self.run(move || event.wait());
        }
        Ok(())
    }
    fn alloc(&self, bytes: usize) -> Outcome<usize> {
        let buffer = vec![0u64; bytes.div_ceil(8)];
        let at = buffer.as_ptr().addr();
        BUFFERS.lock().unwrap().get_or_insert_default().insert(at, buffer);
        Ok(std::ptr::with_exposed_provenance::<u8>(at).addr())
    }
    unsafe fn free(&self, address: usize) {
        let buffer = BUFFERS.lock().unwrap().as_mut().and_then(|b| b.remove(&address));
        self.run(move || drop(buffer.expect("it was given out")));
    }
    unsafe fn write(&self, to: usize, bytes: &[u8]) -> Outcome<()> {
        self.idle();
        // SAFETY: the caller's.
        unsafe {
            let to = std::ptr::with_exposed_provenance_mut(to);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len())
        }
        Ok(())
    }
    unsafe fn read(&self, from: usize, bytes: &mut [u8]) -> Outcome<()> {
        self.idle();
        // SAFETY: the caller's.
        unsafe {
            let from = std::ptr::with_exposed_provenance(from);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len())
        }
        Ok(())
    }
}

struct FakeEvent {
    over: Mutex<bool>,
    bell: Condvar,
}

impl FakeEvent {
    fn after(stream: &FakeStream) -> Arc<FakeEvent> {
        let event =
            Arc::new(FakeEvent { over: Mutex::new(false), bell: Condvar::new() });
        let own = event.clone();
        stream.run(move || {
            *own.over.lock().unwrap() = true;
            own.bell.notify_all();
        });
        event
    }
    fn wait(&self) {
        let over = self.over.lock().unwrap();
        drop(self.bell.wait_while(over, |over| !*over).unwrap());
    }
}

impl Event for FakeEvent {
    fn raw(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
    fn is_over(&self) -> Outcome<bool> {
        Ok(*self.over.lock().unwrap())
    }
}
