//! The few functions of MPI that are used, all of them from one thread.
use crate::error::{Error, Result};
use mpi::environment::Universe;
use mpi::ffi;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null;

/// Tag of letters; those of data are larger.
const LETTERS: c_int = 0;

/// The processes, and what brings bytes from one to another. Dropping it is the end of
/// MPI in this process.
pub(super) struct Wire {
    pub rank: usize,
    pub size: usize,
    /// The largest tag.
    pub last_tag: u64,
    /// Bytes that are sent at a time: MPI counts them in 32 bits.
    chunk: usize,
    _universe: Universe,
}

/// Bytes under way, in one direction.
pub(super) struct Transfer {
    request: ffi::MPI_Request,
    /// The other end's rank.
    pub peer: usize,
    /// Bytes that are to come.
    receives: Option<usize>,
    pub cancelled: bool,
}

impl Wire {
    /// Joins the processes that mpirun started.
    ///
    /// # Errors
    /// There is no MPI, or it does not do what is asked.
    pub fn open() -> Result<Wire> {
        let threading = mpi::Threading::Funneled;
        let Some((universe, provided)) = mpi::initialize_with_threading(threading)
        else {
            return Err(Error::new("MPI was initialized before"));
        };
        if provided < threading {
            let why = format!("MPI provides {provided:?}, expected {threading:?}");
            return Err(Error::new(why));
        }
        let (mut rank, mut size) = (0, 0);
        // What is fatal to MPI would end the process without a word of ours.
        // SAFETY: MPI is initialized, by this thread; the pointers are valid.
        let last_tag = unsafe {
            let world = ffi::RSMPI_COMM_WORLD;
            check(ffi::MPI_Comm_set_errhandler(world, ffi::RSMPI_ERRORS_RETURN))?;
            check(ffi::MPI_Comm_rank(world, &mut rank))?;
            check(ffi::MPI_Comm_size(world, &mut size))?;
            let (mut last, mut found) = (null::<c_int>(), 0);
            let place = (&raw mut last).cast();
            let key = ffi::MPI_TAG_UB as c_int;
            check(ffi::MPI_Comm_get_attr(world, key, place, &mut found))?;
            // What every MPI has.
            if found == 0 || last.is_null() { 32767 } else { *last }
        };
        let [rank, size] = [rank, size].map(|n| n as usize);
        let last_tag = last_tag as u64;
        Ok(Wire { rank, size, last_tag, chunk: 1 << 30, _universe: universe })
    }
    /// The settings of rank 0, for all; a chunk of bytes is one of them.
    ///
    /// # Errors
    /// They cannot be sent.
    pub fn agree(&mut self, debug: bool, chunk: Option<usize>) -> Result<bool> {
        let mut settings =
            [u64::from(debug), chunk.unwrap_or(self.chunk).clamp(1, 1 << 30) as u64];
        let bytes = size_of_val(&settings) as c_int;
        let place = settings.as_mut_ptr().cast();
        // SAFETY: so many bytes are there.
        check(unsafe {
            let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
            ffi::MPI_Bcast(place, bytes, byte, 0, world)
        })?;
        self.chunk = settings[1] as usize;
        Ok(settings[0] != 0)
    }
    /// Starts to send bytes, in chunks; if `meets`, each is over only when it is met by
    /// a receive.
    ///
    /// # Errors
    /// MPI's.
    ///
    /// # Safety
    /// The bytes are there until the transfers are over.
    pub unsafe fn send(
        &self,
        (start, len): (*const u8, usize),
        to: usize,
        tag: c_int,
        meets: bool,
        transfers: &mut Vec<Transfer>,
    ) -> Result<()> {
        for (at, n) in self.chunks(len) {
            let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
            let start = start.wrapping_add(at).cast::<c_void>();
            let send = if meets { ffi::MPI_Issend } else { ffi::MPI_Isend };
            // SAFETY: the caller's.
            check(unsafe {
                let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
                send(start, n as c_int, byte, to as c_int, tag, world, &mut request)
            })?;
            let (receives, cancelled) = (None, false);
            transfers.push(Transfer { request, peer: to, receives, cancelled });
        }
        Ok(())
    }
    /// Starts to receive them.
    ///
    /// # Errors
    /// MPI's.
    ///
    /// # Safety
    /// The memory is there, and nobody else's, until the transfers are over.
    pub unsafe fn receive(
        &self,
        (start, len): (*mut u8, usize),
        from: usize,
        tag: c_int,
        transfers: &mut Vec<Transfer>,
    ) -> Result<()> {
        for (at, n) in self.chunks(len) {
            let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
            let start = start.wrapping_add(at).cast::<c_void>();
            let other = from as c_int;
            // SAFETY: the caller's.
            check(unsafe {
                let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
                ffi::MPI_Irecv(start, n as c_int, byte, other, tag, world, &mut request)
            })?;
            let (receives, cancelled) = (Some(n), false);
            transfers.push(Transfer { request, peer: from, receives, cancelled });
        }
        Ok(())
    }
    /// Where each chunk starts, and how long it is; no bytes are one chunk.
    fn chunks(&self, len: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let chunk = self.chunk;
        let starts = (0..len.max(1)).step_by(chunk);
        starts.map(move |at| (at, chunk.min(len - at)))
    }
    /// Starts to send a letter.
    ///
    /// # Errors
    /// MPI's.
    ///
    /// # Safety
    /// The letter is there until it is over.
    pub unsafe fn post(&self, letter: &[u8], to: usize) -> Result<Transfer> {
        let n = letter.len();
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let start = letter.as_ptr().cast();
        // SAFETY: the caller's.
        check(unsafe {
            let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
            let (n, to) = (n as c_int, to as c_int);
            ffi::MPI_Isend(start, n, byte, to, LETTERS, world, &mut request)
        })?;
        Ok(Transfer { request, peer: to, receives: None, cancelled: false })
    }
    /// The next letter that has come, and who sent it.
    ///
    /// # Errors
    /// MPI's.
    pub fn letter(&self) -> Result<Option<(usize, Vec<u8>)>> {
        let mut found = 0;
        let mut status = MaybeUninit::<ffi::MPI_Status>::zeroed();
        // SAFETY: the pointers are valid; a status is filled in if there is a letter,
        // and is plain numbers in any case.
        unsafe {
            let (any, world) = (ffi::RSMPI_ANY_SOURCE, ffi::RSMPI_COMM_WORLD);
            let place = status.as_mut_ptr();
            check(ffi::MPI_Iprobe(any, LETTERS, world, &mut found, place))?;
            if found == 0 {
                return Ok(None);
            }
            let (status, byte) = (status.assume_init(), ffi::RSMPI_UINT8_T);
            let (from, mut n) = (status.MPI_SOURCE, 0);
            check(ffi::MPI_Get_count(&status, byte, &mut n))?;
            let mut letter = vec![0u8; n as usize];
            let (place, ignore) = (letter.as_mut_ptr(), ffi::RSMPI_STATUS_IGNORE);
            check(ffi::MPI_Recv(place.cast(), n, byte, from, LETTERS, world, ignore))?;
            Ok(Some((from as usize, letter)))
        }
    }
    /// Ends all processes.
    pub fn abort(&self, status: c_int) {
        // SAFETY: MPI is initialized.
        unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, status) };
    }
}

