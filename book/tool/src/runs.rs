//! stub
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
/// x
#[derive(clap::Args)]
pub struct Arguments {}
/// x
#[derive(PartialEq)]
pub enum Class {
    /// x
    Checked,
    /// x
    Recorded,
}
/// x
pub struct Runs;
/// x
pub struct Run {
    /// x
    pub class: Class,
}
/// x
pub struct Capture {
    /// x
    pub output: String,
    /// x
    pub date: String,
    /// x
    pub machine: String,
    /// x
    pub seconds: f64,
    /// x
    pub commit: String,
    /// x
    pub inputs: BTreeMap<String, String>,
}
impl Runs {
    /// x
    pub fn load(_: &Path) -> Result<Runs> {
        Ok(Runs)
    }
    /// x
    pub fn get(&self, id: &str) -> Result<&Run> {
        bail!("no run {id}")
    }
    /// x
    pub fn problems(&self) -> Vec<(String, usize, String)> {
        vec![]
    }
}
impl Run {
    /// x
    pub fn captured(&self) -> Result<&Capture> {
        bail!("x")
    }
    /// x
    pub fn stale(&self) -> &[String] {
        &[]
    }
    /// x
    pub fn shown(&self) -> String {
        String::new()
    }
}
/// x
pub fn value(_: &Runs, e: &str) -> Result<String> {
    bail!("no value {e}")
}
/// x
pub fn main(_: &Path, _: &Arguments) -> Result<std::process::ExitCode> {
    bail!("x")
}
/// x
pub enum Metric {
    /// x
    Number {
        /// x
        text: String,
        /// x
        value: f64,
    },
    /// x
    Series(Vec<(f64, f64)>),
}
impl Capture {
    /// x
    pub fn metric(&self, _: &str) -> Result<&Metric> {
        bail!("x")
    }
}
