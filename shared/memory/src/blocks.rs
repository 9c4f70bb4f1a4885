//! Large blocks: a heap that gives nothing back to the kernel unless told to.
//!
//! A training step allocates and frees the same large buffers as the step before. Given
//! back to the kernel each time, every page of them must be cleared and mapped again at
//! first touch. So blocks of 64 KiB and more come from a heap of our own: chunks of
//! address space, cut at page boundaries, the smallest free block that fits first,
//! neighbours joined when freed (best fit with boundary tags: Knuth, The Art of
//! Computer Programming, volume 1, 2.5). What was freed in one size serves another, so
//! that no more memory is ever resident than was once in use, but for holes.
//!
//! Measured (`cargo run -p memory --example policies`, two AMD cores, glibc 2.36), on a
//! step that allocates, writes and frees what twelve layers keep and use:
//!
//! | ranks | policy | ms | page faults | peak MB |
//! | --- | --- | --- | --- | --- |
//! | 1 | glibc as it comes | 219 | 86428 | 247 |
//! | 1 | glibc, `mallopt` mmap and trim thresholds | 77 | 409 | 251 |
//! | 1 | glibc, that and one arena for all threads | 73 | 18 | 247 |
//! | 1 | this heap | 74 | 61 | 246 |
//! | 2 | glibc as it comes | 401 | 140014 | 495 |
//! | 2 | glibc, `mallopt` | 158 | 766 | 506 |
//! | 2 | glibc, one arena | 142 | 0 | 505 |
//! | 2 | this heap | 138 | 123 | 514 |
//!
//! With 200 blocks of 1–8 MB freed in reverse, `mallopt` alone does nothing for threads
//! other than the main one (77,916 faults a step against 79,521), and ranks are
//! threads: such a thread's arena unmaps what falls empty. One arena is as good as this
//! heap, but then all threads contend for its lock for their small blocks too, and it
//! is glibc's alone. Keeping freed blocks by size class was tried as well: as fast,
//! with a tenth more peak, or 20,000 faults a step when it was bounded to less.

use bins::Bins;
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

#[path = "bins.rs"]
mod bins;

/// Allocations of this many bytes and more are blocks.
pub const SMALLEST: usize = 64 << 10;

/// Blocks start on a multiple of this, and have a multiple of it.
pub const ALIGN: usize = 4096;

/// What a block keeps for itself at its start; the allocator's header comes after.
pub(crate) const RESERVED: usize = size_of::<Block>();
const _: () = assert!(RESERVED <= 48);

/// Bytes of address space asked for at once; what is never touched costs nothing.
const CHUNK: usize = 256 << 20;

/// The start of a block, in the block.
#[repr(C)]
struct Block {
    /// Bytes from here to the next block. Zero in the mark at a chunk's end.
    size: usize,
    /// The size of the block before this one; zero if this is a chunk's first.
    before: usize,
    /// From this offset on, a free block's bytes were never written: they are zero.
    clean: usize,
    /// Neighbours in the bin, of a free block.
    next: *mut Block,
    previous: *mut Block,
    free: bool,
}

struct Heap {
    bins: Bins,
    /// Address space of all chunks, in bytes.
    mapped: usize,
    /// Bytes of free blocks that were written once.
    kept: usize,
}

// Every pointer below is to a block of a chunk of ours, and the heap is locked: its
// blocks are linked gaplessly by `size` and `before`, from a chunk's first block to the
// mark at its end, and the fields of a block are touched by nobody else.
impl Heap {
    unsafe fn link(&mut self, block: *mut Block) {
        // SAFETY: see above; the block is in no bin.
        unsafe {
            (*block).free = true;
            (*after(block)).before = (*block).size;
            self.kept += (*block).clean;
            self.bins.link(block);
        }
    }

    unsafe fn unlink(&mut self, block: *mut Block) {
        // SAFETY: see above; the block is in its bin.
        unsafe {
            self.bins.unlink(block);
            self.kept -= (*block).clean;
            (*block).free = false;
        }
    }

    /// A block of exactly `size` bytes and from where on it is clean; null if there
    /// is no memory.
    unsafe fn take(&mut self, size: usize) -> (*mut Block, usize) {
        // SAFETY: see above; `rest` lies within the block found, which is big enough.
        unsafe {
            let mut block = self.bins.find(size);
            if block.is_null() {
                block = self.grow(size);
            }
            if block.is_null() {
                return (block, 0);
            }
            self.unlink(block);
            if (*block).size > size {
                let rest = block.byte_add(size);
                (*rest).size = (*block).size - size;
                (*rest).before = size;
                (*rest).clean = (*block).clean.saturating_sub(size).max(RESERVED);
                (*block).size = size;
                self.link(rest);
            }
            (block, (*block).clean.min(size))
        }
    }

