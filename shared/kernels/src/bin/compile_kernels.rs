//! Compiles every source for every type of number, on a machine that needs no GPU.
//!
//!     compile_kernels [ARCHITECTURE...]    # default: 80 90, as in sm_80 and sm_90
//!
//! Needs NVRTC, which scripts/setup_cuda.sh fetches. Exit status: 0, all compile; 3,
//! there is no NVRTC; 1, some do not compile.
use kernels::cuda::{Compiled, compile, nvrtc_version};
use kernels::{Number, Source};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut architectures = vec![];
    for argument in std::env::args().skip(1) {
        match argument.parse() {
            Ok(sm) => architectures.push(sm),
            Err(_) => {
                eprintln!("{argument}: not an architecture: expected one such as 90");
                return ExitCode::from(2);
            }
        }
    }
    if architectures.is_empty() {
        architectures = vec![80, 90];
    }
    match nvrtc_version() {
        Ok((major, minor)) => println!("NVRTC {major}.{minor}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(3);
        }
    }
    let mut failed = 0;
    for source in Source::ALL {
        let name = [vec![source.name.to_string()], source.flags()].concat();
        for number in Number::ALL {
            for sm in &architectures {
                let start = Instant::now();
                match compile(*source, number, *sm) {
                    Ok(compiled) => {
                        let seconds = start.elapsed().as_secs_f64();
                        let Compiled { ptx, cubin, log } = compiled;
                        println!(
                            "{} for {number:?} on sm_{sm}: {seconds:.2} s, {} bytes of \
                             PTX, {} of machine code",
                            name.join(" "),
                            ptx.len(),
                            cubin.len()
                        );
                        print(&log);
                    }
                    Err(error) => {
                        failed += 1;
                        println!("{error}");
                    }
                }
            }
        }
    }
    if failed > 0 {
        println!("{failed} do not compile");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Of the compiler's log: what each kernel takes, and whatever else it says.
fn print(log: &str) {
    let (mut kernel, mut stack) = ("", "");
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        // "ptxas info : ...", and without a word before what goes on.
        let told =
            line.strip_prefix("ptxas").and_then(|rest| rest.split_once([':', '.']));
        let Some(("info" | "", said)) =
            told.map(|(kind, said)| (kind.trim(), said.trim()))
        else {
            println!("    {line}");
            continue;
        };
        if let Some(rest) = said.strip_prefix("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap_or(rest);
        } else if said.contains("bytes stack frame") {
            stack = said;
        } else if let Some(used) = said.strip_prefix("Used ") {
            // Not all of it: what decides how many blocks fit, and what is slow.
            let used = used
                .split(", ")
                .filter(|what| what.ends_with(" registers") || what.ends_with(" smem"));
            let slow = stack.split(", ").filter(|what| !what.starts_with("0 bytes"));
            let all: Vec<&str> = used.chain(slow).collect();
            println!("    {kernel}: {}", all.join(", "));
        }
    }
}
