//! Large blocks, kept for reuse.
//!
//! A training step allocates and frees the same large buffers as the step before. Given
//! back to the kernel each time, every page of them must be cleared and mapped again.
//! So a freed block of 64 KiB or more is kept, and the next one of its size
//! class (eight classes per doubling) gets it.
//!
//! **What is kept never raises the peak much**: before fresh memory is asked for, kept
//! blocks are returned, least recently asked-for class first, until blocks held
//! and kept together fit into [`SLACK`] more than the most ever held. A program
//! that loads much, then needs little, calls [`release`] in between.

use pages::{map, unmap};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

/// Allocations of this many bytes and more are blocks.
pub const SMALLEST: usize = 64 << 10;

/// Blocks start on a multiple of this.
pub const ALIGN: usize = 4096;

/// One part in this many of the most ever held may be kept beyond it.
pub const SLACK: usize = 8;

/// Sizes are multiples of this, and at most an eighth more than was asked for.
const UNIT: usize = SMALLEST / 8;
const CLASSES: usize = 8 * 32;

/// The smallest class with room for `bytes`; `None` above 2⁴⁸ bytes.
pub(crate) fn class_of(bytes: usize) -> Option<u16> {
    let units = bytes.div_ceil(UNIT).max(8);
    let doublings = (units.ilog2() - 3) as usize;
    let class = 8 * doublings + units.div_ceil(1 << doublings) - 8;
    (class < CLASSES).then_some(class as u16)
}

/// The bytes a block of this class has.
pub(crate) fn capacity(class: u16) -> usize {
    ((8 + class as usize % 8) << (class / 8)) * UNIT
}

/// A kept block, whose first bytes point to the next one.
struct Kept {
    next: *mut Kept,
}

struct Shelves {
    blocks: [*mut Kept; CLASSES],
    /// When each class was last asked for, in calls of `take`.
    asked: [u64; CLASSES],
    now: u64,
    /// Bytes of the blocks handed out, the most they ever were, and of the kept.
    held: usize,
    most: usize,
    kept: usize,
}

impl Shelves {
    fn pop(&mut self, class: usize) -> *mut Kept {
        let block = self.blocks[class];
        if !block.is_null() {
            // SAFETY: a kept block is ours, and `give` wrote its link.
            self.blocks[class] = unsafe { (*block).next };
            self.kept -= capacity(class as u16);
        }
        block
    }

    fn push(&mut self, class: usize, block: *mut Kept) {
        // SAFETY: the block was given back, so its bytes are ours; it starts on a page.
        unsafe { (*block).next = self.blocks[class] };
        self.blocks[class] = block;
        self.kept += capacity(class as u16);
    }

    /// Takes blocks off the shelves until at most `bytes` are kept.
    fn shed(&mut self, bytes: usize) -> [*mut Kept; CLASSES] {
        let mut shed = [null_mut::<Kept>(); CLASSES];
        while self.kept > bytes {
            let stale = (0..CLASSES)
                .filter(|&class| !self.blocks[class].is_null())
                .min_by_key(|&class| self.asked[class]);
            let Some(class) = stale else { break };
            while self.kept > bytes && !self.blocks[class].is_null() {
                let block = self.pop(class);
                // SAFETY: just popped, so ours.
                unsafe { (*block).next = shed[class] };
                shed[class] = block;
            }
        }
        shed
    }
}

/// Shelves behind a spin lock, held for a few instructions. (A `Mutex` may allocate on
/// some systems, which an allocator cannot.)
struct Locked {
    busy: AtomicBool,
    shelves: UnsafeCell<Shelves>,
}

// SAFETY: `shelves` is touched in `with` alone, by one thread at a time.
unsafe impl Sync for Locked {}

static SHELVES: Locked = Locked {
    busy: AtomicBool::new(false),
    shelves: UnsafeCell::new(Shelves {
        blocks: [null_mut(); CLASSES],
        asked: [0; CLASSES],
        now: 0,
        held: 0,
        most: 0,
        kept: 0,
    }),
};

