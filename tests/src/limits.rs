//! Bounds of this process: how many files, how long it lives.

use anyhow::{Context, Result};
use std::io;
use std::time::Duration;

/// No process of the workload outlives this, whatever becomes of the test that started it.
pub const LIFE_MAX: Duration = Duration::from_secs(600);

/// How long a process waits for its observer to be done.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Lets the kernel end this process (SIGALRM) after `time`; replaces an earlier bound.
pub fn end_after(time: Duration) {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    // SAFETY: alarm takes a number and touches no memory.
    unsafe { libc::alarm(seconds) };
}

/// Waits for a line or the end of standard input.
pub fn wait_for_observer() -> Result<()> {
    observer_wants_more().map(drop)
}

/// The same; tells whether it was a line.
pub fn observer_wants_more() -> Result<bool> {
    end_after(WAIT_MAX);
    let bytes = io::stdin().read_line(&mut String::new()).context("waiting for standard input to end")?;
    Ok(bytes > 0)
}

/// Raises the limit of open files as far as it goes.
pub fn allow_many_files() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that the kernel fills.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid rlimit that the kernel only reads.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if got != 0 || set != 0 {
        return Err(io::Error::last_os_error()).context("raising the limit of open files");
    }
    Ok(())
}
