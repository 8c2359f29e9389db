//! How fast a recording is judged, and how much memory a live hold takes; for `cargo xtask bench
//! replay`.
//!
//! ```text
//! bench-replay write FILE --connections N [--hold]    a made-up recording, the same every time
//! bench-replay write FILE --owners LIVE --brief N       one of LIVE processes, then N brief ones
//! bench-replay decode FILE                            reads it and does nothing with it
//! bench-replay judge FILE                             what `portleak replay` does
//! bench-replay month --days N                        a simulated month, or less of it, through the engine
//! ```
//!
//! The connections are those of a busy host: 50 processes that each talk to 4 of 64 servers, 5,000
//! connections a second for 0.1 to 3 s each, most of them with TIME_WAIT. With `--hold` none is ever
//! closed. Times are CPU times: a machine that others use as well must not slow it down.

#![expect(clippy::print_stdout, reason = "a program, not the library")]

mod month;
mod owners;

use anyhow::{Result, bail};
use portleak::engine::Config;
use portleak::engine::report::{Finding, Summary};
use portleak::event::{
    Acquired, Capture, Clock, Event, EventKind, HoldId, NetNs, OwnerId, PoolId, PortRange, ProcessFacts,
    ProcessId, Protocol, SocketState,
};
use portleak::pipeline::intake::Reading;
use portleak::pipeline::{Pace, Setup, session};
use portleak::recording::{Header, Reader, Recording, Turn};
use portleak::sink::{Completeness, Sink, SinkError};
use portleak::symbols::Symbols;
use portleak_tests::meter;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const SECOND_NS: u64 = 1_000_000_000;
const BEGAN_NS: u64 = 1_000 * SECOND_NS;
const PROCESSES: u64 = 50;
const DESTINATIONS: u64 = 64;
const DESTINATIONS_EACH: u64 = 4;
const PER_SECOND: u64 = 5_000;
const POOL: PoolId = PoolId { netns: NetNs(1), protocol: Protocol::Tcp };
const RANGE: PortRange = PortRange { low: 32_768, high: 60_999, reserved: 0 };

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", file, "--connections", count, rest @ ..] => {
            write(Path::new(file), count.parse()?, rest.contains(&"--hold"))
        }
        ["write", file, "--owners", live, "--brief", brief] => {
            owners::write(Path::new(file), live.parse()?, brief.parse()?)
        }
        ["month", "--days", days] => month::run(days.parse()?),
        ["decode", file] => decode(Path::new(file)),
        ["judge", file] => judge(Path::new(file)),
        _ => bail!("usage: see the head of tests/bench/replay/main.rs"),
    }
}

fn write(path: &Path, connections: u64, hold: bool) -> Result<()> {
    let mut recording = Recording::create(path, Symbols::default())?;
    recording.begin(&header())?;
    recording.batch(&processes(), Some(BEGAN_NS))?;
    // What is still to come of connections that have begun, by the second.
    let mut later: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for second in 0..connections.div_ceil(PER_SECOND) {
        let first = second * PER_SECOND;
        for number in first..connections.min(first + PER_SECOND) {
            for event in connection(number, hold) {
                later.entry((event.at_ns - BEGAN_NS) / SECOND_NS).or_default().push(event);
            }
        }
        emit(&mut recording, later.remove(&second), second)?;
    }
    for (second, events) in later {
        emit(&mut recording, Some(events), second)?;
    }
    Ok(recording.end(Instant::now())?)
}

fn emit(recording: &mut Recording, events: Option<Vec<Event>>, second: u64) -> Result<()> {
    let mut events = events.unwrap_or_default();
    events.sort_by_key(|event| event.at_ns);
    // Live, the source is read about every ten milliseconds.
    for batch in events.chunks(100) {
        recording.batch(batch, batch.last().map(|event| event.at_ns))?;
    }
    Ok(recording.batch(&[], Some(BEGAN_NS + (second + 1) * SECOND_NS))?)
}

fn header() -> Header {
    Header {
        tool: "bench".to_owned(),
        capture: capture(),
        config: Config::default(),
        command: Vec::new(),
        buffer_bytes: 0,
        began_ns: BEGAN_NS,
    }
}

fn capture() -> Capture {
    Capture {
        platform: "linux".to_owned(),
        kernel: "bench".to_owned(),
        hooks: Vec::new(),
        degraded: Vec::new(),
        clock: Clock { monotonic_ns: BEGAN_NS, unix_ns: 1_777_626_724_000_000_000 },
        ticks_per_s: 100,
        pools: [(POOL, RANGE)].into(),
    }
}

