//! The probes' clock: `CLOCK_BOOTTIME`, which goes on while the machine is suspended.

use crate::event::Clock;

/// Nanoseconds since boot.
#[must_use]
pub fn boot_ns() -> u64 {
    nanoseconds(libc::CLOCK_BOOTTIME)
}

/// How to map them to wall time; as right as the wall clock is now.
#[must_use]
pub fn clock() -> Clock {
    Clock { monotonic_ns: boot_ns(), unix_ns: nanoseconds(libc::CLOCK_REALTIME).into() }
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec of ours; both clocks exist since Linux 2.6.39, so it cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let (seconds, rest) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + rest.unwrap_or_default()
}
