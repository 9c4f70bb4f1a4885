//! Memory that this processor does not read: a GPU's.
//!
//! Whoever has a driver installs a [`Device`] for a thread ([`set`]). What the thread
//! allocates [within] a call is then the device's memory, under an address that is
//! nobody else's: a `Vec` of it can be moved, kept and dropped as any other, is booked
//! to the same account, and goes back to where it came from. It must not be read or
//! written here, which ends the program; [`copy`] moves bytes to and fro.
//!
//! A device's memory is asked for in large chunks, and cut as [`blocks`](crate::blocks)
//! cuts this machine's: the smallest free block that fits, neighbours joined when
//! freed. But nothing about a block can be written into it. And since kernels are
//! started in order, on one stream, a block may be freed while a kernel that was
//! started still reads it: whoever gets it next starts a later one.

use crate::account::Place;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Whoever has such memory. What it does is done in order with what it was told before.
pub trait Device: Send + Sync {
    /// So many bytes, for good, at a multiple of [`ALIGN`]; `None` if there are not.
    fn obtain(&self, bytes: usize) -> Option<usize>;
    /// Copies from either memory to either, and returns when this machine's can be used
    /// again.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// Both are as long as that, and do not overlap.
    unsafe fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        bytes: usize,
    ) -> Result<(), String>;
    /// Zeros.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// It is this device's, and as long as that.
    unsafe fn zero(&self, at: *mut u8, bytes: usize) -> Result<(), String>;
}

/// Blocks start at multiples of this.
pub const ALIGN: usize = 512;

/// Bytes asked of a device at once, or more.
const CHUNK: usize = 64 << 20;

/// Chunks there can be, of all devices. Each is a quarter of those before it, or more,
/// while there is enough.
const CHUNKS: usize = 256;

thread_local! {
    // Constant and without a destructor, as in `thread`.
    static HERE: Cell<Option<&'static dyn Device>> = const { Cell::new(None) };
    /// Whether this thread is within a call of `within`.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread's device is this, or none.
pub fn set(device: Option<&'static dyn Device>) {
    HERE.set(device);
}

/// This thread's device.
pub fn here() -> Option<&'static dyn Device> {
    HERE.try_with(Cell::get).ok().flatten()
}

/// What `f` allocates is memory of this thread's device, if it has one.
pub fn within<T>(f: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            WITHIN.set(self.0);
        }
    }
    let _before = Before(WITHIN.replace(true));
    f()
}

/// Whose memory is at an address; `None` of this machine's.
pub fn of<T>(at: *const T) -> Option<&'static dyn Device> {
    let at = at as usize;
    // None, but in a program that uses a device.
    let mut chunks = RANGES[..COUNT.load(Acquire)].iter().filter_map(OnceLock::get);
    let chunk = chunks.find(|chunk| (chunk.start..chunk.end).contains(&at))?;
    Some(chunk.device)
}

/// Copies `n` elements, from and to this machine's memory or a device's.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// Both are valid for `n` elements, and do not overlap.
pub unsafe fn copy<T: Copy>(
    to: *mut T,
    from: *const T,
    n: usize,
) -> Result<(), String> {
    if n == 0 {
        return Ok(());
    }
    // SAFETY: the caller's.
    unsafe {
        match of(to.cast_const()).or_else(|| of(from)) {
            Some(device) => device.copy(to.cast(), from.cast(), n * size_of::<T>()),
            None => {
                to.copy_from_nonoverlapping(from, n);
                Ok(())
            }
        }
    }
}

/// Zeros `n` elements, of this machine's memory or a device's.
///
/// # Errors
/// The driver's.
///
/// # Safety
/// It is valid for `n` elements, of which zeros are some.
pub unsafe fn zero<T: Copy>(at: *mut T, n: usize) -> Result<(), String> {
    // SAFETY: the caller's.
    unsafe {
        match of(at.cast_const()) {
            _ if n == 0 => {}
            Some(device) => device.zero(at.cast(), n * size_of::<T>())?,
            None => at.write_bytes(0, n),
        }
    }
    Ok(())
}

