//! A machine's records as a session delivers them: late, and in batches.

use portleak::event::{Acquired, Event, EventKind};
use portleak::source::windows::etl::{Header, Reader, Trace, UNIX_EPOCH};
use portleak::source::windows::live::capture::{Findings, capture};
use portleak::source::windows::live::inquiry::{Answer, Inquiry};
use portleak::source::windows::live::live_source::{SessionSource, Start, System};
use portleak::source::windows::live::queue::{Batch, Queue};
use portleak::source::windows::model::Background;
use portleak::source::windows::record::Record;
use portleak::source::{Source, SourceError, Stacks};
use portleak_tests::etl::encode::{RELEASES, Release};
use portleak_tests::etl::machine::Machine;
use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
/// How often partly filled buffers are delivered.
const FLUSH_NS: u64 = SECOND_NS;

/// A session that delivers the records of a trace each second. Windows lists nothing.
struct Played {
    now_ns: Arc<AtomicU64>,
    /// What is written, and when it arrives.
    writes: VecDeque<(u64, Batch)>,
    queue: Queue,
    batch: Batch,
}

impl System for Played {
    fn read(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError> {
        let now_ns = self.now_ns();
        while let Some((_, batch)) = self.writes.pop_front_if(|(arrives_ns, _)| *arrives_ns <= now_ns) {
            batch.records().for_each(|record| self.queue.push(&record));
        }
        self.queue.take(&mut self.batch);
        self.batch.records().for_each(|record| visit(&record));
        Ok(())
    }

    async fn ready(&mut self) {}

    fn now_ns(&self) -> u64 {
        self.now_ns.load(Relaxed)
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    fn request(&mut self, _inquiry: Inquiry) -> bool {
        true
    }

    fn poll(&mut self, _now_ns: u64) -> Option<Result<Answer, SourceError>> {
        None
    }

    fn wait(&mut self, _timeout: Duration) {}

    fn stop(&mut self) -> Option<u64> {
        self.now_ns.store(u64::MAX / 2, Relaxed);
        Some(0)
    }
}

/// Traces the machine of `file`, with a drain every 50 ms.
fn trace_live(file: Vec<u8>) -> Vec<Event> {
    let mut reader = Reader::open(Cursor::new(file), |_, _, _| {}).expect("a trace");
    let clock = reader.header().clock();
    let since_epoch = (clock.unix_ns - i128::from(clock.monotonic_ns)) / 100;
    let boot = u64::try_from(since_epoch).expect("after 1970") + UNIX_EPOCH;
    let start_ns = reader.header().start_ns();
    let header = Header::of_session((10, 0, reader.header().build), 0, boot, boot + start_ns / 100);
    let mut writes: VecDeque<(u64, Batch)> = VecDeque::new();
    let visit = |_: &Header, at_ns: u64, record: &Record<'_>| {
        let arrives_ns = start_ns + (at_ns - start_ns).next_multiple_of(FLUSH_NS);
        if writes.back().is_none_or(|(last_ns, _)| *last_ns != arrives_ns) {
            writes.push_back((arrives_ns, Batch::default()));
        }
        let (_, batch) = writes.back_mut().expect("it was just added");
        batch.push(&Record { time: boot + at_ns / 100, ..*record });
    };
    assert!(!reader.read(usize::MAX, visit).expect("a whole trace"));
    let findings = Findings {
        stacks: Stacks::Kernel,
        stacks_refused: None,
        pools: BTreeMap::new(),
        degraded: Vec::new(),
    };
    let queue = Queue::new(1 << 24);
    let now_ns = Arc::new(AtomicU64::new(start_ns));
    let played = Played { now_ns: Arc::clone(&now_ns), writes, queue, batch: Batch::default() };
    let start = Start {
        capture: capture(&header, findings),
        header,
        background: Background { has_tcpip: true, ..Background::default() },
        list: None,
        prober: None,
        room: 1 << 24,
    };
    let mut source = SessionSource::new(played, start);
    let mut events = Vec::new();
    for turn in 0..20 * 40 {
        now_ns.store(start_ns + turn * SECOND_NS / 20, Relaxed);
        source.drain(&mut events).expect("a session that goes on");
    }
    source.stop(&mut events).expect("a session that ends");
    events
}

fn replay(file: Vec<u8>) -> Vec<Event> {
    let mut trace = Trace::of("test.etl".to_owned(), Cursor::new(file)).expect("a trace");
    let mut events = Vec::new();
    trace.stop(&mut events).expect("a whole trace");
    events
}

/// The events about ports.
fn of_ports(events: Vec<Event>) -> Vec<Event> {
    let is_of_ports = |event: &Event| {
        matches!(
            event.kind,
            EventKind::Acquired(Acquired { .. })
                | EventKind::State { .. }
                | EventKind::Released { .. }
                | EventKind::TimeWaitBegan { .. }
                | EventKind::TimeWaitEnded { .. }
                | EventKind::Failed(_)
                | EventKind::Lost { .. }
        )
    };
    events.into_iter().filter(is_of_ports).collect()
}

fn script(release: Release, network_order: bool) -> Vec<u8> {
    let mut machine = Machine::new(release);
    machine.network_order = network_order;
    machine.process(100, "app.exe");
    for turn in 0..50_u8 {
        machine.at(0.3 + 0.5 * f64::from(turn));
        let (bound, connected, udp) = (machine.bound(100), machine.connected(100), machine.udp(100));
        if turn % 3 == 0 {
            machine.close(bound);
            machine.close_udp(udp);
        }
        if turn % 2 == 0 {
            machine.close_to_time_wait(connected);
        }
    }
    machine.exhausted(100);
    machine.end()
}

#[test]
fn a_session_emits_what_its_trace_file_emits() {
    for release in RELEASES {
        for network_order in [false, true] {
            let file = script(release, network_order);
            let (live, replayed) = (of_ports(trace_live(file.clone())), of_ports(replay(file)));
            assert!(live.len() > 200, "{release:?}: {}", live.len());
            assert_eq!(live, replayed, "{release:?}");
        }
    }
}
