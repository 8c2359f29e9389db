//! The ledger against the kernel's own list of sockets, from time to time.
//!
//! Two questions: does every hold still belong to its owner, and are ledger and list the same? No
//! event shows that a socket was passed on, so the first is the only way to find out. The second
//! should find nothing: what it does find is corrected and counted, as the measure of exactness.
//!
//! A scan is no instant, and everything goes on meanwhile. So whatever could also be a matter of
//! timing (a hold that is not listed, a listed socket that is no hold, one that no process has) is
//! only a suspicion until a second scan, a second later, shows the same.

mod compare;
mod listener_ports;
pub mod scan;

use super::{Context, Start, Tracker};
use crate::event::{EventKind, Incomplete, NetNs, OwnerId};
use crate::source::SourceError;
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire::Record;
use crate::source::linux::memory;
use crate::source::worker::{Limits, Outcome, Worker};
use compare::Comparison;
use listener_ports::ListenerPorts;
use portleak_ebpf::{Header, HoldRecord, OwnerKey, kind};
use rustc_hash::FxHashSet;
use scan::{ScanRequest, ScanResult};
use std::collections::BTreeSet;
use std::sync::Arc;

const MILLISECOND_NS: u64 = 1_000_000;
/// How often to scan when nothing calls for it.
const EVERY_NS: u64 = 30_000 * MILLISECOND_NS;
/// How long to let the releases of an owner that ended come in.
const EXIT_NS: u64 = 150 * MILLISECOND_NS;
/// Before a second scan.
const PAUSE_NS: u64 = 1_000 * MILLISECOND_NS;
/// After it, so many times as long as both took: scans are never more than 1 % of the time.
const REST_FACTOR: u64 = 99;
const LIMITS: Limits = Limits { queue_max: 1, deadline_ns: 20_000 * MILLISECOND_NS };

/// What a second scan has to confirm, by cookie.
#[derive(Debug, Default)]
struct Suspects {
    /// Holds that are not listed.
    missing: FxHashSet<u64>,
    /// Listed sockets that are no holds.
    unknown: FxHashSet<u64>,
    /// Holds whose owner does not have the socket; others were not asked.
    strays: FxHashSet<u64>,
    /// Holds that no process has.
    unheld: FxHashSet<u64>,
}

impl Suspects {
    fn is_empty(&self) -> bool {
        let Self { missing, unknown, strays, unheld } = self;
        [missing, unknown, strays, unheld].into_iter().all(FxHashSet::is_empty)
    }
}

/// A scan that is under way.
#[derive(Debug)]
struct UnderWay {
    /// Holds released since it began; its list may still have them.
    released: FxHashSet<u64>,
    /// Whether sockets that end meanwhile leave a tombstone, so that entering one is safe.
    leaves_tombstones: bool,
}

/// Keeps ledger and kernel together.
#[derive(Debug)]
pub struct Reconcile {
    /// Namespaces with holds, and perhaps some that have none any more.
    netns: FxHashSet<NetNs>,
    /// Processes with holds, likewise.
    pids: BTreeSet<u32>,
    listeners: ListenerPorts,
    /// Owners that ended, and when.
    exited: Vec<(u64, OwnerKey)>,
    suspects: Suspects,
    worker: Worker<(), ScanResult>,
    under_way: Option<UnderWay>,
    /// An owner ended and left ports: the next scan asks everyone at once.
    heirs_wanted: bool,
    /// The next scan: at the latest, and not before.
    due_ns: u64,
    rests_until_ns: u64,
    /// How long the scan before took, if the next is the second to it.
    first_took_ns: Option<u64>,
    /// Whether /proc can say who holds a socket.
    sees_holders: bool,
    holders_are_costly: bool,
    missed: u64,
}

impl Tracker for Reconcile {
    fn on_record(&mut self, record: &Record, _: &mut Option<EventKind>, cx: &mut Context<'_>) {
        match record {
            Record::Hold(record) => self.on_hold(record),
            Record::Short(header) => self.on_header(header, cx.ledger),
            Record::Fork(record) if record.header.kind == kind::EXITED => {
                self.exited.push((record.header.at_ns, record.child));
            }
            _ => {}
        }
    }

    /// Scan soon.
    fn on_loss(&mut self, cx: &mut Context<'_>) {
        self.listeners.doubt();
        self.due_ns = self.due_ns.min(cx.now_ns);
    }

    /// Begins a scan or uses what one has found, if it is time.
    fn poll(&mut self, cx: &mut Context<'_>) {
        self.hasten_for_exited(cx);
        if let Some(outcome) = self.worker.poll(cx.now_ns) {
            self.consume(outcome, cx);
        } else if self.under_way.is_none() && cx.now_ns >= self.due_ns.max(self.rests_until_ns) {
            self.begin(cx);
        }
    }

    /// Who holds what at the end. Nothing else is compared, for releases are not seen any more.
    fn finish(&mut self, cx: &mut Context<'_>) {
        self.worker.cancel();
        self.under_way = None;
        self.suspects = Suspects::default();
        for _ in 0..2 {
            let holds = cx.ledger.holds().unwrap_or_default();
            if holds.is_empty() {
                return;
            }
            let netns = holds.iter().map(|(_, hold)| NetNs(hold.netns)).collect();
            let before = std::mem::take(&mut self.suspects);
            let rings = owners_of(&before.unheld, cx.ledger);
            self.submit(ScanRequest { netns, among: None, rings }, cx);
            let Some(Outcome::Done((), found)) = self.worker.finish(cx.patience_left()).pop() else {
                self.missed += 1;
                return;
            };
            let mut comparison = Comparison::new(self, &found, before);
            for (cookie, hold) in holds.iter().filter(|(_, hold)| hold.acquired_ns < found.began_ns) {
                comparison.check_owner(*cookie, hold, cx);
            }
            if self.suspects.is_empty() {
                return;
            }
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "comparisons with the kernel's list of sockets that were not completed in time".to_owned(),
            count: self.missed,
            remedy: "repeat the trace: sockets that moved may show a former owner".to_owned(),
        })
    }
}

