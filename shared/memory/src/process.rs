//! The kernel's view of the process.

/// The process's peak resident set, in bytes: everything it had in memory at once,
/// code, stacks and cached blocks included. `VmHWM` on Linux, `getrusage` elsewhere;
/// 0 where neither exists.
pub fn process_peak() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| high_water(&status))
        .unwrap_or_else(|| usage().0)
}

/// Page faults so far that needed no disk (`ru_minflt`): each is a page the kernel
/// cleared and mapped on first touch. 0 where it is not known.
pub fn page_faults() -> u64 {
    usage().1
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Peak resident bytes and minor faults, from `getrusage`.
#[cfg(unix)]
fn usage() -> (u64, u64) {
    // SAFETY: rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writing.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } != 0 {
        return (0, 0);
    }
    // macOS counts in bytes, everyone else in KiB.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    (usage.ru_maxrss as u64 * unit, usage.ru_minflt as u64)
}

#[cfg(not(unix))]
fn usage() -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_water_is_read_from_the_status_file() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 7 kB\n";
        assert_eq!(high_water(status), Some(1234 * 1024));
        assert_eq!(high_water("Name:\tx\n"), None);
        assert_eq!(high_water("VmHWM:\tmany kB\n"), None);
    }

    #[test]
    fn the_peak_covers_what_was_touched() {
        let touched = vec![1u8; 32 << 20];
        assert!(process_peak() >= touched.len() as u64);
    }
}