impl Locked {
    fn with<T>(&self, work: impl FnOnce(&mut Shelves) -> T) -> T {
        let mut spins = 0;
        while self.busy.compare_exchange_weak(false, true, Acquire, Acquire).is_err() {
            spins += 1;
            if spins % 64 == 0 {
                // Its holder may be waiting for this core.
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        // SAFETY: `busy` was false and is now ours; nothing in `work` comes back here.
        let result = work(unsafe { &mut *self.shelves.get() });
        self.busy.store(false, Release);
        result
    }
}

/// A block of this class and whether it is fresh, that is, all zero. Null if there is
/// no memory.
pub(crate) fn take(class: u16) -> (*mut u8, bool) {
    let (block, shed) = SHELVES.with(|shelves| {
        shelves.now += 1;
        shelves.asked[class as usize] = shelves.now;
        shelves.held += capacity(class);
        shelves.most = shelves.most.max(shelves.held);
        let block = shelves.pop(class as usize);
        if !block.is_null() {
            return (block, None);
        }
        let limit = shelves.most + shelves.most / SLACK;
        let room = limit - shelves.held;
        (block, (shelves.kept > room).then(|| shelves.shed(room)))
    });
    if let Some(shed) = shed {
        unmap_all(&shed);
    }
    if !block.is_null() {
        return (block.cast(), false);
    }
    let mut fresh = map(capacity(class));
    if fresh.is_null() && release() > 0 {
        fresh = map(capacity(class));
    }
    if fresh.is_null() {
        SHELVES.with(|shelves| shelves.held -= capacity(class));
    }
    (fresh, true)
}

/// Keeps a block that `take` gave for this class.
///
/// # Safety
/// Nobody uses the block any more.
pub(crate) unsafe fn give(block: *mut u8, class: u16) {
    SHELVES.with(|shelves| {
        shelves.held -= capacity(class);
        shelves.push(class as usize, block.cast());
    });
}

/// Bytes of freed blocks that are kept for reuse. They are in no account.
pub fn cached() -> usize {
    SHELVES.with(|shelves| shelves.kept)
}

/// Returns all kept blocks to the kernel and forgets how much was once held, so
/// that from here on as much is kept as is needed from here on. Returns their bytes.
pub fn release() -> usize {
    let (bytes, shed) = SHELVES.with(|shelves| {
        shelves.most = shelves.held;
        (shelves.kept, shelves.shed(0))
    });
    unmap_all(&shed);
    bytes
}

fn unmap_all(shed: &[*mut Kept; CLASSES]) {
    for (class, &first) in shed.iter().enumerate() {
        let mut block = first;
        while !block.is_null() {
            // SAFETY: a shed block is on no shelf and in nobody's hands.
            let next = unsafe { (*block).next };
            // SAFETY: as above, and `map` made it with this capacity.
            unsafe { unmap(block.cast(), capacity(class as u16)) };
            block = next;
        }
    }
}

#[cfg(unix)]
mod pages {
    /// Fresh zero pages, or null.
    pub fn map(bytes: usize) -> *mut u8 {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: a new anonymous mapping, at no address in particular.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        if start == libc::MAP_FAILED { std::ptr::null_mut() } else { start.cast() }
    }

    /// # Safety
    /// `start` came from `map(bytes)` and nobody uses it any more.
    pub unsafe fn unmap(start: *mut u8, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.cast(), bytes) };
    }
}

#[cfg(not(unix))]
mod pages {
    use std::alloc::{GlobalAlloc, Layout, System};

    fn layout(bytes: usize) -> Layout {
        // SAFETY: a power of two, and capacities are far below the limit.
        unsafe { Layout::from_size_align_unchecked(bytes, super::ALIGN) }
    }

    /// Fresh zero pages, or null.
    pub fn map(bytes: usize) -> *mut u8 {
        // SAFETY: not empty.
        unsafe { System.alloc_zeroed(layout(bytes)) }
    }

    /// # Safety
    /// `start` came from `map(bytes)` and nobody uses it any more.
    pub unsafe fn unmap(start: *mut u8, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_smallest_that_fit_and_waste_an_eighth() {
        let mut sizes: Vec<usize> = (SMALLEST..3 * SMALLEST).step_by(509).collect();
        sizes.extend((17..46).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1]));
        for bytes in sizes {
            let class = class_of(bytes).unwrap();
            assert!(capacity(class) >= bytes, "{bytes}");
            assert!(capacity(class) <= bytes + bytes / 8 + UNIT, "{bytes}");
            assert!(class == 0 || capacity(class - 1) < bytes, "{bytes}");
            assert_eq!(capacity(class) % ALIGN, 0);
        }
        assert_eq!(class_of(usize::MAX), None);
    }
}