impl Reconcile {
    /// Begins with what the snapshot found.
    #[must_use]
    pub fn new(start: &Start<'_>) -> Self {
        let mut reconcile = Self {
            netns: FxHashSet::default(),
            pids: BTreeSet::default(),
            listeners: ListenerPorts::default(),
            exited: Vec::new(),
            suspects: Suspects::default(),
            worker: Worker::new("reconcile", LIMITS),
            under_way: None,
            heirs_wanted: false,
            due_ns: start.now_ns + EVERY_NS,
            rests_until_ns: 0,
            first_took_ns: None,
            sees_holders: start.shows_all_processes,
            holders_are_costly: start.holders_are_costly,
            missed: 0,
        };
        for event in start.snapshot {
            if let EventKind::Acquired(acquired) = &event.kind {
                reconcile.netns.insert(acquired.pool.netns);
                if let OwnerId::Process(process) = &acquired.owner {
                    reconcile.pids.insert(process.pid);
                }
                reconcile.listeners.found(acquired);
            }
        }
        reconcile
    }

    fn on_hold(&mut self, record: &HoldRecord) {
        if record.header.kind == kind::ACQUIRED {
            self.netns.insert(NetNs(record.hold.netns));
            self.pids.insert(record.hold.owner.pid);
        }
        self.listeners.on_hold(record);
    }

    fn on_header(&mut self, header: &Header, ledger: &mut Ledger) {
        self.listeners.on_header(header);
        if header.kind == kind::ENDED_UNTRACKED {
            ledger.remove_tombstone(header.cookie);
        }
        if header.kind == kind::RELEASED {
            ledger.settle_move(header.cookie);
            if let Some(under_way) = &mut self.under_way {
                under_way.released.insert(header.cookie);
            }
        }
    }

    /// An owner that ended and still holds ports: somebody else may have them.
    fn hasten_for_exited(&mut self, cx: &Context<'_>) {
        let is_due = |at_ns: u64| cx.now_ns >= at_ns + EXIT_NS;
        if self.exited.first().is_none_or(|(at_ns, _)| !is_due(*at_ns)) {
            return;
        }
        let due: Vec<_> = self.exited.extract_if(.., |(at_ns, _)| is_due(*at_ns)).collect();
        if due.iter().any(|(_, owner)| cx.ledger.held_by(owner).is_some_and(|held| held > 0)) {
            self.due_ns = self.due_ns.min(cx.now_ns);
            self.heirs_wanted = true;
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        self.due_ns = cx.now_ns + EVERY_NS;
        if cx.ledger.is_empty() {
            self.netns.clear();
            self.pids.clear();
            return;
        }
        // Mostly every owner has its sockets, and nobody else's descriptors need be read.
        let everyone =
            std::mem::take(&mut self.heirs_wanted) || !self.suspects.is_empty() || !self.holders_are_costly;
        let among = (!everyone).then(|| self.pids.clone());
        let leaves_tombstones = !self.suspects.unknown.is_empty() && cx.ledger.set_snapshot(true).is_ok();
        let rings = owners_of(&self.suspects.unheld, cx.ledger);
        // Before the scan can begin: nothing that is released from now on is missed.
        self.under_way = Some(UnderWay { released: FxHashSet::default(), leaves_tombstones });
        self.submit(ScanRequest { netns: self.netns.clone(), among, rings }, cx);
    }

    fn submit(&mut self, request: ScanRequest, cx: &Context<'_>) {
        let queries = Arc::clone(cx.queries);
        if self.worker.submit((), move || queries.scan(&request)).is_err() {
            self.missed += 1;
            self.under_way = None;
        }
    }

    fn consume(&mut self, outcome: Outcome<(), ScanResult>, cx: &mut Context<'_>) {
        let Some(UnderWay { released, leaves_tombstones }) = self.under_way.take() else {
            return;
        };
        match outcome {
            Outcome::Done((), found) => {
                let before = std::mem::take(&mut self.suspects);
                let took_ns = found.took_ns;
                Comparison::new(self, &found, before).run(&released, leaves_tombstones, cx);
                self.rest(cx.now_ns, took_ns);
            }
            Outcome::Missed(()) => self.missed += 1,
        }
        if leaves_tombstones {
            // Failing leaves tombstones to be made, which costs a little and does no harm.
            let _: Result<(), SourceError> = cx.ledger.set_snapshot(false);
        }
        memory::give_back();
    }

    /// When to scan again: soon, if that would confirm something, but not twice in a row.
    fn rest(&mut self, now_ns: u64, took_ns: u64) {
        let suspicious = !self.suspects.is_empty();
        if suspicious {
            self.due_ns = now_ns;
        }
        let before_ns = self.first_took_ns.take();
        if suspicious && before_ns.is_none() {
            self.first_took_ns = Some(took_ns);
            self.rests_until_ns = now_ns + PAUSE_NS;
        } else {
            let both_ns = took_ns + before_ns.unwrap_or_default();
            self.rests_until_ns = now_ns + PAUSE_NS.max(both_ns * REST_FACTOR);
        }
    }
}

/// Whose holds these are: their sockets may be in rings.
fn owners_of(cookies: &FxHashSet<u64>, ledger: &Ledger) -> BTreeSet<u32> {
    let owner = |cookie: &u64| Some(ledger.owner_of(*cookie, &ledger.hold(*cookie)?).pid);
    cookies.iter().filter_map(owner).collect()
}
