//! The program of chapter 7.
use ch07_pipeline_parallel::Config;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match ch07_pipeline_parallel::run(&Config::parse()) {
        // As a shell counts a program that Ctrl-C ended.
        Ok(ranks) if ranks.iter().any(|rank| rank.interrupted) => ExitCode::from(130),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
