//! The tests of shared/kernels, one after the other.
use crate::report::Report;

/// On what kernels run.
#[derive(Clone, Copy, PartialEq)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub enum Where {
    Cpu,
    Gpu,
}

#[cfg(not(target_os = "linux"))]
pub fn run(report: &mut Report, _: Where, _: usize) {
    report.missing("checks", "they run on Linux alone");
}

/// All of them, from the one with the number `from`.
#[cfg(target_os = "linux")]
pub fn run(report: &mut Report, on: Where, from: usize) {
    use crate::report::{caught, wrapped};
    use crate::suite;
    use std::io::{Write, stdout};
    use std::process::Command;
    use std::time::Instant;

    let compiler = || Command::new("cc").arg("--version").output();
    if on == Where::Cpu && !compiler().is_ok_and(|said| said.status.success()) {
        return report.missing("checks", "there is no C compiler: cc is not in PATH");
    }
    let needs_gpu = suite::ON_GPU.iter().filter(|_| on == Where::Gpu);
    let modules = suite::ALL.iter().chain(needs_gpu);
    let all = modules
        .flat_map(|(module, checks)| checks.iter().map(move |check| (module, check)));
    for (i, (module, (name, check))) in all.enumerate().skip(from) {
        // Before it runs: one that hangs is to be known.
        print!("  {:.<60} ", format!("{module}::{name} "));
        let _ = stdout().flush();
        let start = Instant::now();
        let done = caught(check);
        let seconds = start.elapsed().as_secs_f64();
        let Err(text) = done else {
            println!("ok {seconds:9.2} s");
            continue;
        };
        println!("FAILED {seconds:5.2} s");
        wrapped(&text, 74).iter().for_each(|line| println!("      {line}"));
        report.failed += 1;
        if on == Where::Gpu {
            start_anew_if_lost(report, i + 1);
        }
    }
}

/// After some errors, such as an illegal address, a GPU takes nothing more from this
/// process.
#[cfg(all(target_os = "linux", feature = "cuda"))]
fn start_anew_if_lost(report: &Report, next: usize) {
    use crate::report::caught;
    use crate::suite::gpu::gpu;

    // An error here is that of the context. There may also be no GPU, for each check.
    let state = caught(|| gpu().map(|gpu| gpu.device().synchronize()));
    if let Ok(Some(Err(_))) = state {
        println!("      The GPU's context is lost: a new process goes on.");
        start_anew(report, next);
    }
}

/// Another process goes on in place of this one, with the check `next`.
#[cfg(all(target_os = "linux", feature = "cuda"))]
pub fn start_anew(report: &Report, next: usize) {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    let state = [next, report.failed, report.missing].map(|n| n.to_string());
    let Ok(program) = std::env::current_exe() else { return };
    let error = Command::new(program).arg("--go-on").args(state).exec();
    println!("      It did not start ({error}): what follows says nothing.");
}

#[cfg(all(not(target_os = "linux"), feature = "cuda"))]
pub fn start_anew(_: &Report, _: usize) {}

#[cfg(all(target_os = "linux", not(feature = "cuda")))]
fn start_anew_if_lost(_: &Report, _: usize) {}
