//! A flat run of numbers of which ranges can be lent out at the same time.
use crate::element::Element;
use candle_core::{DType, Error, Result, bail};
use memmap2::{MmapMut, MmapOptions};
use memory::{Family, device};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Cache lines, and the widest vectors there are.
const ALIGN: usize = 64;

/// Parts of a file are mapped from multiples of this on, whatever the machine's pages.
const PAGE: u64 = 1 << 16;

/// A fixed number of elements of one float type.
///
/// A range is leased to read (by any number) or to write (by one), whatever happens to
/// the rest of the buffer: backward writes the gradients of one layer while those of
/// another are on their way to other ranks. Overlapping leases of which one writes are
/// an error, never a wait: two parties that want the same range at the same time are a
/// bug.
///
/// On a rank that computes on a device, the memory is the device's ([`device`]): who
/// reads or writes it here copies it ([`Read::here`]).
///
/// A buffer can give its memory back ([`Buffer::release`]) and gets some again when it
/// is next written: gradients need none while a step's activations pile up.
pub struct Buffer {
    layout: Layout,
    dtype: DType,
    len: usize,
    family: Family,
    /// Whether the memory may be given back between uses.
    comes_and_goes: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` while the buffer has no memory.
    start: Option<NonNull<u8>>,
    leases: Vec<Lease>,
    /// The file that the memory is, if it is one.
    mapped: Option<MmapMut>,
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
        // SAFETY: the memory it gets is zeroed.
        let buffer = unsafe { Buffer::without_memory(dtype, len, family)? };
        // SAFETY: the layout is not empty. (On a device, zeroing may fail.)
        let start = buffer
            .allocate(|layout| unsafe { device::within(|| alloc_zeroed(layout)) })?;
        buffer.lock().start = Some(start);
        buffer.comes_and_goes.store(false, Ordering::Relaxed);
        Ok(buffer)
    }
    /// As [`Buffer::zeros`], but it takes memory only when it is first written, and is
    /// not zeroed: that would be one more pass over all gradients in each step.
    ///
    /// # Safety
    /// After this, and after each [`Buffer::release`], no element is read before it was
    /// written.
    ///
    /// # Errors
    /// `dtype` is not one of f64, f32, bf16 and f16.
    pub unsafe fn without_memory(
        dtype: DType,
        len: usize,
        family: Family,
    ) -> Result<Arc<Buffer>> {
        if !dtype.is_float() || dtype.size_in_bytes() < 2 {
            bail!("a buffer of {dtype:?}: expected f64, f32, bf16 or f16")
        }
        let bytes = (len * dtype.size_in_bytes()).max(1);
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else {
            bail!("a buffer of {len} elements is larger than the address space")
        };
        let (comes_and_goes, state) = (AtomicBool::new(true), Mutex::default());
        Ok(Arc::new(Buffer { layout, dtype, len, family, comes_and_goes, state }))
    }
    /// As [`Buffer::zeros`], in a part of `file` from byte `start` on, which is
    /// cleared: the system writes it to the disk when memory is short. It counts for
    /// nothing in the memory account.
    ///
    /// # Errors
    /// `dtype` is not one of f64, f32, bf16 and f16; the file cannot be mapped, or has
    /// no room on its disk.
    pub fn mapped(
        dtype: DType,
        len: usize,
        file: &File,
        start: u64,
    ) -> Result<Arc<Buffer>> {
        // SAFETY: it gets memory here, and never gives it back.
        let buffer = unsafe { Buffer::without_memory(dtype, len, Family::Other)? };
        let bytes = buffer.layout.size();
        let map = || {
            // Written and not only mapped: a full disk is an error here, but the
            // program's end by a signal where a mapped page finds no place.
            let mut writer = file;
            writer.seek(SeekFrom::Start(start))?;
            io::copy(&mut io::repeat(0).take(bytes as u64), &mut writer)?;
            // SAFETY: nobody else has the file open: it has no name any more, or the
            // user was told that it is this program's alone.
            unsafe { MmapOptions::new().offset(start).len(bytes).map_mut(file) }
        };
        let mut map = map().map_err(Error::wrap)?;
        {
            let mut state = buffer.lock();
            state.start = NonNull::new(map.as_mut_ptr());
            state.mapped = Some(map);
        }
        buffer.comes_and_goes.store(false, Ordering::Relaxed);
        Ok(buffer)
    }
    /// Bytes from one buffer in a file to where the next may start.
    pub fn mapped_bytes(dtype: DType, len: usize) -> u64 {
        ((len * dtype.size_in_bytes()).max(1) as u64).next_multiple_of(PAGE)
    }
    fn allocate(&self, how: impl FnOnce(Layout) -> *mut u8) -> Result<NonNull<u8>> {
        let _tag = memory::tag(self.family);
        match NonNull::new(how(self.layout)) {
            Some(start) => Ok(start),
            None => bail!(
                "no memory for {} bytes of {}: take a smaller model or more memory",
                self.layout.size(),
                self.family.name()
            ),
        }
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Gives the memory back, and with it what the elements were.
    ///
    /// # Errors
    /// A range is leased, or the buffer was made by [`Buffer::zeros`].
    pub fn release(&self) -> Result<()> {
        if !self.comes_and_goes.load(Ordering::Relaxed) {
            bail!("a buffer of {} that keeps its memory", self.family.name())
        }
        self.free()
    }
    fn free(&self) -> Result<()> {
        let mut state = self.lock();
        if let Some(lease) = state.leases.first() {
            bail!("elements {}..{} are in use: not released", lease.start, lease.end)
        }
        if let Some(start) = state.start.take()
            && state.mapped.take().is_none()
        {
            // SAFETY: allocated with this layout; no lease is left.
            unsafe { dealloc(start.as_ptr(), self.layout) }
        }
        Ok(())
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
    /// The range is leased to be written, is out of bounds, or `T` is not the type of
    /// the elements.
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
        let mut state = self.lock();
        for other in state.leases.iter().filter(|l| l.start < end && start < l.end) {
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
        let memory = match state.start {
            Some(memory) => memory,
            // SAFETY: the layout is not empty. Nothing is read before it is written, as
            // whoever asked for a buffer without memory promised.
            None if writes => {
                self.allocate(|layout| unsafe { device::within(|| alloc(layout)) })?
            }
            None => bail!("elements {range:?} of a buffer that was released"),
        };
        state.start = Some(memory);
        state.leases.push(lease);
        // SAFETY: the bounds and the type were checked above.
        let first = unsafe { memory.as_ptr().cast::<T>().add(start) };
        Ok(Held { buffer: self.clone(), lease, first })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Every lease holds an `Arc` of the buffer, so none is left.
        let _ = self.free();
    }
}

/// What `Read` and `Write` share: the lease ends when this is dropped.
struct Held<T> {
    buffer: Arc<Buffer>,
    lease: Lease,
    first: *mut T,
}

// SAFETY: a lease may end in another thread than it began; the elements are floats.
unsafe impl<T: Send> Send for Held<T> {}
unsafe impl<T: Sync> Sync for Held<T> {}

impl<T> Held<T> {
    fn len(&self) -> usize {
        self.lease.end - self.lease.start
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let leases = &mut self.buffer.lock().leases;
        if let Some(at) = leases.iter().position(|l| *l == self.lease) {
            leases.swap_remove(at);
        }
    }
}

/// A range lent to read: a slice until it is dropped, which may be that of a device's
/// memory, for whoever starts a kernel.
pub struct Read<T>(Held<T>);

impl<T: Element> Read<T> {
    /// The elements, to be read here: themselves, or a copy of a device's.
    ///
    /// # Errors
    /// The device's.
    pub fn here(&self) -> Result<Cow<'_, [T]>> {
        if device::of(self.0.first).is_none() {
            return Ok(Cow::Borrowed(self));
        }
        let mut copy = vec![T::default(); self.0.len()];
        // SAFETY: both have as many elements.
        unsafe { device::copy(copy.as_mut_ptr(), self.0.first, copy.len()) }
            .map_err(Error::msg)?;
        Ok(Cow::Owned(copy))
    }
}

impl<T> Deref for Read<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: inside the allocation, which lives while the lease does, and not
        // written meanwhile.
        unsafe { std::slice::from_raw_parts(self.0.first, self.0.len()) }
    }
}

/// A range lent to write: a slice until it is dropped; as for [`Read`].
pub struct Write<T>(Held<T>);

impl<T> Deref for Write<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: as for `Read`; this lease is the only one of its range.
        unsafe { std::slice::from_raw_parts(self.0.first, self.0.len()) }
    }
}

impl<T> DerefMut for Write<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: this lease is the only one of its range, and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.first, self.0.len()) }
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
    fn released_memory_comes_back_with_the_next_write() {
        memory::set_rank(41);
        let gradients = || memory::account(41)[Family::Gradients].live;
        // SAFETY: all of it is written before any is read.
        let buffer =
            unsafe { Buffer::without_memory(DType::F64, 1000, Family::Gradients) };
        let buffer = buffer.unwrap();
        assert_eq!(gradients(), 0);
        assert!(buffer.read::<f64>(0..1).is_err(), "nothing was written");
        buffer.write::<f64>(0..1000).unwrap().fill(3.0);
        assert!(gradients() >= 8000);
        let read = buffer.read::<f64>(5..6).unwrap();
        assert!(buffer.release().unwrap_err().to_string().contains("5..6 are in use"));
        assert_eq!(read[0], 3.0);
        drop(read);
        buffer.release().unwrap();
        assert_eq!(gradients(), 0);
        assert!(buffer.write::<f64>(0..1).is_ok());
    }

    /// A page of a hole in a file may find no place on the disk when it is written.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_mapped_buffer_has_its_place_on_the_disk() {
        use std::os::unix::fs::MetadataExt;
        // In memory, what is written has its place at once.
        let folder = [std::path::PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let folder = folder.into_iter().find(|folder| folder.is_dir()).unwrap();
        let file = tempfile::tempfile_in(folder).unwrap();
        let start = Buffer::mapped_bytes(DType::F32, 30_000);
        for start in [0, start] {
            let buffer = Buffer::mapped(DType::F32, 30_000, &file, start).unwrap();
            let placed = file.metadata().unwrap().blocks() * 512;
            // The gap between two has none.
            let needed = if start == 0 { 120_000 } else { 240_000 };
            assert!(placed >= needed, "{placed} of {needed} bytes");
            assert!(buffer.read::<f32>(0..30_000).unwrap().iter().all(|x| *x == 0.0));
            buffer.write::<f32>(0..30_000).unwrap().fill(1.0);
        }
        // Cleared, whatever was there.
        let again = Buffer::mapped(DType::F32, 30_000, &file, 0).unwrap();
        assert!(again.read::<f32>(0..30_000).unwrap().iter().all(|x| *x == 0.0));
        assert!(
            Buffer::mapped(DType::F32, 1, &File::open("/dev/full").unwrap(), 0)
                .is_err()
        );
    }

    #[test]
    fn wrong_types_and_bounds_are_errors() {
        assert!(buffer().read::<f64>(0..1).is_err());
        assert!(buffer().read::<f32>(5..11).is_err());
        assert!(Buffer::zeros(DType::U32, 1, Family::Other).is_err());
    }
}
