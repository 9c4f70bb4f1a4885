//! The few functions of NCCL that are used, found when they are first needed: this
//! builds where there is no NCCL, and says what is missing when it runs.
//!
//! Types and constants are those of [`cudarc::nccl::sys`]; what it does not do is to
//! find the library under the name that PyPI's package has, `libnccl.so.2`. Results are
//! plain numbers here: a newer NCCL may return one that cudarc's `enum` has not.
use crate::error::{Error, Result};
use crate::gpu::Outcome;
use cudarc::nccl::sys::{
    cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId,
};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::path::Path;

/// What a function returns: 0 for success.
pub(super) type Code = c_int;

/// A call of a non-blocking communicator goes on.
pub(super) const IN_PROGRESS: Code = 7;

/// 2.24.3: what came before has ranks that are threads read each other's buffers, which
/// are not of memory that other GPUs may read.
const OLDEST: c_int = 22_403;

/// Where to look, if nobody says.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

macro_rules! functions {
    ($($name:ident as $symbol:literal: ($($argument:ty),*) -> $result:ty;)*) => {
        /// NCCL.
        pub(super) struct Library {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> $result,)*
            /// They are there as long as this is.
            _library: libloading::Library,
        }

        impl Library {
            fn find(library: libloading::Library) -> Outcome<Library> {
                $(
                    let symbol = concat!($symbol, "\0").as_bytes();
                    // SAFETY: NCCL's header declares it so.
                    let $name = *unsafe { library.get(symbol) }
                        .map_err(|_| format!("it has no {}", $symbol))?;
                )*
                Ok(Library { $($name,)* _library: library })
            }
        }
    };
}

type Type = ncclDataType_t;
type From = *const c_void;
type To = *mut c_void;

functions! {
    version as "ncclGetVersion": (*mut c_int) -> Code;
    error_text as "ncclGetErrorString": (Code) -> *const c_char;
    last_error as "ncclGetLastError": (ncclComm_t) -> *const c_char;
    unique_id as "ncclGetUniqueId": (*mut ncclUniqueId) -> Code;
    init as "ncclCommInitRankConfig":
        (*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> Code;
    state as "ncclCommGetAsyncError": (ncclComm_t, *mut Code) -> Code;
    finalize as "ncclCommFinalize": (ncclComm_t) -> Code;
    destroy as "ncclCommDestroy": (ncclComm_t) -> Code;
    abort as "ncclCommAbort": (ncclComm_t) -> Code;
    all_reduce as "ncclAllReduce":
        (From, To, usize, Type, ncclRedOp_t, ncclComm_t, cudaStream_t) -> Code;
    reduce_scatter as "ncclReduceScatter":
        (From, To, usize, Type, ncclRedOp_t, ncclComm_t, cudaStream_t) -> Code;
    all_gather as "ncclAllGather":
        (From, To, usize, Type, ncclComm_t, cudaStream_t) -> Code;
    broadcast as "ncclBroadcast":
        (From, To, usize, Type, c_int, ncclComm_t, cudaStream_t) -> Code;
    send as "ncclSend": (From, usize, Type, c_int, ncclComm_t, cudaStream_t) -> Code;
    recv as "ncclRecv": (To, usize, Type, c_int, ncclComm_t, cudaStream_t) -> Code;
    group_start as "ncclGroupStart": () -> Code;
    group_end as "ncclGroupEnd": () -> Code;
}

impl Library {
    /// The one at `path`; or else at FERROTRON_NCCL; or else where libraries are
    /// searched for.
    ///
    /// # Errors
    /// There is none, or it is too old; the text says where to get one.
    pub fn open(path: Option<&Path>) -> Result<Library> {
        let asked = std::env::var_os("FERROTRON_NCCL").map(Into::into);
        let asked = path.map(Path::to_path_buf).or(asked);
        let places = match &asked {
            Some(path) => vec![path.as_path()],
            None => NAMES.iter().map(Path::new).collect(),
        };
        let mut tried = String::new();
        for place in places {
            // SAFETY: it is NVIDIA's library, or what a user put in its place.
            let found = unsafe { libloading::Library::new(place) };
            let found = found.map_err(|error| error.to_string());
            match found.and_then(Library::find).and_then(Library::recent) {
                Ok(library) => return Ok(library),
                Err(why) => tried += &format!("\n  {}: {why}", place.display()),
            }
        }
        Err(Error::new(format!(
            "there is no NCCL, which carries calls between GPUs:{tried}\nPyPI's \
             nvidia-nccl-cu13 has it: `pip install nvidia-nccl-cu13`, then \
             FERROTRON_NCCL=.../site-packages/nvidia/nccl/lib/libnccl.so.2"
        )))
    }
    fn recent(self) -> Outcome<Library> {
        let mut version = 0;
        // SAFETY: it writes a number.
        let code = unsafe { (self.version)(&mut version) };
        if code != 0 {
            return Err(format!("ncclGetVersion: {}", self.text(code)));
        }
        if version >= OLDEST {
            return Ok(self);
        }
        let name = |v: c_int| format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100);
        Err(format!("is version {}, expected {} or newer", name(version), name(OLDEST)))
    }
    /// What a code means.
    pub fn text(&self, code: Code) -> String {
        // SAFETY: NCCL returns a string that stays.
        let text = unsafe { (self.error_text)(code) };
        if text.is_null() {
            return format!("error {code}");
        }
        // SAFETY: likewise.
        let text = unsafe { CStr::from_ptr(text) };
        format!("{} (error {code})", text.to_string_lossy())
    }
}

/// Of a communicator whose calls return at once.
pub(super) fn non_blocking() -> ncclConfig_t {
    // What NCCL's header calls undefined: the default.
    const DEFAULT: c_int = c_int::MIN;
    // SAFETY: numbers and pointers, of which all may be zero.
    let mut config: ncclConfig_t = unsafe { std::mem::zeroed() };
    // As 2.17 had it, which all that came later take: NCCL reads no further.
    config.size = offset_of!(ncclConfig_t, trafficClass);
    config.version = 21_700 as c_uint;
    config.magic = 0xcafe_beef;
    config.blocking = 0;
    config.cgaClusterSize = DEFAULT;
    config.minCTAs = DEFAULT;
    config.maxCTAs = DEFAULT;
    config.splitShare = DEFAULT;
    config
}