impl Transfer {
    /// Whether it is over.
    ///
    /// # Errors
    /// MPI's; or fewer bytes came than were expected.
    pub fn is_over(&mut self) -> Result<bool> {
        let (mut over, mut n, mut cancelled) = (0, 0, 0);
        let mut status = MaybeUninit::<ffi::MPI_Status>::zeroed();
        // SAFETY: as for a letter's.
        unsafe {
            check(ffi::MPI_Test(&mut self.request, &mut over, status.as_mut_ptr()))?;
            if over == 0 || self.receives.is_none() {
                return Ok(over != 0);
            }
            let status = status.assume_init();
            check(ffi::MPI_Test_cancelled(&status, &mut cancelled))?;
            self.cancelled = cancelled != 0;
            check(ffi::MPI_Get_count(&status, ffi::RSMPI_UINT8_T, &mut n))?;
        }
        match self.receives {
            Some(want) if !self.cancelled && n as usize != want => Err(Error::new(
                format!("rank {} sent {n} bytes, expected {want}", self.peer),
            )),
            _ => Ok(true),
        }
    }
    pub fn receives(&self) -> bool {
        self.receives.is_some()
    }
    /// Ends a receive that nobody has met; if somebody has, it comes to its own end.
    pub fn cancel(&mut self) {
        // SAFETY: the request is under way. A failure leaves it so.
        unsafe { ffi::MPI_Cancel(&mut self.request) };
    }
    /// Leaves a send to itself that nobody will ever meet.
    pub fn forget(mut self) {
        // SAFETY: the request is under way, and not used again.
        unsafe { ffi::MPI_Request_free(&mut self.request) };
    }
}

fn check(code: c_int) -> Result<()> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    let mut text = [0u8; ffi::MPI_MAX_ERROR_STRING as usize + 1];
    let mut n = 0;
    // SAFETY: the text has the length that MPI asks for.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast(), &mut n) };
    let text = String::from_utf8_lossy(&text[..(n.max(0) as usize).min(text.len())]);
    Err(Error::new(format!("MPI: {text} (error {code})")))
}
