//! A machine's records as a session delivers them: late, in lots, and with whatever Windows lists beside.

use portleak::event::{Acquired, Event, EventKind};
use portleak::source::windows::etl::{Header, Reader, Trace, UNIX_EPOCH};
use portleak::source::windows::inventory::Row;
use portleak::source::windows::live::capture::{Findings, capture};
use portleak::source::windows::live::live_source::{Losses, SessionSource, Settings, Start, System};
use portleak::source::windows::live::queue::{Batch, Queue};
use portleak::source::windows::model::{Background, Drivers};
use portleak::source::windows::record::Record;
use portleak::source::{Source, SourceError, Stacks};
use portleak_tests::etl::encode::{RELEASES, Release};
use portleak_tests::etl::machine::Machine;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::rc::Rc;

const SECOND_NS: u64 = 1_000_000_000;
/// How often buffers are delivered that are not full.
const FLUSH_NS: u64 = SECOND_NS;

/// A session that delivers the records of a trace each second.
struct Played {
    now_ns: Rc<Cell<u64>>,
    /// What is written, and when it comes in.
    writes: VecDeque<(u64, Batch)>,
    queue: Queue,
    batch: Batch,
}

impl System for Played {
    fn take(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError> {
        while let Some((_, batch)) = self.writes.pop_front_if(|(comes_ns, _)| *comes_ns <= self.now_ns.get())
        {
            batch.records().for_each(|record| self.queue.push(&record));
        }
        self.queue.take(&mut self.batch);
        self.batch.records().for_each(|record| visit(&record));
        Ok(())
    }

    async fn ready(&mut self) {}

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn losses(&mut self) -> Losses {
        Losses { etw: Some(0), queue: self.queue.dropped() }
    }

    fn flush(&mut self) {}

    fn sockets(&mut self) -> Result<Vec<Row>, SourceError> {
        Err(SourceError { what: "nobody lists".to_owned(), remedy: String::new() })
    }

    fn drivers(&mut self) -> Result<Drivers, SourceError> {
        Ok(Drivers::default())
    }

    fn ask_settings(&mut self) {}

    fn take_settings(&mut self) -> Option<Settings> {
        None
    }

    fn stop(&mut self) {
        self.now_ns.set(u64::MAX / 2);
    }
}

/// Follows the machine of `file`, looking at it every 50 ms.
fn follow(file: Vec<u8>) -> Vec<Event> {
    let mut reader = Reader::open(Cursor::new(file), |_, _, _| {}).expect("a trace");
    let clock = reader.header().clock();
    let since_epoch = (clock.unix_ns - i128::from(clock.monotonic_ns)) / 100;
    let boot = u64::try_from(since_epoch).expect("after 1970") + UNIX_EPOCH;
    let start_ns = reader.header().start_ns();
    let header = Header::of_session((10, 0, reader.header().build), 0, boot, boot + start_ns / 100);
    let mut writes: VecDeque<(u64, Batch)> = VecDeque::new();
    let visit = |_: &Header, at_ns: u64, record: &Record<'_>| {
        let comes_ns = start_ns + (at_ns - start_ns).next_multiple_of(FLUSH_NS);
        if writes.back().is_none_or(|(last_ns, _)| *last_ns != comes_ns) {
            writes.push_back((comes_ns, Batch::default()));
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
    let now_ns = Rc::new(Cell::new(start_ns));
    let played = Played { now_ns: Rc::clone(&now_ns), writes, queue, batch: Batch::default() };
    let start = Start {
        capture: capture(&header, findings),
        header,
        background: Background { has_tcpip: true, ..Background::default() },
        list: None,
        prober: None,
        room: 1 << 24,
    };
    let mut feed = SessionSource::new(played, start);
    let mut events = Vec::new();
    for turn in 0..20 * 40 {
        now_ns.set(start_ns + turn * SECOND_NS / 20);
        feed.drain(&mut events).expect("a session that goes on");
    }
    feed.stop(&mut events).expect("a session that ends");
    events
}

fn replay(file: Vec<u8>) -> Vec<Event> {
    let mut trace = Trace::of("test.etl".to_owned(), Cursor::new(file)).expect("a trace");
    let mut events = Vec::new();
    trace.stop(&mut events).expect("a whole trace");
    events
}

/// What concerns ports.
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
fn a_session_tells_what_its_trace_tells() {
    for release in RELEASES {
        for network_order in [false, true] {
            let file = script(release, network_order);
            let (told, replayed) = (of_ports(follow(file.clone())), of_ports(replay(file)));
            assert!(told.len() > 200, "{release:?}: {}", told.len());
            assert_eq!(told, replayed, "{release:?}");
        }
    }
}
