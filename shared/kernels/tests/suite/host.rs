//! The machine that kernels run on here: this one, or with FERROTRON_KERNELS=cuda, the
//! GPU in it.
use super::gpu::{Gpu, There, gpu};
use half::bf16;
use kernels::{Launch, Number, Ptr};

/// Bytes before and after each array.
const GUARD: usize = 64;
const UNTOUCHED: u8 = 0xab;

/// Runs launches one after the other.
pub struct Host {
    /// The last thread of a block goes first.
    backwards: bool,
    /// In place of all this.
    gpu: Option<&'static Gpu>,
}

thread_local! {
    /// One for each test, which has a thread of its own: it runs one kernel at a time.
    static CPU: kernels::host::Host = kernels::host::Host::default();
}

/// An array in the machine's memory, with something of a known pattern around it.
pub struct Array {
    memory: Vec<u128>,
    /// Where it really is, if that is on a GPU.
    there: Option<(&'static Gpu, There)>,
    start: usize,
    bytes: usize,
    number: Number,
}

/// What `test` makes with the threads in either order, which must be the same. A GPU's
/// threads have no order: it must make the same of them twice.
#[track_caller]
pub fn run<R: PartialEq>(test: impl Fn(&Host) -> R) -> R {
    let host = |backwards| Host { backwards, gpu: gpu() };
    let (forwards, backwards) = (test(&host(false)), test(&host(true)));
    assert!(forwards == backwards, "it depends on the order of threads");
    forwards
}

impl Host {
    /// An array of these numbers, rounded. It does not begin where a page does: after
    /// so many elements.
    pub fn array(&self, number: Number, values: &[f64], after: usize) -> Array {
        let mut array = Array::new(number, values.len(), after);
        let (bytes, size) = (array.bytes_mut(), number.size());
        for (to, value) in bytes.chunks_exact_mut(size).zip(values) {
            match number {
                Number::F32 => to.copy_from_slice(&(*value as f32).to_le_bytes()),
                Number::Bf16 => {
                    to.copy_from_slice(&bf16::from_f64(*value).to_le_bytes())
                }
            }
        }
        self.placed(array)
    }
    /// An array of what are no numbers.
    pub fn poisoned(&self, number: Number, len: usize, after: usize) -> Array {
        self.placed(Array::new(number, len, after))
    }
    /// Of whole numbers.
    pub fn indices(&self, values: &[u32]) -> Array {
        let mut array = Array::new(Number::F32, values.len(), 0);
        for (to, value) in array.bytes_mut().chunks_exact_mut(4).zip(values) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        self.placed(array)
    }
    /// Of numbers in fp64.
    pub fn doubles(&self, values: &[f64]) -> Array {
        let mut array = Array::new(Number::F32, 2 * values.len(), 0);
        for (to, value) in array.bytes_mut().chunks_exact_mut(8).zip(values) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        self.placed(array)
    }
    /// In the memory of the machine.
    fn placed(&self, mut array: Array) -> Array {
        array.there =
            self.gpu.map(|gpu| (gpu, gpu.upload(bytes_of(&mut array.memory))));
        array
    }
    /// Carries it out.
    #[track_caller]
    pub fn launch(&self, launch: &Launch) {
        if let Some(gpu) = self.gpu {
            return gpu.launch(launch);
        }
        // SAFETY: a kernel that writes elsewhere is what the tests are to find.
        CPU.with(|cpu| unsafe { cpu.run(launch, self.backwards) })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Array {
    /// Of what are no numbers, here.
    fn new(number: Number, len: usize, after: usize) -> Array {
        let (start, bytes) = (GUARD + after * number.size(), len * number.size());
        let words = (start + bytes + GUARD).div_ceil(16);
        let memory = vec![u128::from_le_bytes([UNTOUCHED; 16]); words];
        let mut array = Array { memory, there: None, start, bytes, number };
        array.bytes_mut().fill(0xff);
        array
    }
    /// Where it is.
    pub fn at(&self) -> Ptr {
        let memory = match &self.there {
            Some((_, there)) => there.at().0,
            None => self.memory.as_ptr() as u64,
        };
        Ptr(memory + self.start as u64)
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.start, self.bytes);
        &mut bytes_of(&mut self.memory)[start..start + len]
    }
    /// What it holds now. Nothing around it was written.
    #[track_caller]
    pub fn values(&mut self) -> Vec<f64> {
        let (start, len, number) = (self.start, self.bytes, self.number);
        let all = bytes_of(&mut self.memory);
        if let Some((gpu, there)) = &self.there {
            gpu.read(there, all);
        }
        let around = all[..start].iter().chain(&all[start + len..]);
        assert!(around.into_iter().all(|byte| *byte == UNTOUCHED), "written around it");
        let value = |bytes: &[u8]| match number {
            Number::F32 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
            Number::Bf16 => bf16::from_le_bytes(bytes.try_into().unwrap()).into(),
        };
        all[start..start + len].chunks_exact(number.size()).map(value).collect()
    }
    /// The same of numbers in fp64.
    #[track_caller]
    pub fn doubles(&mut self) -> Vec<f64> {
        self.values();
        let value = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
        self.bytes_mut().chunks_exact(8).map(value).collect()
    }
}

fn bytes_of(memory: &mut [u128]) -> &mut [u8] {
    // SAFETY: whole words are bytes.
    unsafe {
        std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), memory.len() * 16)
    }
}
