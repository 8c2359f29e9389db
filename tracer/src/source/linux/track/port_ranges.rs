//! The pools' port ranges, which an administrator may change at any time.
//!
//! The range comes with every port that is acquired; the reserved ports do not, and where nobody
//! acquires a port nothing reports either. So both are read again from time to time, by a worker:
//! the namespace has to be found and entered. An open namespace stays alive, and its TIME_WAITs with
//! it: what is kept is only the path to each.

use super::{Context, Tracker};
use crate::event::{Acquired, EventKind, Incomplete, NetNs, PoolId, PortRange, Protocol};
use crate::source::linux::bpf::wire::Record;
use crate::source::linux::kernel::netns;
use crate::source::linux::system::{RangeAnswer, RangeQuery};
use crate::source::worker::{Limits, Outcome, Worker};
use portleak_ebpf::Hold;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How often they are read.
const EVERY_NS: u64 = 10_000_000_000;
const LIMITS: Limits = Limits { queue_max: 256, deadline_ns: 5_000_000_000 };

/// The ranges of every namespace that matters.
#[derive(Debug)]
pub struct PortRanges {
    known: FxHashMap<NetNs, Known>,
    /// Asks for some namespaces, or for all that are known.
    worker: Worker<Vec<NetNs>, Vec<RangeAnswer>>,
    read_ns: u64,
    missed: u64,
}

/// One namespace.
#[derive(Debug, Default)]
struct Known {
    /// What was read last; `None` where nothing has been yet.
    range: Option<PortRange>,
    /// A hold reported a range that differs from this one: that of before a change, or of after it.
    contradicted: bool,
    /// How it was entered the last time: as a rule through a process inside.
    path: Option<PathBuf>,
}

impl Tracker for PortRanges {
    fn on_record(&mut self, record: &Record, event: &mut Option<EventKind>, cx: &mut Context<'_>) {
        if let (Record::Hold(record), Some(EventKind::Acquired(acquired))) = (record, event) {
            self.on_confirmed(&record.hold, acquired, cx);
        }
    }

    fn on_confirmed(&mut self, hold: &Hold, acquired: &mut Acquired, cx: &mut Context<'_>) {
        let reserved = self.reserved(hold, cx);
        if let Some(range) = &mut acquired.range {
            range.reserved = reserved;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(outcome) = self.worker.poll(cx.now_ns) {
            self.learn(outcome, cx);
        }
        if cx.now_ns >= self.read_ns + EVERY_NS {
            self.read_all(cx);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.read_all(cx);
        for outcome in self.worker.finish(cx.patience()) {
            self.learn(outcome, cx);
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "port ranges of network namespaces that could not be read in time".to_owned(),
            count: self.missed,
            remedy: "repeat the trace; if it persists, see which process in the namespace hangs".to_owned(),
        })
    }
}

impl PortRanges {
    /// With what the snapshot found at `now_ns`.
    #[must_use]
    pub fn new(pools: &BTreeMap<PoolId, PortRange>, now_ns: u64) -> Self {
        let known = |(pool, range): (&PoolId, &PortRange)| {
            (pool.netns, Known { range: Some(*range), ..Known::default() })
        };
        Self {
            known: pools.iter().map(known).collect(),
            worker: Worker::new("port ranges", LIMITS),
            read_ns: now_ns,
            missed: 0,
        }
    }

    /// How many ports the namespace of a hold keeps out of its pool, as far as is known. One that
    /// has just come up is read soon; the owner inside is the path to it.
    fn reserved(&mut self, hold: &Hold, cx: &mut Context<'_>) -> u32 {
        let netns = NetNs(hold.netns);
        let contradicts = |range: PortRange| (range.low, range.high) != (hold.range_low, hold.range_high);
        let (reserved, is_stale) = match self.known.get_mut(&netns) {
            None => {
                self.known.insert(netns, Known::default());
                (0, true)
            }
            Some(known) => {
                // Changed, or another namespace by now: their numbers are used again.
                let is_stale = known.range.is_some_and(contradicts) && !known.contradicted;
                known.contradicted |= is_stale;
                (known.range.map_or(0, |range| range.reserved), is_stale)
            }
        };
        if is_stale {
            self.read(vec![RangeQuery { netns, path: Some(netns::of_process(hold.owner.pid)) }], cx);
        }
        reserved
    }

    fn read_all(&mut self, cx: &mut Context<'_>) {
        self.read_ns = cx.now_ns;
        let query = |(netns, known): (&NetNs, &Known)| RangeQuery { netns: *netns, path: known.path.clone() };
        let queries: Vec<_> = self.known.iter().map(query).collect();
        if !queries.is_empty() {
            self.read(queries, cx);
        }
    }

    fn read(&mut self, asked: Vec<RangeQuery>, cx: &mut Context<'_>) {
        let (about, queries) = (asked.iter().map(|query| query.netns).collect(), Arc::clone(cx.queries));
        if self.worker.submit(about, move || queries.port_ranges(asked)).is_err() {
            self.missed += 1;
        }
    }

    /// Emits what has changed. A namespace that has ended, or that only sockets keep alive, is
    /// forgotten: it is known again as soon as somebody acquires a port there.
    fn learn(&mut self, outcome: Outcome<Vec<NetNs>, Vec<RangeAnswer>>, cx: &mut Context<'_>) {
        let Outcome::Done(_, answers) = outcome else {
            self.missed += 1;
            return;
        };
        for RangeAnswer { netns, found } in answers {
            match (found, self.known.get_mut(&netns)) {
                (Some((path, range)), Some(known)) => {
                    known.path = Some(path);
                    known.update(netns, range, cx);
                }
                (None, _) => _ = self.known.remove(&netns),
                (Some(_), None) => {}
            }
        }
    }
}

impl Known {
    fn update(&mut self, netns: NetNs, range: PortRange, cx: &mut Context<'_>) {
        let same = self.range.replace(range) == Some(range);
        if !std::mem::take(&mut self.contradicted) && same {
            return;
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            cx.emit(EventKind::Pool { pool: PoolId { netns, protocol }, range });
        }
    }
}