    /// Frees a block, as one with its free neighbours.
    unsafe fn give(&mut self, mut block: *mut Block) {
        // SAFETY: see above.
        unsafe {
            // Whatever its user did not write is not known.
            (*block).clean = (*block).size;
            let next = after(block);
            if (*next).free {
                self.unlink(next);
                (*block).clean = (*block).size + (*next).clean;
                (*block).size += (*next).size;
            }
            if (*block).before > 0 {
                let previous = block.byte_sub((*block).before);
                if (*previous).free {
                    self.unlink(previous);
                    (*previous).clean = (*previous).size + (*block).clean;
                    (*previous).size += (*block).size;
                    block = previous;
                }
            }
            self.link(block);
        }
    }

    /// A new chunk as one free block of at least `size` bytes; null if there is none.
    unsafe fn grow(&mut self, size: usize) -> *mut Block {
        // The mark at the end has a page.
        let need = size + ALIGN;
        let mut bytes = need.max(CHUNK).max(self.mapped / 2).next_multiple_of(ALIGN);
        let mut chunk = pages::map(bytes).cast::<Block>();
        if chunk.is_null() {
            bytes = need;
            chunk = pages::map(bytes).cast();
        }
        if chunk.is_null() {
            return chunk;
        }
        self.mapped += bytes;
        // SAFETY: a fresh chunk of zeros: the mark is there already, with size 0, not
        // free.
        unsafe {
            (*chunk).size = bytes - ALIGN;
            (*chunk).clean = RESERVED;
            self.link(chunk);
        }
        chunk
    }
}

unsafe fn after(block: *mut Block) -> *mut Block {
    // SAFETY: a block is followed by another, or by the mark at the chunk's end.
    unsafe { block.byte_add((*block).size) }
}

/// The heap behind a spin lock, held for some tens of instructions. (A `Mutex` may
/// allocate on some systems, which an allocator cannot.)
struct Locked {
    busy: AtomicBool,
    heap: UnsafeCell<Heap>,
}

// SAFETY: `heap` is touched in `with` alone, by one thread at a time.
unsafe impl Sync for Locked {}

static HEAP: Locked = Locked {
    busy: AtomicBool::new(false),
    heap: UnsafeCell::new(Heap { bins: Bins::new(), mapped: 0, kept: 0 }),
};

impl Locked {
    fn with<T>(&self, work: impl FnOnce(&mut Heap) -> T) -> T {
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
        let result = work(unsafe { &mut *self.heap.get() });
        self.busy.store(false, Release);
        result
    }
}

/// A block of at least `bytes`, and the offset from which on it is zero. Null if there
/// is no memory.
pub(crate) fn take(bytes: usize) -> (*mut u8, usize) {
    let Some(size) = bytes.checked_next_multiple_of(ALIGN) else {
        return (null_mut(), 0);
    };
    if size > isize::MAX as usize / 2 {
        return (null_mut(), 0);
    }
    // SAFETY: the heap is locked.
    let (block, clean) = HEAP.with(|heap| unsafe { heap.take(size) });
    (block.cast(), clean)
}

/// The bytes a block has.
///
/// # Safety
/// `take` gave the block, and it has not been given back.
pub(crate) unsafe fn size(block: *mut u8) -> usize {
    // SAFETY: the size of a block in use does not change.
    unsafe { (*block.cast::<Block>()).size }
}

/// Frees a block.
///
/// # Safety
/// `take` gave the block, and nobody uses it any more.
pub(crate) unsafe fn give(block: *mut u8) {
    // SAFETY: the heap is locked.
    HEAP.with(|heap| unsafe { heap.give(block.cast()) });
}

/// Bytes of freed blocks that are kept for reuse; they are in no account. Resident are
/// those of them that were ever written.
pub fn cached() -> usize {
    HEAP.with(|heap| heap.kept)
}

/// Returns the pages of all free blocks to the kernel, as is sensible between loading
/// much and needing little, and says how many bytes they were. Does nothing on
/// systems other than Linux and where pages are not of 4 KiB.
pub fn release() -> usize {
    HEAP.with(|heap| {
        let mut released = 0;
        for mut block in heap.bins.each() {
            while !block.is_null() {
                // SAFETY: a block in a bin is free, and the heap is locked.
                unsafe {
                    let Block { clean, next, .. } = *block;
                    // Its first page stays: the block's own fields are in it.
                    let end = clean.next_multiple_of(ALIGN);
                    if end > ALIGN && pages::forget(block.byte_add(ALIGN), end - ALIGN)
                    {
                        (*block).clean = ALIGN;
                        released += clean - ALIGN;
                    }
                    block = next;
                }
            }
        }
        heap.kept -= released;
        released
    })
}

#[path = "pages.rs"]
mod pages;

#[cfg(test)]
#[path = "heap_tests.rs"]
mod tests;
