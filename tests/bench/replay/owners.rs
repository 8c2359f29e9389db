//! A recording of many live owners, and then of brief ones: what an owner costs among many others.

use super::{BEGAN_NS, POOL, RANGE, SECOND_NS, emit, header};
use anyhow::Result;
use portleak::event::{Acquired, Event, EventKind, HoldId, OwnerId, ProcessFacts, ProcessId, SocketState};
use portleak::recording::Recording;
use portleak::symbols::Symbols;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

/// Brief owners a second.
const PER_SECOND: u64 = 1_000;
/// How long a brief owner lives.
const LIFE_NS: u64 = 10_000_000;

/// First so many owners that keep a port each, then so many that keep theirs for a moment.
pub(super) fn write(path: &Path, live: u64, brief: u64) -> Result<()> {
    let mut recording = Recording::create(path, Symbols::default())?;
    recording.begin(&header())?;
    let first = (0..live).flat_map(|number| begin(number, BEGAN_NS)).collect();
    emit(&mut recording, Some(first), 0)?;
    for second in 0..brief.div_ceil(PER_SECOND) {
        let numbers = second * PER_SECOND..brief.min((second + 1) * PER_SECOND);
        let events = numbers.flat_map(|number| {
            let at_ns = BEGAN_NS + SECOND_NS + number * (SECOND_NS / PER_SECOND);
            begin(live + number, at_ns).into_iter().chain(end(live + number, at_ns + LIFE_NS))
        });
        emit(&mut recording, Some(events.collect()), 1 + second)?;
    }
    Ok(recording.end(Instant::now())?)
}

fn id(number: u64) -> ProcessId {
    ProcessId { pid: 1_000 + u32::try_from(number).unwrap_or(u32::MAX), started_ticks: 90_000 + number }
}

fn hold(number: u64) -> HoldId {
    HoldId(1_000_000 + number)
}

fn begin(number: u64, at_ns: u64) -> [Event; 2] {
    let facts = ProcessFacts { comm: format!("app{}", number % 20).into(), ..ProcessFacts::default() };
    let acquired = EventKind::Acquired(Acquired {
        hold: hold(number),
        owner: OwnerId::Process(id(number)),
        pool: POOL,
        range: Some(RANGE),
        pre_existing: false,
        local: Ipv4Addr::new(10, 0, 1, 1).into(),
        port: Some(RANGE.low + (number % 28_232) as u16),
        remote: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, 9), 443))),
        state: SocketState::Connected,
        site: None,
    });
    [EventKind::Process { id: id(number), facts }, acquired].map(|kind| Event { at_ns, kind })
}

fn end(number: u64, at_ns: u64) -> [Event; 2] {
    let released = EventKind::Released { hold: hold(number) };
    [released, EventKind::Exited { id: id(number) }].map(|kind| Event { at_ns, kind })
}
