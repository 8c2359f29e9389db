//! How long a benchmark's load took, and how much CPU time.

use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};

/// What a load says at its end.
#[derive(Serialize)]
pub(super) struct Cost {
    /// How many of the load's unit.
    done: u32,
    seconds: f64,
    /// User and system time of the process: both ends of every connection.
    cpu_s: f64,
}

pub(super) struct Meter {
    started: Instant,
    cpu_before: Duration,
}

impl Meter {
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { started: Instant::now(), cpu_before: cpu_time()? })
    }

    pub(super) fn stop(self, done: u32) -> io::Result<Cost> {
        let cpu_s = (cpu_time()? - self.cpu_before).as_secs_f64();
        Ok(Cost { done, seconds: self.started.elapsed().as_secs_f64(), cpu_s })
    }
}

fn cpu_time() -> io::Result<Duration> {
    // SAFETY: rusage is plain data for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is one rusage that the kernel fills.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
}
