//! Compares our model, on one rank or several, with references computed elsewhere.
use anyhow::Result;
use ch01_single_gpu::config::Precision;
use clap::Parser;
use parity::reference::{five, six};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use testkit::{Reference, worst};

/// Compares the model of each folder (config.json, model.safetensors) with the
/// reference.safetensors beside it: logits, loss, every gradient, the gradient's norm
/// and the losses of three steps. tests/fixtures/README.md describes the file, and
/// tests/fixtures/make_reference.py makes one.
///
/// Errors are norm-wise and relative, ‖ours - theirs‖ / ‖theirs‖ for each tensor; the
/// worst of each kind is shown. Exits with 0 if all are within their tolerance, 1 if
/// one is not, 2 if a folder cannot be compared.
///
/// Chapter 1 computes it; with --tp chapter 5, and with --sp chapter 6. Of a parameter
/// in parts, the error is that of all parts together.
#[derive(Parser)]
struct Args {
    /// Folders that hold a model and its reference
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Ranks that each hold a part of every matrix
    #[arg(long, value_name = "RANKS")]
    tp: Option<usize>,
    /// They divide the sequence, too
    #[arg(long, requires = "tp")]
    sp: bool,
    /// Type to compute in
    #[arg(long, value_enum, default_value = "fp32")]
    precision: Precision,
    /// Largest error of logits, loss, gradient norm and steps
    #[arg(long, default_value_t = 1e-5)]
    tolerance: f64,
    /// Largest error of a gradient
    #[arg(long, default_value_t = 1e-4)]
    gradient_tolerance: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let _threads = ops::threads::own(ops::threads::available());
    let mut code = 0;
    for folder in &args.folders {
        println!("{}", folder.display());
        match check(folder, &args) {
            Ok(true) => {}
            Ok(false) => code = code.max(1),
            Err(error) => {
                eprintln!("error: {}: {error:#}", folder.display());
                code = 2;
            }
        }
    }
    ExitCode::from(code)
}

fn check(folder: &Path, args: &Args) -> Result<bool> {
    let spec = folder.to_string_lossy();
    let reference = Reference::open(folder)?;
    let dtype = args.precision.dtype();
    let all = match args.tp {
        None => reference.compare(&spec, dtype)?,
        Some(ranks) if args.sp => six(&reference, &spec, dtype, ranks)?,
        Some(ranks) => five(&reference, &spec, dtype, ranks)?,
    };
    let mut passed = true;
    for one in worst(&all) {
        let allowed = match one.kind {
            "gradients" => args.gradient_tolerance,
            _ => args.tolerance,
        };
        let within = one.error <= allowed;
        passed &= within;
        let count = all.iter().filter(|other| other.kind == one.kind).count();
        println!(
            "  {:<14} {:9.2e}  {} {:.0e}  {}",
            one.kind,
            one.error,
            if within { "within" } else { "BEYOND" },
            allowed,
            if count > 1 {
                format!("worst of {count}: {}", one.name)
            } else {
                one.name
            }
        );
    }
    Ok(passed)
}