/// Addresses that are a device's.
struct Chunk {
    start: usize,
    end: usize,
    device: &'static dyn Device,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);
static RANGES: [OnceLock<Chunk>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];

#[derive(Clone, Copy)]
struct Block {
    size: usize,
    /// In which chunk.
    chunk: usize,
    /// Whose it is; `None` of a free one.
    place: Option<Place>,
}

#[derive(Default)]
struct Heap {
    /// By address.
    blocks: BTreeMap<usize, Block>,
    /// By device, size and address.
    free: BTreeSet<(usize, usize, usize)>,
}

static HEAP: Mutex<Heap> =
    Mutex::new(Heap { blocks: BTreeMap::new(), free: BTreeSet::new() });

/// What `f` allocates is memory of this machine: the heap's own books, a driver's.
pub(crate) fn outside<T>(f: impl FnOnce() -> T) -> T {
    let within = WITHIN.replace(false);
    let result = f();
    WITHIN.set(within);
    result
}

fn with<T>(f: impl FnOnce(&mut Heap) -> T) -> T {
    outside(|| f(&mut HEAP.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// What tells devices apart.
fn number(device: &'static dyn Device) -> usize {
    std::ptr::from_ref(device).cast::<u8>() as usize
}

/// The device that this allocation is to be of.
pub(crate) fn wanted() -> Option<&'static dyn Device> {
    if WITHIN.try_with(Cell::get).unwrap_or(false) { here() } else { None }
}

/// A block of a device's memory, booked to `place`; null if there is none.
pub(crate) fn take(device: &'static dyn Device, bytes: usize, place: Place) -> *mut u8 {
    let Some(size) = bytes.max(1).checked_next_multiple_of(ALIGN) else {
        return std::ptr::null_mut();
    };
    let cut = || with(|heap| heap.cut(device, size, place));
    let start = cut().or_else(|| {
        let chunk = obtain(device, size)?;
        // By whom it was obtained, before anybody else can take it.
        with(|heap| heap.add(chunk).and_then(|()| heap.cut(device, size, place)))
    });
    start.map_or(std::ptr::null_mut(), |start| start as *mut u8)
}

/// A chunk in which so many bytes fit. The heap is not locked meanwhile: a driver may
/// wait for a kernel that another rank must first take part in.
fn obtain(device: &'static dyn Device, size: usize) -> Option<Chunk> {
    let count = COUNT.load(Acquire);
    if count == CHUNKS {
        return None;
    }
    let chunks = RANGES[..count].iter().filter_map(OnceLock::get);
    let own = chunks.filter(|chunk| number(chunk.device) == number(device));
    let so_far: usize = own.map(|chunk| chunk.end - chunk.start).sum();
    let mut bytes = size.max(so_far / 4).next_multiple_of(CHUNK);
    loop {
        if let Some(start) = outside(|| device.obtain(bytes)) {
            return Some(Chunk { start, end: start + bytes, device });
        }
        if bytes == size {
            return None;
        }
        // Half of it, and in the end not a byte more than is needed.
        let less = size.max(bytes / 2).next_multiple_of(CHUNK);
        bytes = if less < bytes { less } else { size };
    }
}

/// Whose a block in use is.
pub(crate) fn place(at: *mut u8) -> Option<Place> {
    with(|heap| heap.blocks.get(&(at as usize))?.place)
}

/// Frees a block.
pub(crate) fn give(at: *mut u8) {
    with(|heap| heap.join(at as usize));
}

impl Heap {
    fn cut(
        &mut self,
        device: &'static dyn Device,
        size: usize,
        place: Place,
    ) -> Option<usize> {
        let of = number(device);
        let found = *self.free.range((of, size, 0)..(of + 1, 0, 0)).next()?;
        let (_, found_size, start) = found;
        self.free.remove(&found);
        let chunk = self.blocks.get(&start)?.chunk;
        self.blocks.insert(start, Block { size, chunk, place: Some(place) });
        if found_size > size {
            self.set_free(start + size, found_size - size, chunk, of);
        }
        Some(start)
    }
    fn set_free(&mut self, start: usize, size: usize, chunk: usize, of: usize) {
        self.blocks.insert(start, Block { size, chunk, place: None });
        self.free.insert((of, size, start));
    }
    fn add(&mut self, chunk: Chunk) -> Option<()> {
        let count = COUNT.load(Acquire);
        let (start, size, of) =
            (chunk.start, chunk.end - chunk.start, number(chunk.device));
        RANGES.get(count)?.set(chunk).ok()?;
        COUNT.store(count + 1, Release);
        self.set_free(start, size, count, of);
        Some(())
    }
    /// Frees a block, as one with its free neighbours of the same chunk.
    fn join(&mut self, at: usize) {
        let Some(&Block { mut size, chunk, .. }) = self.blocks.get(&at) else { return };
        let Some(Chunk { device, .. }) = RANGES[chunk].get() else { return };
        let (of, mut start) = (number(*device), at);
        let same = |block: &Block| block.place.is_none() && block.chunk == chunk;
        let next = self.blocks.get(&(at + size)).filter(|block| same(block)).copied();
        if let Some(next) = next {
            self.blocks.remove(&(at + size));
            self.free.remove(&(of, next.size, at + size));
            size += next.size;
        }
        let before = self.blocks.range(..at).next_back();
        let before = before.map(|(start, block)| (*start, *block));
        if let Some((first, block)) = before.filter(|(_, block)| same(block)) {
            self.free.remove(&(of, block.size, first));
            self.blocks.remove(&at);
            start = first;
            size += block.size;
        }
        self.set_free(start, size, chunk, of);
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
