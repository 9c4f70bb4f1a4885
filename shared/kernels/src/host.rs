//! A CPU in the role of a GPU: the same sources, compiled by a C compiler, thread by
//! thread. So whatever uses kernels is tested where there is no GPU.
//!
//! Its memory is locked away, as a GPU's is: outside of kernels and copies, whoever
//! reads or writes it ends the program.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::launch::{Launch, Number, Ptr};
use crate::product::{Matrix, Store, Words};
use crate::source::HEADERS;
use half::bf16;
use libloading::{Library, Symbol};
use memory::device::Device;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CString, c_void};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What CUDA adds to C, on a CPU.
const SHIM: [(&str, &str); 2] = [
    ("shim.c", include_str!("../host/shim.c")),
    ("shim.h", include_str!("../host/shim.h")),
];

/// A large page, on most machines.
const HUGE: usize = 2 << 20;

/// Runs launches one after the other.
#[derive(Default)]
pub struct Host(Mutex<State>);

#[derive(Default)]
struct State {
    compiled: HashMap<(&'static str, Option<u32>, Number), Library>,
    /// The memory, from where on and how much.
    chunks: Vec<(usize, usize)>,
}

impl Host {
    /// One that lives as long as the program.
    pub fn leaked() -> &'static Host {
        Box::leak(Box::default())
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Carries it out, the last thread of a block first if `backwards`.
    ///
    /// # Errors
    /// There is no C compiler, or the kernel's threads wait for each other in vain.
    ///
    /// # Safety
    /// As for [`Engine::launch`].
    pub unsafe fn run(&self, launch: &Launch, backwards: bool) -> Result<()> {
        type Kernel = unsafe extern "C" fn(*const c_void);
        type Run = unsafe extern "C" fn(
            Kernel,
            *const c_void,
            *const u32,
            u32,
            usize,
            i32,
        ) -> i32;
        let mut state = self.state();
        let unlocked = state.unlock();
        let library = state.library(launch)?;
        let fail = |why: &str| Error(format!("{launch:?}: {why}"));
        let name = CString::new(launch.kernel).map_err(|_| fail("a zero in it"))?;
        let missing = |error: libloading::Error| fail(&error.to_string());
        // SAFETY: they have these types, in shim.c and by KERNEL in shim.h. The rest is
        // the caller's.
        let status = unsafe {
            let kernel: Symbol<Kernel> =
                library.get(name.as_bytes_with_nul()).map_err(missing)?;
            let run: Symbol<Run> = library.get(b"shim_run\0").map_err(missing)?;
            let (args, grid) = (launch.args(), launch.grid.as_ptr());
            let backwards = backwards.into();
            run(*kernel, args, grid, launch.threads, launch.shared, backwards)
        };
        drop(unlocked);
        match status {
            0 => Ok(()),
            1 => Err(fail("threads wait that no other will join")),
            other => Err(fail(&format!("status {other}"))),
        }
    }
}

impl Engine for Host {
    fn name(&self) -> String {
        "a CPU in the role of a GPU".into()
    }
    unsafe fn launch(&self, launch: &Launch) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.run(launch, false) }
    }
    unsafe fn multiply(
        &self,
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
    ) -> Result<()> {
        for matrix in [&c, &a, &b] {
            let wrong = |what| Error(format!("{}: {what}", Words(&c, store, &a, &b)));
            matrix.check().map_err(wrong)?;
        }
        if [a.rows, a.cols, b.cols] != [c.rows, b.rows, c.cols] || c.transposed {
            return Err(Error(format!("{}", Words(&c, store, &a, &b))));
        }
        let state = self.state();
        let _unlocked = state.unlock();
        // SAFETY: the caller's.
        unsafe {
            let b = (0..b.rows * b.cols).map(|i| b.get(i / b.cols, i % b.cols));
            let (b, width): (Vec<f32>, _) = (b.collect(), c.cols);
            let mut sums = vec![0f32; width];
            for row in 0..c.rows {
                sums.fill(0.0);
                for k in 0..a.cols {
                    let x = a.get(row, k);
                    let terms = sums.iter_mut().zip(&b[k * width..][..width]);
                    terms.for_each(|(sum, y)| *sum += x * y);
                }
                for (col, sum) in sums.iter().enumerate() {
                    c.put(
                        row,
                        col,
                        match store {
                            Store::Set => *sum,
                            Store::Add => sum + c.get(row, col),
                            Store::Bias(at) => {
                                let bias = Matrix::new(c.number, at, 1, width);
                                sum + bias.get(0, col)
                            }
                        },
                    );
                }
            }
        }
        Ok(())
    }
    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

