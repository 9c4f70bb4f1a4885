//! NCCL's communicator of a few ranks, used by one thread.
//!
//! It is *non-blocking*: a function returns before it has done what it should, and
//! [`Communicator::settled`] says when it has. So the thread is never stuck inside NCCL
//! when a peer has died, and can abort.
use super::library::{Code, IN_PROGRESS, Library, non_blocking};
use crate::call::{Call, Op, Reduce};
use crate::gpu::Outcome;
use candle_core::DType;
use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

/// What all members need to find each other.
pub(super) const ID: usize = 128;

pub(super) struct Communicator {
    library: Arc<Library>,
    /// Null once it is NCCL's no more.
    raw: ncclComm_t,
}

/// Where a call's memory is for the GPU, and on which stream it is made.
pub(super) struct Place {
    pub input: *const c_void,
    pub output: *mut c_void,
    pub stream: *mut c_void,
}

impl Communicator {
    /// A new name for one.
    ///
    /// # Errors
    /// NCCL's.
    pub fn id(library: &Library) -> Outcome<Vec<u8>> {
        let mut id = ncclUniqueId { internal: [0; ID] };
        // SAFETY: it writes that many bytes.
        let code = unsafe { (library.unique_id)(&mut id) };
        if code != 0 {
            return Err(format!("ncclGetUniqueId: {}", library.text(code)));
        }
        Ok(id.internal.map(|byte| byte as u8).to_vec())
    }
    /// Begins to join the others of that name, as `place` of `n`, on this thread's GPU.
    ///
    /// # Errors
    /// NCCL's.
    pub fn join(
        library: Arc<Library>,
        name: &[u8],
        n: usize,
        place: usize,
    ) -> Outcome<Communicator> {
        let mut id = ncclUniqueId { internal: [0; ID] };
        if name.len() != ID {
            return Err(format!("a name of {} bytes, expected {ID}", name.len()));
        }
        id.internal.iter_mut().zip(name).for_each(|(to, from)| *to = *from as _);
        let mut raw = null_mut();
        let (n, place) = (n as c_int, place as c_int);
        let mut config = non_blocking();
        // SAFETY: it reads the configuration and writes a pointer.
        let code = unsafe { (library.init)(&mut raw, n, id, place, &mut config) };
        let own = Communicator { library, raw };
        own.check("ncclCommInitRankConfig", code)?;
        Ok(own)
    }
    /// Whether the last function has done what it should.
    ///
    /// # Errors
    /// It failed; or a call that is under way did.
    pub fn settled(&self) -> Outcome<bool> {
        let mut state = 0;
        // SAFETY: it is a communicator; a number is written.
        let code = unsafe { (self.library.state)(self.raw, &mut state) };
        self.check("ncclCommGetAsyncError", code)?;
        self.check("NCCL", state)?;
        Ok(state != IN_PROGRESS)
    }
    /// Starts a call. In a communicator of two that is for messages alone, the sender
    /// is the first.
    ///
    /// # Errors
    /// NCCL's.
    ///
    /// # Safety
    /// The GPU may use the memory, as much as the call says, until the call is over.
    pub unsafe fn start(&self, call: &Call, at: &Place) -> Outcome<()> {
        let Library { all_reduce, reduce_scatter, all_gather, .. } = *self.library;
        let Library { broadcast, send, recv, .. } = *self.library;
        let (comm, stream, kind) = (self.raw, at.stream.cast(), kind(call.dtype)?);
        let Place { input: from, output: to, .. } = *at;
        let (sent, received) = (call.input.0, call.output.0);
        // SAFETY: the caller's.
        unsafe {
            match call.op {
                Op::AllReduce(how) => {
                    let how = reduction(how);
                    let code = all_reduce(from, to, sent, kind, how, comm, stream);
                    self.check("ncclAllReduce", code)
                }
                // Nobody's sum is there before all have come.
                Op::Barrier => {
                    let how = reduction(Reduce::Sum);
                    let code = all_reduce(from, to, 1, kind, how, comm, stream);
                    self.check("ncclAllReduce", code)
                }
                Op::ReduceScatter(how) => {
                    let how = reduction(how);
                    let code =
                        reduce_scatter(from, to, received, kind, how, comm, stream);
                    self.check("ncclReduceScatter", code)
                }
                Op::AllGather => {
                    let code = all_gather(from, to, sent, kind, comm, stream);
                    self.check("ncclAllGather", code)
                }
                Op::Broadcast { root } => {
                    let root = root as c_int;
                    let code = broadcast(from, to, sent, kind, root, comm, stream);
                    self.check("ncclBroadcast", code)
                }
                Op::Send(_) => {
                    self.check("ncclSend", send(from, sent, kind, 1, comm, stream))
                }
                Op::Recv(_) => {
                    self.check("ncclRecv", recv(to, received, kind, 0, comm, stream))
                }
                Op::AllToAll => self.all_to_all(call, at, kind),
            }
        }
    }
    /// NCCL has none of uneven parts: a group of messages, which cannot wait for each
    /// other in a circle because all of them begin together.
    ///
    /// # Safety
    /// As for [`Communicator::start`].
    unsafe fn all_to_all(
        &self,
        call: &Call,
        at: &Place,
        kind: ncclDataType_t,
    ) -> Outcome<()> {
        let Library { send, recv, group_start, group_end, .. } = *self.library;
        let (comm, stream) = (self.raw, at.stream.cast());
        let size = call.dtype.size_in_bytes();
        let (mut from, mut to) = (at.input.cast::<u8>(), at.output.cast::<u8>());
        let mut outcome = Ok(());
        let [sent, received] = &call.counts;
        // SAFETY: the caller's; parts follow each other, and end where the call's
        // memory does.
        unsafe {
            self.check("ncclGroupStart", group_start())?;
            for (place, n) in sent.iter().enumerate().filter(|(_, n)| **n > 0) {
                let code = send(from.cast(), *n, kind, place as c_int, comm, stream);
                outcome = outcome.and(self.check("ncclSend", code));
                from = from.add(n * size);
            }
            for (place, n) in received.iter().enumerate().filter(|(_, n)| **n > 0) {
                let code = recv(to.cast(), *n, kind, place as c_int, comm, stream);
                outcome = outcome.and(self.check("ncclRecv", code));
                to = to.add(n * size);
            }
            // In any case: a group that stays open swallows later calls.
            outcome.and(self.check("ncclGroupEnd", group_end()))
        }
    }
    /// Begins its end: calls that are under way go on.
    ///
    /// # Errors
    /// NCCL's.
    pub fn finalize(&self) -> Outcome<()> {
        // SAFETY: it is a communicator.
        let code = unsafe { (self.library.finalize)(self.raw) };
        self.check("ncclCommFinalize", code)
    }
    /// Ends it, when the end that was begun has settled.
    pub fn destroy(mut self) {
        let raw = std::mem::replace(&mut self.raw, null_mut());
        // SAFETY: it is a communicator, and not used again.
        unsafe { (self.library.destroy)(raw) };
    }
    fn check(&self, what: &str, code: Code) -> Outcome<()> {
        if code == 0 || code == IN_PROGRESS {
            return Ok(());
        }
        // SAFETY: of no communicator, it is the thread's last error. NCCL returns a
        // string that stays until there is another.
        let last = unsafe { (self.library.last_error)(self.raw) };
        let last = if last.is_null() {
            String::new()
        } else {
            // SAFETY: likewise.
            unsafe { CStr::from_ptr(last) }.to_string_lossy().trim().to_string()
        };
        let colon = if last.is_empty() { "" } else { ": " };
        Err(format!("{what}: {}{colon}{last}", self.library.text(code)))
    }
}

impl Drop for Communicator {
    /// Aborts it: kernels that wait for other ranks end, with nothing done.
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: it is a communicator, and not used again.
            unsafe { (self.library.abort)(self.raw) };
        }
    }
}

fn reduction(how: Reduce) -> ncclRedOp_t {
    match how {
        Reduce::Sum => ncclRedOp_t::ncclSum,
        Reduce::Max => ncclRedOp_t::ncclMax,
        Reduce::Average => ncclRedOp_t::ncclAvg,
    }
}

fn kind(dtype: DType) -> Outcome<ncclDataType_t> {
    Ok(match dtype {
        DType::F64 => ncclDataType_t::ncclFloat64,
        DType::F32 => ncclDataType_t::ncclFloat32,
        DType::BF16 => ncclDataType_t::ncclBfloat16,
        DType::F16 => ncclDataType_t::ncclFloat16,
        DType::I64 => ncclDataType_t::ncclInt64,
        DType::U32 => ncclDataType_t::ncclUint32,
        DType::U8 => ncclDataType_t::ncclUint8,
        other => return Err(format!("NCCL has no numbers of type {}", other.as_str())),
    })
}
