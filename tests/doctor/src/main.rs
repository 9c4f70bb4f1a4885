//! What a machine has of what training on GPUs needs, and whether it works: to be run
//! first on any new one.
//!
//!     cargo run -p doctor --features cuda
//!
//! It prints five parts: the machine, the libraries, the GPUs, how fast they are, and
//! each kernel beside its twin on the CPU. Exit status: 0, all is well; 1, something
//! failed; 3, something is missing; 2, there is no such flag.
mod checks;
#[cfg(feature = "cuda")]
mod gpus;
#[cfg(feature = "cuda")]
mod libraries;
mod machine;
#[cfg(feature = "cuda")]
mod rates;
mod report;
#[cfg(target_os = "linux")]
#[path = "../../../shared/kernels/tests/suite/main.rs"]
mod suite;

use checks::Where;
use clap::Parser;
use report::Report;
use std::process::ExitCode;

/// Says what of a machine works: its GPUs, their libraries, and the kernels.
///
/// Exit status: 0, all is well; 1, something failed; 3, something is missing.
/// CUDA_VISIBLE_DEVICES chooses GPUs; kernels are checked on the first.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Measures nothing.
    #[arg(long)]
    quick: bool,
    /// Checks kernels on this CPU, and looks at no GPU. Needs a C compiler.
    #[arg(long)]
    on_cpu: bool,
    /// Goes on with the checks, from this one, in a new process: where a GPU takes
    /// nothing more from the old one. So many have failed there and are missing.
    #[arg(long, hide = true, num_args = 3)]
    go_on: Option<Vec<usize>>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    report::keep_panics();
    let kernels = if flags.on_cpu { "host" } else { "cuda" };
    // SAFETY: there is one thread.
    unsafe { std::env::set_var("FERROTRON_KERNELS", kernels) };
    let mut report = Report::default();
    if let Some([from, failed, missing]) = flags.go_on.as_deref() {
        report = Report { failed: *failed, missing: *missing };
        checks::run(&mut report, Where::Gpu, *from);
        return report.end();
    }
    report.part("1. The machine");
    machine::describe(&mut report);
    if flags.on_cpu {
        report.part("5. Kernels beside their twins, on this CPU");
        checks::run(&mut report, Where::Cpu, 0);
    } else {
        on_gpus(&mut report, flags.quick);
    }
    report.end()
}

#[cfg(feature = "cuda")]
fn on_gpus(report: &mut Report, quick: bool) {
    report.part("2. Libraries");
    let there = libraries::describe(report);
    report.part("3. GPUs");
    let gpus = match there.driver {
        true => gpus::describe(report),
        false => {
            report.missing("GPUs", "there is no driver to find them");
            vec![]
        }
    };
    let failed = report.failed;
    if !quick {
        report.part("4. Rates: medians of 10");
        match gpus.is_empty() {
            true => report.missing("rates", "there is no GPU"),
            false => rates::describe(report, &gpus, &there),
        }
    }
    report.part("5. Kernels beside their twins, on GPU 0");
    match (gpus.is_empty(), there.nvrtc) {
        (true, _) => report.missing("checks", &format!("there is no GPU; {ON_CPU}")),
        (_, false) => report.missing("checks", &format!("there is no NVRTC; {ON_CPU}")),
        (false, true) => {
            if report.failed > failed {
                // It may have cost this process the GPU.
                checks::start_anew(report, 0);
            }
            checks::run(report, Where::Gpu, 0);
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn on_gpus(report: &mut Report, quick: bool) {
    report.part("2. Libraries");
    report.missing(
        "CUDA",
        "this was built without it. With it, it builds anywhere:\n\
         cargo run -p doctor --features cuda",
    );
    report.part("3. GPUs");
    report.missing("GPUs", "as above");
    if !quick {
        report.part("4. Rates");
        report.missing("rates", "as above");
    }
    report.part("5. Kernels beside their twins");
    report.missing("checks", &format!("as above; {ON_CPU}"));
}

const ON_CPU: &str = "doctor --on-cpu checks kernels without";
