//! What a benchmark's process has used.

/// CPU time in seconds; NaN, `null` in JSON, where there is no portable way to ask.
#[cfg(unix)]
pub fn cpu_s() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// CPU time in seconds; NaN, `null` in JSON, where there is no portable way to ask.
#[cfg(not(unix))]
pub fn cpu_s() -> f64 {
    f64::NAN
}

/// A line of `/proc/self/status` that is a size, such as `VmRSS`, in bytes; as far as the system tells.
pub fn memory(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    Some(size.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