fn process(number: u64) -> ProcessId {
    ProcessId { pid: 1_000 + (number % PROCESSES) as u32, started_ticks: 90_000 }
}

fn processes() -> Vec<Event> {
    let facts = ProcessFacts { comm: "worker".into(), ..ProcessFacts::default() };
    let named = |number| EventKind::Process { id: process(number), facts: facts.clone() };
    (0..PROCESSES).map(|number| Event { at_ns: BEGAN_NS, kind: named(number) }).collect()
}

/// All that happens to a connection.
fn connection(number: u64, held: bool) -> Vec<Event> {
    let hold = HoldId(1_000_000 + number);
    // Numbers that look like chance and are the same every time.
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let began_ns = BEGAN_NS + number * (SECOND_NS / PER_SECOND);
    let ended_ns = began_ns + SECOND_NS / 10 + random % (29 * SECOND_NS / 10);
    let octet =
        (((random % PROCESSES) * DESTINATIONS_EACH + (random >> 8) % DESTINATIONS_EACH) % DESTINATIONS) as u8;
    let remote = SocketAddr::from((Ipv4Addr::new(10, 0, 0, octet), 443));
    let acquired = EventKind::Acquired(Acquired {
        hold,
        owner: OwnerId::Process(process(random)),
        pool: POOL,
        range: Some(RANGE),
        pre_existing: false,
        local: Ipv4Addr::new(10, 0, 1, 1).into(),
        port: Some(RANGE.low + (number % 28_232) as u16),
        remote: Some(remote),
        state: SocketState::SynSent,
        site: None,
    });
    let state = |state| EventKind::State { hold, state, remote: None };
    let at = |at_ns, kind| Event { at_ns, kind };
    let mut events = vec![at(began_ns, acquired), at(began_ns + 200_000, state(SocketState::Connected))];
    if held {
        return events;
    }
    if random.is_multiple_of(8) {
        events.push(at(ended_ns, EventKind::Released { hold })); // Reset.
        return events;
    }
    events.extend([
        at(ended_ns, state(SocketState::Closing)),
        at(ended_ns + 300_000, EventKind::TimeWaitBegan { hold }),
        at(ended_ns + 300_001, EventKind::Released { hold }),
        at(ended_ns + 60 * SECOND_NS, EventKind::TimeWaitEnded { hold }),
    ]);
    events
}

fn decode(path: &Path) -> Result<()> {
    let start = meter::cpu_s();
    let mut reader = Reader::open(File::open(path)?)?;
    let (mut events, mut count) = (Vec::new(), 0_u64);
    while !matches!(reader.turn(&mut events)?, Turn::End(_)) {
        count += events.len() as u64;
        events.clear();
    }
    report(count, start, path, None)
}

/// Shows nothing, and measures how much memory is taken at the end, while the engine still has it.
struct Silent {
    after: Arc<AtomicU64>,
}

impl Sink for Silent {
    fn name(&self) -> &str {
        "nothing"
    }

    fn start(&mut self, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn finding(&mut self, _: &Finding) -> Result<(), SinkError> {
        Ok(())
    }

    fn summary(&mut self, _: &Summary, _: &Completeness) -> Result<(), SinkError> {
        self.after.store(meter::memory("VmRSS").unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }
}

fn judge(path: &Path) -> Result<()> {
    let start = meter::cpu_s();
    let reader = Reader::open(File::open(path)?)?;
    let after = Arc::new(AtomicU64::new(0));
    let setup = Setup {
        config: Config::default(),
        began_ns: reader.header().began_ns,
        sinks: vec![Box::new(Silent { after: Arc::clone(&after) })],
        recording: None,
        symbols: Symbols::default(),
        pace: Pace::File,
    };
    let before = meter::memory("VmRSS").unwrap_or_default();
    let summary = session::replay(&mut Reading::new(reader), setup)?.summary;
    let grown = after.load(Ordering::Relaxed).saturating_sub(before);
    let held: u64 = summary.owners.iter().map(|owner| owner.tcp.held).sum();
    let per_hold = (held > 0).then(|| grown as f64 / held as f64);
    report(summary.events, start, path, per_hold)
}

fn report(events: u64, start: f64, path: &Path, bytes_per_hold: Option<f64>) -> Result<()> {
    let cpu_s = meter::cpu_s() - start;
    let file_bytes = std::fs::metadata(path)?.len();
    let said = serde_json::json!({
        "events": events, "cpu_s": cpu_s, "file_bytes": file_bytes, "bytes_per_hold": bytes_per_hold,
    });
    println!("{said}");
    Ok(())
}
