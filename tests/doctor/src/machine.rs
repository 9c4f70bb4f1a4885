//! The machine itself, as Linux describes it.
use crate::report::Report;
use std::env::consts::{ARCH, OS};
use std::fs::read_to_string;
use std::thread::available_parallelism;

pub fn describe(report: &mut Report) {
    // "model name : X" on x86. ARM has none.
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or("unknown model".into());
    report.ok("CPU", &format!("{cpu}, {ARCH}, {OS}"));
    match available_parallelism() {
        Ok(cores) => report.ok("cores", &format!("{cores} for this process")),
        Err(error) => report.failed("cores", &error.to_string()),
    }
    let size = |name| {
        let text = field("/proc/meminfo", name)?;
        let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    match (size("MemTotal"), size("MemAvailable")) {
        (Some(all), Some(free)) => report.ok("memory", &memory(all, free)),
        _ => report.missing("memory", "/proc/meminfo does not say"),
    }
}

/// In GB, and of a container, what it may use.
fn memory(all: u64, free: u64) -> String {
    let gb = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let limit = read_to_string("/sys/fs/cgroup/memory.max").ok();
    // Without a limit it is "max".
    let limit: Option<u64> = limit.and_then(|limit| limit.trim().parse().ok());
    let limit = limit.filter(|limit| *limit < all);
    let limit = limit.map(|limit| format!("; this container gets {}", gb(limit)));
    format!("{}, {} available{}", gb(all), gb(free), limit.unwrap_or_default())
}

/// What follows `name` and a colon.
fn field(path: &str, name: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(before, _)| before.trim() == name)?;
    Some(value.trim().to_string())
}
