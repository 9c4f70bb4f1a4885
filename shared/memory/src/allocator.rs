//! The allocator: a header in front of every block says whose it is.

use crate::account::Place;
use crate::device::Device;
use crate::{blocks, device, thread};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Books every allocation to the thread's rank and family. Small blocks come from
/// [`System`], large ones from [`blocks`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Tagging;

/// The 16 bytes right before what the user gets.
#[repr(C, align(16))]
struct Header {
    place: Place,
    /// Whether the block is one of `blocks`, not `System`'s.
    large: bool,
}

const HEADER: usize = size_of::<Header>();

// A large block's own fields, then the header, then the user's bytes.
const _: () = assert!(blocks::RESERVED + HEADER <= 64);

/// From the start of a small block to what the user gets.
fn small_offset(align: usize) -> usize {
    align.max(HEADER)
}

/// The same for a large block, so that buffers start on a cache line.
fn large_offset(align: usize) -> usize {
    align.max(64)
}

/// What to ask `System` for; `None` if it is more than there can be.
fn small_layout(size: usize, align: usize) -> Option<Layout> {
    let size = size.checked_add(small_offset(align))?;
    Layout::from_size_align(size, align.max(HEADER)).ok()
}

/// Whether `blocks` is to serve a layout.
fn is_large(layout: Layout) -> bool {
    cfg!(unix) && layout.size() >= blocks::SMALLEST && layout.align() <= blocks::ALIGN
}

impl Tagging {
    /// # Safety
    /// As for [`GlobalAlloc::alloc`].
    unsafe fn obtain(layout: Layout, place: Place, zeroed: bool) -> *mut u8 {
        if let Some(device) = device::wanted() {
            // SAFETY: the caller's promise.
            return unsafe { Self::obtain_there(device, layout, place, zeroed) };
        }
        let large = is_large(layout);
        // Up to `clean` the block may hold what its last user wrote.
        let (start, offset, clean) = if large {
            let offset = large_offset(layout.align());
            // No overflow: a layout's size is at most isize::MAX.
            let (start, clean) = blocks::take(layout.size() + offset);
            (start, offset, clean)
        } else {
            let Some(whole) = small_layout(layout.size(), layout.align()) else {
                return ptr::null_mut();
            };
            // SAFETY: `whole` is never empty: it has room for the header.
            let start = unsafe {
                if zeroed { System.alloc_zeroed(whole) } else { System.alloc(whole) }
            };
            (start, small_offset(layout.align()), 0)
        };
        if start.is_null() {
            return start;
        }
        // SAFETY: the block has `offset + layout.size()` bytes, and `offset` is a
        // multiple of 16 not below the header's size.
        unsafe {
            let user = start.add(offset);
            let header = user.sub(HEADER).cast::<Header>();
            header.write(Header { place, large });
            if zeroed && clean > offset {
                user.write_bytes(0, layout.size().min(clean - offset));
            }
            place.add(layout.size());
            user
        }
    }

    /// # Safety
    /// As for [`GlobalAlloc::alloc`].
    unsafe fn obtain_there(
        device: &'static dyn Device,
        layout: Layout,
        place: Place,
        zeroed: bool,
    ) -> *mut u8 {
        if layout.align() > device::ALIGN {
            return ptr::null_mut();
        }
        let user = device::take(device, layout.size(), place);
        if user.is_null() {
            return user;
        }
        let zero = || {
            // SAFETY: it has as many bytes.
            device::outside(|| unsafe { device.zero(user, layout.size()) })
        };
        if zeroed && zero().is_err() {
            device::give(user);
            return ptr::null_mut();
        }
        place.add(layout.size());
        user
    }
}

// SAFETY: `obtain` returns blocks of at least the layout's size at its alignment, all
// of whose bytes are the caller's; a block goes back to where its header says it came
// from, with the layout it was made with. Nothing here unwinds: there is no arithmetic
// that can overflow and no thread-local that can be gone.
unsafe impl GlobalAlloc for Tagging {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { Self::obtain(layout, thread::here(), false) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { Self::obtain(layout, thread::here(), true) }
    }

    unsafe fn dealloc(&self, user: *mut u8, layout: Layout) {
        if device::of(user).is_some() {
            if let Some(place) = device::place(user) {
                place.subtract(layout.size());
            }
            return device::give(user);
        }
        // SAFETY: `user` came from `obtain`, so its header is before it, and the
        // offset depends on the alignment alone, which the caller repeats.
        unsafe {
            let Header { place, large } = user.sub(HEADER).cast::<Header>().read();
            place.subtract(layout.size());
            if !large {
                let offset = small_offset(layout.align());
                let (size, align) =
                    (layout.size() + offset, layout.align().max(HEADER));
                let whole = Layout::from_size_align_unchecked(size, align);
                System.dealloc(user.sub(offset), whole);
            } else {
                blocks::give(user.sub(large_offset(layout.align())));
            }
        }
    }

    unsafe fn realloc(&self, user: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if let Some(device) = device::of(user) {
            let place = device::place(user).unwrap_or_else(thread::here);
            // SAFETY: as in `dealloc`; the caller promises that `size` is no overflow.
            unsafe {
                let wanted = Layout::from_size_align_unchecked(size, layout.align());
                let moved = Self::obtain_there(device, wanted, place, false);
                let bytes = size.min(layout.size());
                if moved.is_null()
                    || device::outside(|| device.copy(moved, user, bytes)).is_err()
                {
                    return ptr::null_mut();
                }
                self.dealloc(user, layout);
                return moved;
            }
        }
        // SAFETY: as in `dealloc`; the caller promises that `size` is no overflow.
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            let Header { place, large } = user.sub(HEADER).cast::<Header>().read();
            let moved = if !large && !is_large(wanted) {
                let offset = small_offset(layout.align());
                let (old, align) = (layout.size() + offset, layout.align().max(HEADER));
                let Some(new) = small_layout(size, layout.align()) else {
                    return ptr::null_mut();
                };
                let whole = Layout::from_size_align_unchecked(old, align);
                let start = System.realloc(user.sub(offset), whole, new.size());
                if start.is_null() {
                    return start;
                }
                start.add(offset)
            } else if large && fits(user, wanted) {
                user
            } else {
                let moved = Self::obtain(wanted, place, false);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(user, size.min(layout.size()));
                    self.dealloc(user, layout);
                }
                return moved;
            };
            if size > layout.size() {
                place.add(size - layout.size());
            } else {
                place.subtract(layout.size() - size);
            }
            moved
        }
    }
}

/// Whether a large block may stay where it is: it is big enough and at least half used.
///
/// # Safety
/// `user` is in a large block, made with `wanted`'s alignment.
unsafe fn fits(user: *mut u8, wanted: Layout) -> bool {
    let offset = large_offset(wanted.align());
    // SAFETY: the caller's promise.
    let size = unsafe { blocks::size(user.sub(offset)) };
    (size / 2..=size - offset).contains(&wanted.size())
}