impl Device for Host {
    fn obtain(&self, bytes: usize) -> Option<usize> {
        let mut state = self.state();
        let (access, kind) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON);
        let nowhere = std::ptr::null_mut();
        // SAFETY: a new anonymous mapping, at no address in particular.
        let start = unsafe { libc::mmap(nowhere, bytes + HUGE, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = (start as usize).next_multiple_of(HUGE) as *mut c_void;
        // Locking and unlocking walks through all pages: few of them.
        #[cfg(target_os = "linux")]
        // SAFETY: it was mapped; advice, which may be refused.
        unsafe {
            libc::madvise(start, bytes, libc::MADV_HUGEPAGE)
        };
        state.chunks.push((start as usize, bytes));
        // What is new is no number.
        let unlocked = state.unlock();
        // SAFETY: it was mapped.
        unsafe { start.cast::<u8>().write_bytes(0xff, bytes) };
        drop(unlocked);
        Some(start as usize)
    }
    unsafe fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        bytes: usize,
    ) -> std::result::Result<(), String> {
        let state = self.state();
        let _unlocked = state.unlock();
        // SAFETY: the caller's.
        unsafe { to.copy_from_nonoverlapping(from, bytes) };
        Ok(())
    }
    unsafe fn zero(
        &self,
        at: *mut u8,
        bytes: usize,
    ) -> std::result::Result<(), String> {
        let state = self.state();
        let _unlocked = state.unlock();
        // SAFETY: the caller's.
        unsafe { at.write_bytes(0, bytes) };
        Ok(())
    }
}

impl State {
    /// The memory can be read and written until this is dropped.
    fn unlock(&self) -> Unlocked {
        let unlocked = Unlocked(self.chunks.clone());
        unlocked.protect(libc::PROT_READ | libc::PROT_WRITE);
        unlocked
    }
    fn library(&mut self, launch: &Launch) -> Result<&Library> {
        let Launch { source, number, .. } = *launch;
        let key = (source.name, source.dim, number);
        Ok(match self.compiled.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place
                .insert(compile(launch).map_err(|why| {
                    Error(format!("{} on a CPU: {why}", source.name))
                })?),
        })
    }
}

struct Unlocked(Vec<(usize, usize)>);

impl Unlocked {
    fn protect(&self, access: i32) {
        for (start, bytes) in &self.0 {
            // SAFETY: it is a mapping of this module.
            let done = unsafe { libc::mprotect(*start as *mut c_void, *bytes, access) };
            assert_eq!(done, 0, "mprotect");
        }
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        self.protect(libc::PROT_NONE);
    }
}

fn compile(launch: &Launch) -> std::result::Result<Library, String> {
    let said = |error: std::io::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(said)?;
    let file = |name: &str| folder.path().join(name);
    let (source, library) = (file(launch.source.name), file("kernel.so"));
    std::fs::write(&source, launch.source.text).map_err(said)?;
    for (name, text) in HEADERS.iter().chain(&SHIM) {
        std::fs::write(file(name), text).map_err(said)?;
    }
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-ffp-contract=off", "-fPIC", "-shared"])
        .args(["-Wall", "-Wextra", "-Werror", "-x", "c"])
        // A pack that is not where packs may be: an error on a GPU, not on x86.
        .args(["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"])
        .args(launch.number.flags())
        .args(launch.source.flags())
        .arg(&source)
        .arg(file("shim.c"))
        .arg("-o")
        .arg(&library)
        .arg("-lm")
        .output()
        .map_err(|error| {
            format!("cc, a C compiler, as rustc needs one too: {error}")
        })?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // SAFETY: it does nothing when it is loaded.
    unsafe { Library::new(&library) }.map_err(|error| error.to_string())
}

impl Matrix {
    /// Where an element is.
    fn address(&self, row: usize, col: usize) -> Ptr {
        let (row, col) = if self.transposed { (col, row) } else { (row, col) };
        Ptr(self.at.0 + ((row * self.stride + col) * self.number.size()) as u64)
    }
    /// # Safety
    /// It is one of its elements, and can be read.
    unsafe fn get(&self, row: usize, col: usize) -> f32 {
        let at = self.address(row, col).0;
        // SAFETY: the caller's.
        match self.number {
            Number::F32 => unsafe { *(at as *const f32) },
            Number::Bf16 => unsafe { (*(at as *const bf16)).to_f32() },
        }
    }
    /// # Safety
    /// It is one of its elements, and can be written.
    unsafe fn put(&self, row: usize, col: usize, x: f32) {
        let at = self.address(row, col).0;
        // SAFETY: the caller's.
        match self.number {
            Number::F32 => unsafe { *(at as *mut f32) = x },
            Number::Bf16 => unsafe { *(at as *mut bf16) = bf16::from_f32(x) },
        }
    }
}
