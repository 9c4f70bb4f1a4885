//! The few functions of MPI that are used, all of them from one thread.
use crate::error::{Error, Result};
use mpi::environment::Universe;
use mpi::ffi;
use std::collections::HashSet;
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

/// Bytes that go to another process, or come from it.
pub(super) struct Transfer {
    /// The other end's rank.
    pub peer: usize,
    tag: c_int,
    state: State,
}

enum State {
    Sending(ffi::MPI_Request),
    /// MPI writes to the memory.
    Receiving(ffi::MPI_Request),
    /// Nothing has come to be received there.
    Awaited(*mut u8, usize),
}

/// What is still awaited, by process and tag, in one look at all transfers: what comes
/// first is for the first.
pub(super) type Awaited = HashSet<(usize, c_int)>;

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
            // SAFETY: a constant.
            let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
            let start = start.wrapping_add(at).cast::<c_void>();
            let send = if meets { ffi::MPI_Issend } else { ffi::MPI_Isend };
            // SAFETY: the caller's.
            check(unsafe {
                let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
                send(start, n as c_int, byte, to as c_int, tag, world, &mut request)
            })?;
            let state = State::Sending(request);
            transfers.push(Transfer { peer: to, tag, state });
        }
        Ok(())
    }
    /// Will receive them, in chunks as well.
    ///
    /// # Safety
    /// The memory is there, and nobody else's, until the transfers are over.
    pub unsafe fn receive(
        &self,
        (start, len): (*mut u8, usize),
        from: usize,
        tag: c_int,
        transfers: &mut Vec<Transfer>,
    ) {
        let chunks = self.chunks(len);
        transfers.extend(chunks.map(|(at, n)| {
            let state = State::Awaited(start.wrapping_add(at), n);
            Transfer { peer: from, tag, state }
        }));
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
        // SAFETY: a constant.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let start = letter.as_ptr().cast();
        // SAFETY: the caller's.
        check(unsafe {
            let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
            let (n, to) = (n as c_int, to as c_int);
            ffi::MPI_Isend(start, n, byte, to, LETTERS, world, &mut request)
        })?;
        Ok(Transfer { peer: to, tag: LETTERS, state: State::Sending(request) })
    }
    /// The next letter that has come, and who sent it.
    ///
    /// # Errors
    /// MPI's.
    pub fn letter(&self) -> Result<Option<(usize, Vec<u8>)>> {
        // SAFETY: a constant.
        let any = unsafe { ffi::RSMPI_ANY_SOURCE };
        let Some((from, len)) = probe(any, LETTERS)? else { return Ok(None) };
        let mut letter = vec![0u8; len];
        // SAFETY: so many bytes fit there.
        check(unsafe {
            let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
            let (start, n) = (letter.as_mut_ptr().cast(), len as c_int);
            let ignore = ffi::RSMPI_STATUS_IGNORE;
            ffi::MPI_Recv(start, n, byte, from as c_int, LETTERS, world, ignore)
        })?;
        Ok(Some((from, letter)))
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
    /// Of what comes the length is compared before MPI is given the memory: Open MPI
    /// 4.1.4 writes beyond its end when another process on the host sends more.
    ///
    /// # Errors
    /// MPI's; or another number of bytes came than was expected.
    pub fn is_over(&mut self, awaited: &mut Awaited) -> Result<bool> {
        if let State::Awaited(start, want) = self.state {
            let (peer, from, tag) = (self.peer, self.peer as c_int, self.tag);
            if awaited.contains(&(peer, tag)) {
                return Ok(false);
            }
            let Some((_, n)) = probe(from, tag)? else {
                awaited.insert((peer, tag));
                return Ok(false);
            };
            if n != want {
                awaited.insert((peer, tag));
                let why = format!("rank {peer} sent {n} bytes, expected {want}");
                return Err(Error::new(why));
            }
            // SAFETY: a constant.
            let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
            // SAFETY: the memory was lent until this is over.
            check(unsafe {
                let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
                let (start, n) = (start.cast(), n as c_int);
                ffi::MPI_Irecv(start, n, byte, from, tag, world, &mut request)
            })?;
            self.state = State::Receiving(request);
        }
        let (State::Sending(request) | State::Receiving(request)) = &mut self.state
        else {
            return Ok(false);
        };
        let mut over = 0;
        // SAFETY: the request is one of this thread's.
        check(unsafe { ffi::MPI_Test(request, &mut over, ffi::RSMPI_STATUS_IGNORE) })?;
        Ok(over != 0)
    }
    /// Whether nothing has come yet.
    pub fn is_awaited(&self) -> bool {
        matches!(self.state, State::Awaited(..))
    }
    /// Whether MPI writes to the memory.
    pub fn is_received(&self) -> bool {
        matches!(self.state, State::Receiving(_))
    }
    /// Leaves a send to itself that nobody will ever receive.
    pub fn forget(self) {
        if let State::Sending(mut request) = self.state {
            // SAFETY: the request is under way, and not used again.
            unsafe { ffi::MPI_Request_free(&mut request) };
        }
    }
}

/// Who has sent how many bytes that were not received, with that tag.
fn probe(from: c_int, tag: c_int) -> Result<Option<(usize, usize)>> {
    let (mut found, mut n) = (0, 0);
    let mut status = MaybeUninit::<ffi::MPI_Status>::zeroed();
    // SAFETY: the pointers are valid; a status is filled in if something has come, and
    // is plain numbers in any case.
    unsafe {
        let (byte, world) = (ffi::RSMPI_UINT8_T, ffi::RSMPI_COMM_WORLD);
        check(ffi::MPI_Iprobe(from, tag, world, &mut found, status.as_mut_ptr()))?;
        if found == 0 {
            return Ok(None);
        }
        let status = status.assume_init();
        check(ffi::MPI_Get_count(&status, byte, &mut n))?;
        Ok(Some((status.MPI_SOURCE as usize, n.max(0) as usize)))
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
