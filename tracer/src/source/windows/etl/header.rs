//! The header of a trace: the first record of the first buffer, `TRACE_LOGFILE_HEADER` (evntrace.h).

use super::records::Records;
use crate::event::Clock;
use crate::source::windows::bytes::Bytes;
use crate::source::windows::guid;

/// From 1601 to 1970, in FILETIME's ticks of 100 ns.
pub const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
/// A year: the longest trace whose end is unknown.
const YEAR_NS: u64 = 366 * 86_400 * 1_000_000_000;
/// How far outside the trace's start and end a record may lie.
const SLACK_NS: u64 = 60_000_000_000;

/// The header of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Windows' version: major, minor.
    pub version: (u8, u8),
    /// Windows' build.
    pub build: u32,
    /// Size of the session's buffers in bytes, unpacked.
    pub buffer_bytes: u32,
    /// Events that found no buffer.
    pub events_lost: u64,
    /// Buffers that could not be written.
    pub buffers_lost: u64,
    time: TimeBase,
}

/// How to convert the times of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeBase {
    /// Ticks in a second.
    frequency: u64,
    /// The tick at the trace's start.
    start_tick: u64,
    /// The start as FILETIME.
    start: u64,
    /// When the machine booted, as FILETIME: the zero of our clock.
    boot: u64,
    /// When the trace ended, in nanoseconds of our clock; `None` when its end is missing.
    end_ns: Option<u64>,
}

impl Header {
    /// The header in the data of the first buffer. `None` when it has none.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let record = Records::new(data, 0).next()?;
        if record.provider != guid::TRACE_HEADER || record.opcode != 0 {
            return None;
        }
        let mut bytes = Bytes(record.payload);
        let buffer_bytes = bytes.u32()?;
        let [major, minor, _, _] = bytes.array()?;
        let build = bytes.u32()?;
        let _processors = bytes.u32()?;
        let end = bytes.u64()?;
        let (_timer, _file_max, _mode, _written) = (bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?);
        let (_start_buffers, pointer) = (bytes.u32()?, bytes.u32()?);
        let (events_lost, mhz) = (bytes.u32()?, bytes.u32()?);
        // Two pointers, then TIME_ZONE_INFORMATION: 172 bytes, padded to 176.
        bytes.take(if pointer == 4 { 8 } else { 16 } + 176)?;
        let (boot, frequency, start) = (bytes.u64()?, bytes.u64()?, bytes.u64()?);
        let (clock, buffers_lost) = (bytes.u32()?, bytes.u32()?);
        let (frequency, start_tick) = match clock {
            2 => (10_000_000, start),
            3 => (u64::from(mhz) * 1_000_000, record.time),
            _ => (frequency, record.time),
        };
        let boot = if (1..=start).contains(&boot) { boot } else { start };
        let time = TimeBase { frequency: frequency.max(1), start_tick, start, boot, end_ns: None };
        let end_ns = (end > start).then(|| time.of_filetime(end));
        Some(Self {
            version: (major, minor),
            build,
            buffer_bytes,
            events_lost: events_lost.into(),
            buffers_lost: buffers_lost.into(),
            time: TimeBase { end_ns, ..time },
        })
    }

    /// The header of a live session from the instant `now` on. Its times are FILETIME, like `boot`, the zero
    /// of our clock. It has no end. The version is major, minor and build.
    #[must_use]
    pub fn of_session(version: (u32, u32, u32), buffer_bytes: u32, boot: u64, now: u64) -> Self {
        let (major, minor, build) = version;
        let version = [major, minor].map(|part| u8::try_from(part).unwrap_or(u8::MAX)).into();
        let time =
            TimeBase { frequency: 10_000_000, start_tick: now, start: now, boot, end_ns: Some(u64::MAX) };
        Self { version, build, buffer_bytes, events_lost: 0, buffers_lost: 0, time }
    }

    /// When the trace began, in nanoseconds since the machine's boot.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.time.of_filetime(self.time.start)
    }

    /// A record's time in nanoseconds since boot. `None` when it lies outside the trace.
    #[must_use]
    pub fn at_ns(&self, tick: u64) -> Option<u64> {
        let time = &self.time;
        let ticks = i128::from(tick) - i128::from(time.start_tick);
        let after = ticks * 1_000_000_000 / i128::from(time.frequency);
        let at_ns = u64::try_from(i128::from(self.start_ns()) + after).ok()?;
        let last_ns = time.end_ns.unwrap_or_else(|| self.start_ns().saturating_add(YEAR_NS));
        let first_ns = self.start_ns().saturating_sub(SLACK_NS);
        (first_ns..=last_ns.saturating_add(SLACK_NS)).contains(&at_ns).then_some(at_ns)
    }

    /// A FILETIME in ticks of 100 ns since boot, the unit of process starts.
    #[must_use]
    pub fn ticks_since_boot(&self, filetime: u64) -> u64 {
        filetime.saturating_sub(self.time.boot)
    }

    /// The clock of the trace.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let since_epoch = i128::from(self.time.start) - i128::from(UNIX_EPOCH);
        Clock { monotonic_ns: self.start_ns(), unix_ns: since_epoch * 100 }
    }
}

impl TimeBase {
    fn of_filetime(&self, filetime: u64) -> u64 {
        filetime.saturating_sub(self.boot).saturating_mul(100)
    }
}
