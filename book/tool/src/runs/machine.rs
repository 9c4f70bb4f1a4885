//! When and where a run is made.
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// A machine as far as timings depend on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Main memory; 0 if unknown.
    pub memory_bytes: u64,
    /// The GPUs' names, if `nvidia-smi` finds any.
    pub gpus: Vec<String>,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, {} core", self.cpu, self.cores)?;
        f.write_str(if self.cores == 1 { "" } else { "s" })?;
        if self.memory_bytes > 0 {
            write!(f, ", {:.0} GB", self.memory_bytes as f64 / 1e9)?;
        }
        let names: BTreeSet<&String> = self.gpus.iter().collect();
        for name in names {
            match self.gpus.iter().filter(|other| *other == name).count() {
                1 => write!(f, ", {name}")?,
                count => write!(f, ", {count} × {name}")?,
            }
        }
        Ok(())
    }
}

impl Machine {
    /// The one this runs on.
    pub fn this() -> Machine {
        let unknown = || "unknown processor".to_string();
        let cpu = field("/proc/cpuinfo", "model name")
            .or_else(|| said("sysctl", &["-n", "machdep.cpu.brand_string"]));
        let kib = field("/proc/meminfo", "MemTotal");
        let kib = kib.and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
        let mac = || said("sysctl", &["-n", "hw.memsize"])?.parse().ok();
        let query = ["--query-gpu=name", "--format=csv,noheader"];
        let gpus = said("nvidia-smi", &query).unwrap_or_default();
        Machine {
            cpu: cpu.unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib.map(|kib| kib * 1024).or_else(mac).unwrap_or(0),
            gpus: gpus.lines().map(|name| name.trim().to_string()).collect(),
        }
    }
}

/// The first `name : value` of a file of the kernel's.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_string())
}

/// What a program says, if it is there and succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_string())
}

/// What compiles: `rustc 1.95.0 (59807616e 2026-04-14)`.
pub fn rustc() -> Result<String> {
    said("rustc", &["--version"]).context("`rustc --version` does not answer")
}

/// The commit that is checked out, if there is one, and whether any of some files
/// differs from it.
pub fn commit(root: &Path, files: &BTreeSet<PathBuf>) -> (Option<String>, bool) {
    let at = root.to_string_lossy();
    let commit = said("git", &["-C", &at, "rev-parse", "HEAD"]);
    if commit.is_none() {
        return (None, false);
    }
    // `-z`: names as they are; relative to the repository's root, as ours are to the
    // workspace's, which may lie deeper.
    let prefix = said("git", &["-C", &at, "rev-parse", "--show-prefix"]);
    let prefix = prefix.unwrap_or_default();
    let status = ["-C", &at, "status", "--porcelain", "-z", "--untracked-files=all"];
    let status = said("git", &status).unwrap_or_default();
    let changed = status.split('\0').any(|entry| {
        let name = entry.get(3..).unwrap_or_default();
        name.strip_prefix(&prefix).is_some_and(|name| files.contains(Path::new(name)))
    });
    (commit, changed)
}

/// Now, in UTC: `2026-11-22T01:02:03Z`.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    date(since.map_or(0, |since| since.as_secs()))
}

/// Seconds since 1970 as a date, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let day = day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(date(1_795_309_323), "2026-11-22T01:02:03Z");
        assert_eq!(date(4_102_444_799), "2099-12-31T23:59:59Z");
    }

    #[test]
    fn gpus_of_one_kind_are_counted() {
        let gpus = vec!["H100".to_string(); 8];
        let cpu = "A CPU".to_string();
        let machine = Machine { cpu, cores: 2, memory_bytes: 25_325_268_992, gpus };
        assert_eq!(machine.to_string(), "A CPU, 2 cores, 25 GB, 8 × H100");
    }
}
