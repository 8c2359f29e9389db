//! Trackers: each follows one concern that the probes' records alone do not decide.
//!
//! A record passes all of them, in the order of [`all`], before the event that it means is emitted;
//! each may amend or withhold that event, or emit others before it. What may block they have a
//! worker ask, and use the answer in a later [`Tracker::poll`].

pub mod call_sites;
pub mod descendants;
pub mod exited_owners;
pub mod failed_binds;
pub mod idle_times;
pub mod kernel_udp;
pub mod losses;
pub mod names;
pub mod pending_ports;
pub mod port_ranges;
pub mod reconcile;
pub mod resync;
pub mod udp_send_hook;

use crate::event::{Acquired, Event, EventKind, HoldId, Incomplete, PoolId, PortRange, ProcessId};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire::{self, Record};
use crate::source::linux::system::{Queries, System};
use descendants::Descendants;
use names::Names;
use portleak_ebpf::{Hold, HoldRecord, OwnerKey, OwnerTotals, owner_flag};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One concern.
pub trait Tracker: Send {
    /// A record came, and means `event` so far: amend it, or withhold it with `None`.
    fn on_record(&mut self, record: &Record, event: &mut Option<EventKind>, cx: &mut Context<'_>) {
        let _ = (record, event, cx);
    }

    /// A hold as the ledger has it is about to be confirmed, after a loss: amend it.
    fn on_confirmed(&mut self, hold: &Hold, acquired: &mut Acquired, cx: &mut Context<'_>) {
        let _ = (hold, acquired, cx);
    }

    /// The owners that the ledger has, after a loss.
    fn on_owners(&mut self, owners: &[(OwnerKey, OwnerTotals)], cx: &mut Context<'_>) {
        let _ = (owners, cx);
    }

    /// Records were lost.
    fn on_loss(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Does what is due, and uses what workers have found. Comes with every drain.
    fn poll(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The probes are detached, and no record comes any more.
    fn finish(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// What it could not find out, because whoever was asked did not answer in time.
    fn incomplete(&self) -> Option<Incomplete> {
        None
    }
}

/// What trackers work with.
pub struct Context<'a> {
    /// Now, on the source's clock.
    pub now_ns: u64,
    /// The probes' maps.
    pub ledger: &'a mut Ledger,
    /// What never blocks.
    pub system: &'a mut dyn System,
    /// What may block: for workers.
    pub queries: &'a Arc<dyn Queries>,
    /// Which owners have been named; shared, for several trackers come across new owners.
    pub names: &'a mut Names,
    /// Which processes of `run`'s tree have been announced; shared likewise.
    pub descendants: &'a mut Descendants,
    /// What trackers want done by the source.
    pub requests: &'a mut Requests,
    /// Whether the kernel's holds are charged to its modules, which its own totals do not know.
    pub by_module: bool,
    /// Where events go.
    pub events: &'a mut Vec<Event>,
    /// When the last answers have to be there, once the probes are detached.
    pub finish_by: Option<Instant>,
}

/// What trackers want done by the source.
#[derive(Debug, Default)]
pub struct Requests {
    /// Records that the probes could not write.
    pub records: Vec<HoldRecord>,
    /// Records that could not be decoded.
    pub undecoded: u64,
    /// How often events were dropped after they had been emitted.
    pub dropped: u64,
    /// Records were lost: let every tracker know.
    pub report_loss: bool,
    /// The ledger is to be read whole: the engine has to mend its own table.
    pub resync: bool,
    /// The holds whose idle time the engine wants to know.
    pub idle_queries: Vec<HoldId>,
}

/// How long one tracker waits at the end for a worker; nobody else has its answer.
const FINISH_EACH: Duration = Duration::from_millis(150);

impl Context<'_> {
    /// Emits an event of now.
    pub fn emit(&mut self, kind: EventKind) {
        self.events.push(Event { at_ns: self.now_ns, kind });
    }

    /// Names a process, if nobody has yet. False if it is not there any more.
    pub fn introduce(&mut self, owner: &OwnerKey) -> bool {
        self.names.introduce(owner, self.now_ns, self.system, self.queries, self.events)
    }

    /// The same for a process, unless it was named before.
    pub fn introduce_once(&mut self, process: ProcessId) {
        let owner = wire::owner_key(process);
        if !self.names.has(&owner) {
            self.introduce(&owner);
        }
    }

    /// Names the owner of these totals, if nobody has yet. True if it has ended.
    pub fn introduce_or_recall(&mut self, owner: &OwnerKey, totals: &OwnerTotals) -> bool {
        if owner.pid == 0 || self.names.has(owner) {
            return false;
        }
        let has_ended = totals.flags & owner_flag::ENDED != 0;
        if !has_ended && self.introduce(owner) {
            return false;
        }
        let Some(name) = self.names.recall(owner, totals) else {
            return false;
        };
        self.emit(name);
        has_ended
    }

    /// Emits that a process belongs to `run`'s tree, if that is news.
    pub fn announce(&mut self, descendant: OwnerKey, at_ns: u64) {
        self.events.extend(self.descendants.announce(descendant).map(|kind| Event { at_ns, kind }));
    }

    /// How long a tracker may wait for a worker at the end.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience_left().min(FINISH_EACH)
    }

    /// How long all of them may still wait.
    #[must_use]
    pub fn patience_left(&self) -> Duration {
        self.finish_by.map_or(Duration::ZERO, |by| by.saturating_duration_since(Instant::now()))
    }
}

/// What is known when tracing begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// When that is.
    pub now_ns: u64,
    /// What the snapshot found.
    pub snapshot: &'a [Event],
    /// The port ranges of the namespaces.
    pub pools: &'a BTreeMap<PoolId, PortRange>,
    /// Whether function probes show which binds find no port.
    pub shows_binds: bool,
    /// Whether a function probe shows the release of the kernel's own UDP ports.
    pub shows_kernel_udp: bool,
    /// Whether /proc shows every process under the pid that the kernel knows it by.
    pub shows_all_processes: bool,
    /// Whether it is costly to ask every process for its descriptors.
    pub holders_are_costly: bool,
}

/// All trackers.
///
/// The order matters where one amends what another reads: ranges and call sites first, then those
/// that withhold an event or wait for a port, then those that only watch. Losses come last, so that
/// what the others found in this poll is part of the resync that follows.
#[must_use]
pub fn all(start: &Start<'_>) -> Vec<Box<dyn Tracker>> {
    vec![
        Box::new(port_ranges::PortRanges::new(start.pools, start.now_ns)),
        Box::new(call_sites::CallSites::default()),
        Box::new(failed_binds::FailedBinds::new(start.shows_binds)),
        Box::new(pending_ports::PendingPorts::default()),
        Box::new(kernel_udp::KernelUdp::new(!start.shows_kernel_udp)),
        Box::new(udp_send_hook::UdpSendHook::default()),
        Box::new(reconcile::Reconcile::new(start)),
        Box::new(idle_times::IdleTimes::default()),
        Box::new(exited_owners::ExitedOwners::default()),
        Box::new(losses::LossCounts::default()),
    ]
}
