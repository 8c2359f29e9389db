//! The probes' clock: `CLOCK_BOOTTIME`, which goes on while the machine is suspended.

use crate::event::Clock;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot.
#[must_use]
pub fn boot_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// How to map them to wall time; as right as the wall clock is now.
#[must_use]
pub fn clock() -> Clock {
    Clock { monotonic_ns: boot_ns(), unix_ns: nanoseconds(ClockId::Realtime).into() }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + rest.unwrap_or_default()
}
