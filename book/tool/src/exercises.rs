//! stub
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
/// x
#[derive(clap::Args)]
pub struct CheckArguments {}
/// x
#[derive(clap::Args)]
pub struct ProgressArguments {}
/// x
pub enum Kind {
    /// x
    FillIn,
    /// x
    FindTheBug,
}
/// x
pub struct Exercise {
    /// x
    pub chapter: String,
    /// x
    pub name: String,
    /// x
    pub kind: Kind,
    /// x
    pub title: String,
    /// x
    pub task: String,
    /// x
    pub hint: String,
    /// x
    pub path: PathBuf,
}
/// x
pub fn list(_: &Path) -> Result<Vec<Exercise>> {
    Ok(vec![])
}
/// x
pub fn main_check(_: &Path, _: &CheckArguments) -> Result<std::process::ExitCode> {
    bail!("x")
}
/// x
pub fn main_progress(
    _: &Path,
    _: &ProgressArguments,
) -> Result<std::process::ExitCode> {
    bail!("x")
}
