//! What sinks need to turn numbers into sentences: wall time, names of call sites.

use crate::engine::report::SiteShare;
use crate::event::{Capture, Clock};
use crate::symbols::{Name, Symbols};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The context of a capture.
#[derive(Clone, Debug)]
pub struct Context {
    clock: Clock,
    ticks_per_s: u64,
    zone: TimeZone,
    symbols: Symbols,
}

impl Context {
    /// The context of `capture`, with frames named by `symbols` and times of day in `zone`.
    #[must_use]
    pub fn new(capture: &Capture, symbols: Symbols, zone: TimeZone) -> Self {
        Self { clock: capture.clock, ticks_per_s: capture.ticks_per_s, zone, symbols }
    }

    /// An instant in UTC, to the millisecond.
    #[must_use]
    pub fn rfc3339(&self, at_ns: u64) -> String {
        rfc3339(self.zoned(at_ns).timestamp())
    }

    /// When a process started, from its ticks since boot; `None` when the source has no ticks.
    #[must_use]
    pub fn started(&self, ticks: u64) -> Option<String> {
        let at_ns =
            u128::from(ticks).checked_mul(1_000_000_000)?.checked_div(u128::from(self.ticks_per_s))?;
        u64::try_from(at_ns).ok().map(|at_ns| self.rfc3339(at_ns))
    }

    /// The time of day, with the date if it is another day than `now_ns`.
    #[must_use]
    pub fn time_of_day(&self, at_ns: u64, now_ns: u64) -> String {
        let (at, now) = (self.zoned(at_ns), self.zoned(now_ns));
        let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        at.strftime(form).to_string()
    }

    /// The frames of a call site by name.
    #[must_use]
    pub fn names(&self, share: &SiteShare) -> Vec<Name> {
        self.symbols.names(&share.frames)
    }

    fn zoned(&self, at_ns: u64) -> Zoned {
        Timestamp::from_nanosecond(self.clock.unix_ns(at_ns)).unwrap_or_default().to_zoned(self.zone.clone())
    }
}

/// An instant in UTC, to the millisecond.
pub(super) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use crate::sink::fixtures;

    const DAY_NS: u64 = 86_400_000_000_000;

    #[test]
    fn wall_time_comes_from_the_clock() {
        let context = fixtures::context();
        assert_eq!(context.rfc3339(fixtures::at(0.25)), "2026-05-01T09:12:04.250Z");
        assert_eq!(context.started(fixtures::STARTED_TICKS).unwrap(), "2026-05-01T09:12:03.000Z");
    }

    #[test]
    fn another_day_is_named() {
        let context = fixtures::context();
        let now = fixtures::at(1.0);
        assert_eq!(context.time_of_day(now, now), "09:12:05");
        assert_eq!(context.time_of_day(now, now + DAY_NS), "2026-05-01 09:12:05");
    }
}
