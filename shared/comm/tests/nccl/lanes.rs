//! What streams are for: kernels and calls beside each other, each in time.
use crate::gpu::{FakeGpu, Memory, compile, library};
use comm::gpu::{Gpu, Gpus, Outcome};
use comm::{Reduce, Result, launch_on};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// GPUs whose kernels a test starts.
struct Prepared(Vec<Arc<FakeGpu>>);

impl Prepared {
    fn new(count: usize) -> Prepared {
        Prepared((0..count).map(|_| Arc::new(FakeGpu::new(Memory::Late))).collect())
    }
}

impl Gpus for Prepared {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn open(&self, ordinal: usize) -> Outcome<Arc<dyn Gpu>> {
        Ok(self.0[ordinal].clone())
    }
    fn nccl(&self) -> Option<PathBuf> {
        Some(library())
    }
}

/// Waits for what must come, but not for ever.
fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "never {what}");
        sleep(Duration::from_micros(200));
    }
}

/// Memory that kernels share with the test.
type Shared = Arc<Mutex<Vec<f32>>>;

/// A call takes what kernels before it have made, and kernels after it what it has; the
/// processor waits for neither.
#[test]
fn the_processor_runs_ahead() {
    let gpus = Prepared::new(2);
    let open = Arc::new(AtomicBool::new(false));
    launch_on(&gpus, 2, |world| {
        let me = world.rank();
        let kernels = &gpus.0[me].kernels;
        // The memory of the call; kernels have its address.
        let mut data = vec![0f32; 100];
        let at = data.as_mut_ptr().expose_provenance();
        let gate = open.clone();
        kernels.run(move || {
            until("opened", || gate.load(Ordering::SeqCst));
            let at = std::ptr::with_exposed_provenance_mut::<f32>(at);
            // SAFETY: the memory is there, and nobody else's now.
            (0..100).for_each(|i| unsafe { *at.add(i) = (me + 1) as f32 });
        });
        world.all_reduce("x", &mut data, Reduce::Sum)?;
        // It has returned, and cannot have begun.
        assert!(!open.load(Ordering::SeqCst));
        let seen: Shared = Arc::default();
        let sees = seen.clone();
        kernels.run(move || {
            let at = std::ptr::with_exposed_provenance::<f32>(at);
            // SAFETY: likewise.
            let all = (0..100).map(|i| unsafe { *at.add(i) });
            sees.lock().unwrap().extend(all);
        });
        // In the processor's memory, a flag: both ranks are as far.
        world.subgroup("both", &[0, 1])?.start_barrier("y").map(drop)?;
        open.store(true, Ordering::SeqCst);
        kernels.synchronize();
        assert_eq!(*seen.lock().unwrap(), vec![3f32; 100]);
        Result::Ok(())
    })
    .unwrap();
}

/// A started call comes to its end while a kernel that was started after it runs.
#[test]
fn calls_and_kernels_overlap() {
    let gpus = Prepared::new(2);
    launch_on(&gpus, 2, |world| {
        let kernels = &gpus.0[world.rank()].kernels;
        let pending = world.start_all_reduce("x", vec![1f32; 1000], Reduce::Sum)?;
        let over = Arc::new(AtomicBool::new(false));
        let gate = over.clone();
        kernels.run(move || until("opened", || gate.load(Ordering::SeqCst)));
        until("over while a kernel runs", || pending.is_over());
        over.store(true, Ordering::SeqCst);
        let data = pending.wait()?;
        kernels.synchronize();
        assert_eq!(data, vec![2f32; 1000]);
        Result::Ok(())
    })
    .unwrap();
}

