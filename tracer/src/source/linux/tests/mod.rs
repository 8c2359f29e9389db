//! The live source on a kernel of the test's own.

mod fake;
mod slow;
mod stories;

use super::probe_source::{Parts, ProbeSource};
use super::track::Start;
use crate::event::{Event, EventKind, ProcessFacts, ProcessId};
use fake::Kernel;
use portleak_ebpf::{ForkRecord, Header, Hold, HoldRecord, OwnerKey, kind, protocol, state};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bpf::wire::Record;

const SECOND: u64 = 1_000_000_000;
/// Long enough for any machine; what takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source and its kernel.
struct Trace {
    kernel: Kernel,
    source: ProbeSource,
    events: Vec<EventKind>,
}

impl Trace {
    fn begin() -> Self {
        let kernel = Kernel::default();
        kernel.state().now_ns = SECOND;
        let parts = Parts {
            records: Box::new(kernel.clone()),
            ledger: kernel.ledger(),
            system: Box::new(kernel.clone()),
            queries: Arc::new(kernel.clone()),
            by_module: false,
        };
        let start = Start {
            now_ns: SECOND,
            snapshot: &[],
            pools: &BTreeMap::new(),
            shows_binds: false,
            shows_kernel_udp: true,
            shows_all_processes: true,
            holders_are_costly: false,
        };
        Self { source: ProbeSource::new(parts, &start), kernel, events: Vec::new() }
    }

    /// The probes write a record.
    fn record(&mut self, record: Record) {
        self.kernel.state().records.push_back(Ok(record));
    }

    /// Some time passes.
    fn pass(&mut self, ns: u64) -> &[EventKind] {
        self.kernel.state().now_ns += ns;
        self.drain()
    }

    /// What is emitted now.
    fn drain(&mut self) -> &[EventKind] {
        let mut events = Vec::new();
        self.source.drain(&mut events);
        self.take(events)
    }

    fn take(&mut self, events: Vec<Event>) -> &[EventKind] {
        let from = self.events.len();
        self.events.extend(events.into_iter().map(|event| event.kind));
        &self.events[from..]
    }

    /// Drains until an event is there that a worker has to find out.
    fn until(&mut self, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
        let began = Instant::now();
        loop {
            if let Some(found) = self.drain().iter().find(|kind| wanted(kind)) {
                return found.clone();
            }
            assert!(began.elapsed() < PATIENCE, "it never came: {:#?}", self.events);
            std::thread::yield_now();
        }
    }

    /// Waits until a query was begun so many times.
    fn begun(&self, name: &str, times: usize) {
        let began = Instant::now();
        while self.kernel.state().begun.iter().filter(|begun| **begun == name).count() < times {
            assert!(began.elapsed() < PATIENCE, "{name} was never asked");
            std::thread::yield_now();
        }
    }

    fn stop(&mut self) -> &[EventKind] {
        let mut events = Vec::new();
        self.source.stop(&mut events);
        self.take(events)
    }

    /// How many answers are missing, by what is said of them.
    fn incomplete(&self) -> Vec<(String, u64)> {
        self.source.incomplete().into_iter().map(|one| (one.what, one.count)).collect()
    }
}

/// What hangs must not hang for ever.
impl Drop for Trace {
    fn drop(&mut self) {
        self.kernel.release();
    }
}

fn owner(pid: u32) -> OwnerKey {
    OwnerKey { started_ticks: 100, pid, system_netns: 0 }
}

fn process(pid: u32) -> (ProcessId, ProcessFacts) {
    let facts = ProcessFacts { comm: format!("p{pid}").into(), ..ProcessFacts::default() };
    (ProcessId { pid, started_ticks: 100 }, facts)
}

/// A TCP port of 40,000 that process 7 acquired by `connect()`.
fn hold() -> Hold {
    Hold {
        acquired_ns: SECOND,
        owner: owner(7),
        netns: 5,
        port: 40_000,
        range_low: 32_768,
        range_high: 60_999,
        protocol: protocol::TCP,
        family: 4,
        state: state::SYN_SENT,
        ..Hold::default()
    }
}

fn header(kind: u8, cookie: u64) -> Header {
    Header { at_ns: SECOND, cookie, kind, ..Header::default() }
}

fn hold_record(kind: u8, cookie: u64, hold: Hold) -> Record {
    Record::Hold(HoldRecord { header: header(kind, cookie), hold })
}

fn exited(pid: u32) -> Record {
    let header = header(kind::EXITED, 0);
    Record::Fork(ForkRecord { header, parent: OwnerKey::default(), child: owner(pid) })
}
