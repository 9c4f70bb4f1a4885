//! A flat run of numbers of which ranges can be lent out at the same time.
use crate::element::Element;
use candle_core::{DType, Result, bail};
use memory::Family;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// Cache lines, and the widest vectors there are.
const ALIGN: usize = 64;

/// A fixed number of elements of one float type, all zero at first.
///
/// A range is leased to read (by any number) or to write (by one), whatever happens to the
/// rest of the buffer: backward writes the gradients of one layer while those of another
/// are on their way to other ranks. Overlapping leases of which one writes are an error,
/// never a wait: two parties that want the same range at the same time are a bug.
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
    dtype: DType,
    len: usize,
    leases: Mutex<Vec<Lease>>,
}

#[derive(Clone, Copy, PartialEq)]
struct Lease {
    start: usize,
    end: usize,
    writes: bool,
}

// SAFETY: the memory is reached only through leases, and `lease` never grants two that
// overlap unless both only read.
unsafe impl Send for Buffer {}
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `len` zeros of `dtype`, charged to `family` in the memory account.
    ///
    /// # Errors
    /// `dtype` is not one of f64, f32, bf16 and f16.
    pub fn zeros(dtype: DType, len: usize, family: Family) -> Result<Arc<Buffer>> {
        if !dtype.is_float() || dtype.size_in_bytes() < 2 {
            bail!("a buffer of {dtype:?}: expected f64, f32, bf16 or f16")
        }
        let bytes = (len * dtype.size_in_bytes()).max(1);
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else {
            bail!("a buffer of {len} elements is larger than the address space")
        };
        let _tag = memory::tag(family);
        // SAFETY: the layout is not empty.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        Ok(Arc::new(Buffer { start, layout, dtype, len, leases: Mutex::default() }))
    }
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Lends `range` to read.
    ///
    /// # Errors
    /// The range is leased to be written, is out of bounds, or `T` is not the type of the
    /// elements.
    pub fn read<T: Element>(self: &Arc<Self>, range: Range<usize>) -> Result<Read<T>> {
        Ok(Read(self.lease(range, false)?))
    }
    /// Lends `range` to write.
    ///
    /// # Errors
    /// The range is leased already, is out of bounds, or `T` is not the type of the
    /// elements.
    pub fn write<T: Element>(
        self: &Arc<Self>,
        range: Range<usize>,
    ) -> Result<Write<T>> {
        Ok(Write(self.lease(range, true)?))
    }
    fn lease<T: Element>(
        self: &Arc<Self>,
        range: Range<usize>,
        writes: bool,
    ) -> Result<Held<T>> {
        let (start, end) = (range.start, range.end);
        if T::DTYPE != self.dtype {
            bail!("elements are {:?}, not {:?}", self.dtype, T::DTYPE)
        }
        if start > end || end > self.len {
            bail!("elements {range:?} of a buffer of {}", self.len)
        }
        let lease = Lease { start, end, writes };
        let mut leases = self.leases.lock().unwrap_or_else(|e| e.into_inner());
        for other in leases.iter().filter(|l| l.start < end && start < l.end) {
            if writes || other.writes {
                bail!(
                    "elements {range:?} wanted to {}, while {}..{} are being {}",
                    if writes { "write" } else { "read" },
                    other.start,
                    other.end,
                    if other.writes { "written" } else { "read" },
                )
            }
        }
        leases.push(lease);
        Ok(Held { buffer: self.clone(), lease, of: PhantomData })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeros` with this layout; every lease holds an `Arc` of
        // the buffer, so none is left.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// What `Read` and `Write` share: the lease ends when this is dropped.
struct Held<T> {
    buffer: Arc<Buffer>,
    lease: Lease,
    of: PhantomData<T>,
}

impl<T> Held<T> {
    fn start(&self) -> *mut T {
        // SAFETY: `lease` checked the bounds and the type.
        unsafe { self.buffer.start.as_ptr().cast::<T>().add(self.lease.start) }
    }
    fn len(&self) -> usize {
        self.lease.end - self.lease.start
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let mut leases = self.buffer.leases.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(at) = leases.iter().position(|l| *l == self.lease) {
            leases.swap_remove(at);
        }
    }
}

/// A range lent to read: a slice until it is dropped.
pub struct Read<T>(Held<T>);

impl<T> Deref for Read<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: inside the allocation, initialized (zeroed at least: a valid value of
        // every float type), and not written while this lease lives.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

/// A range lent to write: a slice until it is dropped.
pub struct Write<T>(Held<T>);

impl<T> Deref for Write<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: as for `Read`; this lease is the only one of its range.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

impl<T> DerefMut for Write<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: this lease is the only one of its range, and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.start(), self.0.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer() -> Arc<Buffer> {
        Buffer::zeros(DType::F32, 10, Family::Other).unwrap()
    }

    #[test]
    fn disjoint_ranges_are_written_at_the_same_time() {
        let buffer = buffer();
        std::thread::scope(|scope| {
            for range in [0..4, 4..10] {
                let buffer = &buffer;
                scope.spawn(move || {
                    buffer.write::<f32>(range.clone()).unwrap().fill(range.end as f32)
                });
            }
        });
        let all = buffer.read::<f32>(0..10).unwrap();
        assert_eq!(all[..], [4., 4., 4., 4., 10., 10., 10., 10., 10., 10.]);
    }

    #[test]
    fn overlapping_leases_are_errors_unless_both_read() {
        let buffer = buffer();
        let first = buffer.read::<f32>(0..5).unwrap();
        let second = buffer.read::<f32>(4..6).unwrap();
        let refused = buffer.write::<f32>(4..8).err().unwrap().to_string();
        assert!(refused.contains("4..8 wanted to write"), "{refused}");
        drop((first, second));
        let write = buffer.write::<f32>(4..8).unwrap();
        assert!(buffer.read::<f32>(7..9).is_err());
        assert!(buffer.read::<f32>(8..9).is_ok());
        drop(write);
        assert!(buffer.read::<f32>(7..9).is_ok());
    }

    #[test]
    fn wrong_types_and_bounds_are_errors() {
        assert!(buffer().read::<f64>(0..1).is_err());
        assert!(buffer().read::<f32>(5..11).is_err());
        assert!(Buffer::zeros(DType::U32, 1, Family::Other).is_err());
    }
}
