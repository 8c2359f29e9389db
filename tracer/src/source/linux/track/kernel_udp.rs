//! UDP ports of the kernel's own sockets (tunnels and the like).
//!
//! Their acquisition is seen, their release only by a function probe: no descriptor is closed, and
//! no tracepoint shows it. There are few of them, so a worker lists them from time to time.

use super::{Context, Tracker};
use crate::event::{EventKind, HoldId, Incomplete, NetNs, Protocol};
use crate::source::linux::bpf::wire::Record;
use crate::source::linux::system::PortList;
use crate::source::worker::{Limits, Outcome, Worker};
use portleak_ebpf::{HoldRecord, kind, protocol};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// How often they are listed.
const EVERY_NS: u64 = 5_000_000_000;
const LIMITS: Limits = Limits { queue_max: 256, deadline_ns: 5_000_000_000 };

/// Those that are held, by namespace.
#[derive(Debug)]
pub struct KernelUdp {
    /// Whether they have to be listed, for want of a function probe.
    wanted: bool,
    held: FxHashMap<NetNs, FxHashSet<u64>>,
    /// About the sockets of a namespace that were held when their list was asked for.
    worker: Worker<(NetNs, FxHashSet<u64>), PortList>,
    listed_ns: u64,
    missed: u64,
}

impl Tracker for KernelUdp {
    fn on_record(&mut self, record: &Record, _: &mut Option<EventKind>, _: &mut Context<'_>) {
        if let Record::Hold(record) = record
            && self.wanted
            && is_acquired_by_kernel(record)
        {
            self.held.entry(NetNs(record.hold.netns)).or_default().insert(record.header.cookie);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(outcome) = self.worker.poll(cx.now_ns) {
            self.release_missing(outcome, cx);
        }
        if !self.held.is_empty() && cx.now_ns >= self.listed_ns + EVERY_NS {
            self.list(cx);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        for outcome in self.worker.finish(cx.patience()) {
            self.release_missing(outcome, cx);
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "lists of the kernel's UDP sockets that were late".to_owned(),
            count: self.missed,
            remedy: "repeat the trace; their releases may be missing in this one".to_owned(),
        })
    }
}

fn is_acquired_by_kernel(record: &HoldRecord) -> bool {
    record.header.kind == kind::ACQUIRED
        && record.hold.protocol == protocol::UDP
        && record.hold.owner.system_netns != 0
}

impl KernelUdp {
    /// To be listed, or not.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        let worker = Worker::new("kernel UDP", LIMITS);
        Self { wanted, held: FxHashMap::default(), worker, listed_ns: 0, missed: 0 }
    }

    fn list(&mut self, cx: &mut Context<'_>) {
        self.listed_ns = cx.now_ns;
        for (&netns, cookies) in &self.held {
            let queries = Arc::clone(cx.queries);
            let job = move || queries.ports(netns, &[], Protocol::Udp);
            self.missed += u64::from(self.worker.submit((netns, cookies.clone()), job).is_err());
        }
    }

    /// Releases those that are not listed any more.
    fn release_missing(&mut self, outcome: Outcome<(NetNs, FxHashSet<u64>), PortList>, cx: &mut Context<'_>) {
        let ((netns, asked), live) = match outcome {
            Outcome::Done(about, PortList::Listed(live)) => (about, live),
            // With a namespace its sockets have ended.
            Outcome::Done(about, PortList::Gone) => (about, FxHashMap::default()),
            Outcome::Done(_, PortList::Unreadable) => return,
            Outcome::Missed(_) => {
                self.missed += 1;
                return;
            }
        };
        let gone: Vec<u64> = asked.into_iter().filter(|cookie| !live.contains_key(cookie)).collect();
        for cookie in &gone {
            if let Some(hold) = cx.ledger.hold(*cookie)
                && cx.ledger.release(*cookie, &hold)
            {
                cx.emit(EventKind::Released { hold: HoldId(*cookie) });
            }
        }
        if let Some(held) = self.held.get_mut(&netns) {
            gone.iter().for_each(|cookie| _ = held.remove(cookie));
            if held.is_empty() {
                self.held.remove(&netns);
            }
        }
    }
}
