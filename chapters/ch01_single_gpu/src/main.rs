//! The program of chapter 1.
use ch01_single_gpu::Config;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match ch01_single_gpu::run(&Config::parse()) {
        // As a shell counts a program that Ctrl-C ended.
        Ok(outcome) if outcome.interrupted => ExitCode::from(130),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
