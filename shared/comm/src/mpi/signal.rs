//! The end of a process by another's hand: mpirun ends all when one has died.
use crate::error::{Error, Result};
use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::Builder;
use std::time::Duration;

/// As shells report SIGTERM.
const STATUS: c_int = 128 + libc::SIGTERM;

/// After the last words. mpirun, which is ending the run, may not read what a process
/// said that is gone already; it kills after a second.
const LINGER: Duration = Duration::from_millis(300);

/// Where the handler writes to.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// From now on SIGTERM ends the process after `report`.
///
/// # Errors
/// The system's.
pub(super) fn listen(report: impl Fn() + Send + 'static) -> Result<()> {
    let failed = |what: &str| {
        let error = std::io::Error::last_os_error();
        Error::new(format!("cannot listen for SIGTERM: {what}: {error}"))
    };
    let mut ends = [0; 2];
    // SAFETY: two descriptors fit there.
    if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
        return Err(failed("pipe"));
    }
    BELL.store(ends[1], Ordering::SeqCst);
    let run = move || {
        let mut byte = 0u8;
        // SAFETY: one byte fits there.
        while unsafe { libc::read(ends[0], (&raw mut byte).cast(), 1) } != 1 {}
        report();
        std::thread::sleep(LINGER);
        // SAFETY: ends the process at once, whatever its threads are doing.
        unsafe { libc::_exit(STATUS) }
    };
    let thread = Builder::new().name("terminated".into()).spawn(run);
    thread.map_err(|_| failed("thread"))?;
    let handler: extern "C" fn(c_int) = ring;
    // SAFETY: the handler does nothing but write to a pipe, which signal handlers may.
    if unsafe { libc::signal(libc::SIGTERM, handler as usize) } == libc::SIG_ERR {
        return Err(failed("signal"));
    }
    Ok(())
}

extern "C" fn ring(_: c_int) {
    let byte = 0u8;
    // SAFETY: one byte is there. If it cannot be written, one was before.
    unsafe { libc::write(BELL.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
}
