//! One kernel started once.
use crate::source::Source;
use std::ffi::c_void;
use std::fmt;

/// Threads that go in step.
pub const WARP: u32 = 32;

/// An address in a device's memory; zero is that of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ptr(pub u64);

/// In what the model's numbers are stored. Sums are in fp32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// 32 bits.
    F32,
    /// 16 bits, of which 8 are mantissa.
    Bf16,
}

impl Number {
    /// Both.
    pub const ALL: [Number; 2] = [Number::F32, Number::Bf16];
    /// Bytes.
    pub fn size(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::Bf16 => 2,
        }
    }
    /// What a compiler is told.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Number::F32 => &[],
            Number::Bf16 => &["-DBF16"],
        }
    }
}

/// A kernel, on how many threads, and with what.
pub struct Launch {
    /// Where it is.
    pub source: Source,
    /// Its name.
    pub kernel: &'static str,
    /// For which type it is compiled.
    pub number: Number,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block: a multiple of [`WARP`].
    pub threads: u32,
    /// Bytes of shared memory that a block gets.
    pub shared: usize,
    args: Box<dyn Args>,
}

impl Launch {
    /// Its argument: the address of the struct that the kernel takes, as long as this
    /// lives.
    pub fn args(&self) -> *const c_void {
        // Not the box's own: it, too, could be an argument.
        (*self.args).address()
    }
    /// `blocks` of `threads` for a kernel, with `args`, which must be laid out as the
    /// struct that it takes.
    pub(crate) fn new<A: Copy + Send + Sync + 'static>(
        source: Source,
        kernel: &'static str,
        number: Number,
        blocks: u64,
        threads: u32,
        args: A,
    ) -> Launch {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let args = Box::new(args);
        Launch {
            source,
            kernel,
            number,
            grid: [blocks, 1, 1],
            threads,
            shared: 0,
            args,
        }
    }
    /// With so many bytes of shared memory.
    pub(crate) fn shared(self, shared: usize) -> Launch {
        Launch { shared, ..self }
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Launch { kernel, number, grid, threads, shared, .. } = self;
        write!(f, "{kernel} {number:?} {grid:?}×{threads}, {shared} bytes shared")
    }
}

trait Args: Send + Sync {
    fn address(&self) -> *const c_void;
}

impl<A: Send + Sync> Args for A {
    fn address(&self) -> *const c_void {
        (self as *const A).cast()
    }
}
