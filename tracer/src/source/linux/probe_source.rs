//! Records of the probes into events: what the live source does after its start, on whatever system
//! it is put.
//!
//! Each drain reads the ring buffer, passes every record through the trackers, and then lets each
//! tracker do what is due.

use super::bpf::ledger::Ledger;
use super::bpf::wire::{self, Record, WireError};
use super::system::{Queries, Records, System};
use super::track::descendants::Descendants;
use super::track::names::Names;
use super::track::resync::resync;
use super::track::{self, Context, Requests, Start, Tracker};
use crate::event::{Acquired, Event, EventKind, HoldId, Incomplete, OwnerId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The hook that passes the mark of `run`'s tree on to children.
const FORK: &str = "sched_process_fork";
/// Records read in one drain; the rest waits for the next.
const DRAIN_MAX: usize = 1 << 17;
/// How long all trackers together may wait for workers at the end.
const FINISH_MAX: Duration = Duration::from_millis(900);

/// The source once the probes are attached.
pub struct ProbeSource {
    records: Box<dyn Records>,
    trackers: Vec<Box<dyn Tracker>>,
    state: State,
    /// Emitted before the first drain.
    backlog: Vec<Event>,
}

/// What a source is made of.
pub struct Parts {
    /// The ring buffer.
    pub records: Box<dyn Records>,
    /// The probes' maps.
    pub ledger: Ledger,
    /// What never blocks.
    pub system: Box<dyn System>,
    /// What may block.
    pub queries: Arc<dyn Queries>,
    /// Whether the kernel's holds are charged to its modules.
    pub by_module: bool,
}

struct State {
    ledger: Ledger,
    system: Box<dyn System>,
    queries: Arc<dyn Queries>,
    names: Names,
    descendants: Descendants,
    requests: Requests,
    by_module: bool,
    finish_by: Option<Instant>,
}

impl State {
    fn context<'a>(&'a mut self, now_ns: u64, events: &'a mut Vec<Event>) -> Context<'a> {
        Context {
            now_ns,
            ledger: &mut self.ledger,
            system: &mut *self.system,
            queries: &self.queries,
            names: &mut self.names,
            descendants: &mut self.descendants,
            requests: &mut self.requests,
            by_module: self.by_module,
            events,
            finish_by: self.finish_by,
        }
    }
}

impl ProbeSource {
    /// Follows probes that are attached; `start` is what is known then.
    #[must_use]
    pub fn new(parts: Parts, start: &Start<'_>) -> Self {
        let Parts { records, ledger, system, queries, by_module } = parts;
        let state = State {
            ledger,
            system,
            queries,
            names: Names::default(),
            descendants: Descendants::default(),
            requests: Requests::default(),
            by_module,
            finish_by: None,
        };
        let mut source = Self { records, trackers: track::all(start), state, backlog: Vec::new() };
        source.name_owners(start);
        source.backlog.extend_from_slice(start.snapshot);
        let mut backlog = std::mem::take(&mut source.backlog);
        source.poll(&mut backlog);
        source.backlog = backlog;
        source
    }

    /// Names who held something before tracing began.
    fn name_owners(&mut self, start: &Start<'_>) {
        let mut cx = self.state.context(start.now_ns, &mut self.backlog);
        for event in start.snapshot {
            if let EventKind::Acquired(Acquired { owner: OwnerId::Process(id), .. }) = &event.kind {
                cx.introduce_once(*id);
            }
        }
    }

    /// Now, on the source's clock.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.state.system.now_ns()
    }

    /// Marks the next children of the calling thread, or no more. False if the kernel cannot.
    pub fn mark_children(&mut self, on: bool) -> bool {
        self.state.system.has_hook(FORK) && self.state.ledger.mark_children(on)
    }

    /// Events were dropped after they had been emitted.
    pub fn resync(&mut self) {
        self.state.requests.dropped += 1;
    }

    /// The engine wants to know the idle times of these holds.
    pub fn query_idle(&mut self, holds: &[HoldId]) {
        self.state.requests.idle_queries.extend_from_slice(holds);
    }

    /// What could not be found out so far.
    #[must_use]
    pub fn incomplete(&self) -> Vec<Incomplete> {
        let trackers = self.trackers.iter().filter_map(|tracker| tracker.incomplete());
        self.state.names.incomplete().into_iter().chain(trackers).collect()
    }

    /// Appends everything that has happened up to now.
    pub fn drain(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.backlog);
        self.read_records(events);
        self.poll(events);
    }

    /// Detaches the probes and appends what is left, the kernel's totals last.
    pub fn stop(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.backlog);
        // Detached, the probes change nothing any more: what is read from here on is the end.
        self.state.system.detach();
        while self.read_records(events) {}
        self.state.finish_by = Some(Instant::now() + FINISH_MAX);
        let now_ns = self.now_ns();
        for at in 0..self.trackers.len() {
            let mut cx = self.state.context(now_ns, events);
            self.trackers[at].finish(&mut cx);
            self.handle_requests(now_ns, events);
        }
        let patience = self.state.context(now_ns, events).patience();
        self.state.names.finish(patience, now_ns, events);
    }

    /// Lets every tracker do what is due.
    fn poll(&mut self, events: &mut Vec<Event>) {
        let now_ns = self.now_ns();
        self.state.names.poll(now_ns, events);
        for at in 0..self.trackers.len() {
            let mut cx = self.state.context(now_ns, events);
            self.trackers[at].poll(&mut cx);
            self.handle_requests(now_ns, events);
        }
    }

    /// Does what a tracker wants done.
    fn handle_requests(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        for record in std::mem::take(&mut self.state.requests.records) {
            self.translate(&Ok(Record::Hold(record)), now_ns, events);
        }
        if std::mem::take(&mut self.state.requests.report_loss) {
            let mut cx = self.state.context(now_ns, events);
            self.trackers.iter_mut().for_each(|tracker| tracker.on_loss(&mut cx));
        }
        if std::mem::take(&mut self.state.requests.resync) {
            let mut cx = self.state.context(now_ns, events);
            let done = resync(&mut self.trackers, &mut cx);
            self.state.requests.resync = !done; // At the next poll.
        }
    }

    /// Reads what is in the ring buffer; says whether there was anything.
    fn read_records(&mut self, events: &mut Vec<Event>) -> bool {
        let now_ns = self.now_ns();
        for read in 0..DRAIN_MAX {
            let Some(record) = self.records.next() else {
                return read > 0;
            };
            self.translate(&record, now_ns, events);
        }
        true
    }

    fn translate(&mut self, record: &Result<Record, WireError>, now_ns: u64, events: &mut Vec<Event>) {
        let meaning =
            record.as_ref().map_err(|error| *error).and_then(|record| Ok((record, wire::events(record)?)));
        let (record, (learnt, mut event)) = match meaning {
            Ok(meaning) => meaning,
            Err(error) => {
                log::debug!("a record of the probes: {error}");
                self.state.requests.undecoded += 1;
                return;
            }
        };
        let at_ns = record.at_ns();
        self.state.names.on_record(record, &mut event, &*self.state.system);
        let mut cx = self.state.context(now_ns, events);
        if let Some(descendant) = wire::descendant(record) {
            cx.announce(descendant, at_ns);
        }
        for tracker in &mut self.trackers {
            tracker.on_record(record, &mut event, &mut cx);
        }
        events.extend(learnt.into_iter().chain(event).map(|kind| Event { at_ns, kind }));
    }
}
