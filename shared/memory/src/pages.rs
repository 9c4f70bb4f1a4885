//! Pages from the kernel.

/// Fresh zero pages, or null.
#[cfg(unix)]
pub fn map(bytes: usize) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping, at no address in particular.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if start == libc::MAP_FAILED { std::ptr::null_mut() } else { start.cast() }
}

/// Elsewhere all blocks are `System`'s.
#[cfg(not(unix))]
pub fn map(_: usize) -> *mut u8 {
    std::ptr::null_mut()
}

/// Returns pages to the kernel; they are zero from then on. Whether it was done.
///
/// # Safety
/// Nobody needs what is in them.
#[cfg(target_os = "linux")]
pub unsafe fn forget<T>(start: *mut T, bytes: usize) -> bool {
    // SAFETY: the caller's promise. A start that is no multiple of the page size is
    // refused.
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTNEED) == 0 }
}

/// # Safety
/// None needed.
#[cfg(not(target_os = "linux"))]
pub unsafe fn forget<T>(_: *mut T, _: usize) -> bool {
    false
}