/// What is in the processor's memory waits for the calls before it, but not inside the
/// driver (the fake one panics): a slow kernel holds up one on the GPU's.
#[test]
fn a_copy_waits_for_no_call() {
    let gpus = Prepared::new(2);
    launch_on(&gpus, 2, |world| {
        let gpu = &gpus.0[world.rank()];
        if world.rank() == 1 {
            gpu.kernels.run(|| sleep(Duration::from_millis(1500)));
        }
        let pending = world.start_all_reduce("x", vec![1f32; 10], Reduce::Sum)?;
        let mut norm = [1f64];
        let start = norm.as_ptr().addr();
        *gpu.host.lock().unwrap() = start..start + 8;
        world.all_reduce("norm", &mut norm, Reduce::Sum)?;
        assert_eq!(norm, [2.0]);
        let data = pending.wait()?;
        gpu.kernels.synchronize();
        assert_eq!(data, [2.0; 10]);
        Result::Ok(())
    })
    .unwrap();
}

/// A rank fails with a call that NCCL has on both GPUs, and on the failing one behind a
/// kernel: the other GPU's kernels do not wait for it any more.
#[test]
fn a_failure_ends_what_is_on_the_gpu() {
    let gpus = Prepared::new(2);
    let open = Arc::new(AtomicBool::new(false));
    let outcome = launch_on(&gpus, 2, |world| {
        let kernels = &gpus.0[world.rank()].kernels;
        let mut data = vec![1f32; 1000];
        let gate = open.clone();
        if world.rank() == 1 {
            kernels.run(move || until("opened", || gate.load(Ordering::SeqCst)));
        }
        let said = |error: comm::Error| error.to_string();
        world.all_reduce("x", &mut data, Reduce::Sum).map_err(said)?;
        if world.rank() == 1 {
            return Err("as asked".to_string());
        }
        // In time: the gate is shut.
        kernels.synchronize();
        open.store(true, Ordering::SeqCst);
        let error = world.barrier("y").unwrap_err().to_string();
        assert!(error.contains("rank 1: as asked"), "{error}");
        Ok(())
    });
    assert!(outcome.unwrap_err().to_string().contains("rank 1: as asked"));
}

/// A call that is forgotten, and that others never make.
#[test]
fn a_call_that_nobody_waits_for_is_no_hang() {
    let gpus = Prepared::new(2);
    let outcome = launch_on(&gpus, 2, |world| {
        if world.rank() == 0 {
            let data = vec![1f32; 10];
            std::mem::forget(world.start_all_reduce("x", data, Reduce::Sum)?);
        }
        Result::Ok(())
    });
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("not all have made it"), "{error}");
}

/// With fewer GPUs than ranks they are threads without NCCL.
#[test]
fn too_few_gpus_are_not_used() {
    let gpus = Prepared::new(1);
    let all = launch_on(&gpus, 2, |world| {
        let mut data = [1f32; 3];
        world.all_reduce("x", &mut data, Reduce::Sum)?;
        Result::Ok(data)
    });
    assert_eq!(all.unwrap(), [[2.0; 3]; 2]);
}

struct At(PathBuf);

impl Gpus for At {
    fn count(&self) -> usize {
        2
    }
    fn open(&self, _: usize) -> Outcome<Arc<dyn Gpu>> {
        Err("it is on fire".into())
    }
    fn nccl(&self) -> Option<PathBuf> {
        Some(self.0.clone())
    }
}

#[test]
fn what_is_missing_is_said() {
    let said = |path: PathBuf| {
        let outcome = launch_on(&At(path), 2, |_| Result::Ok(()));
        outcome.unwrap_err().to_string()
    };
    let none = said("/nowhere/libnccl.so.2".into());
    assert!(none.contains("/nowhere/libnccl.so.2: "), "{none}");
    assert!(none.contains("pip install nvidia-nccl-cu13"), "{none}");
    let other = said("libc.so.6".into());
    assert!(other.contains("libc.so.6: it has no ncclGetVersion"), "{other}");
    let old = said(compile("-DVERSION=21605"));
    assert!(old.contains("is version 2.16.5, expected 2.24.3 or newer"), "{old}");
    let gpu = said(library());
    assert!(gpu.contains("GPU 0: it is on fire"), "{gpu}");
}
