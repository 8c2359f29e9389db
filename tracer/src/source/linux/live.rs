//! The live source: attach, snapshot, then drain the ring buffer for as long as it takes.

use crate::event::{Capture, Event, EventKind, HoldId, LossStage, OwnerId, Protocol, Totals};
use crate::source::linux::bpf::function_probes::UDP_UNHASH;
use crate::source::linux::bpf::layout::KernelLayout;
use crate::source::linux::bpf::ledger::{Ledger, Losses};
use crate::source::linux::bpf::probes::Probes;
use crate::source::linux::bpf::wire::{self, Record};
use crate::source::linux::kernel::platform::Platform;
use crate::source::linux::kernel::{clock, platform};
use crate::source::linux::memory;
use crate::source::linux::procfs::processes;
use crate::source::linux::snapshot::{self, Snapshot};
use crate::source::linux::track::call_sites::CallSites;
use crate::source::linux::track::descendants::Descendants;
use crate::source::linux::track::exited_owners::ExitedOwners;
use crate::source::linux::track::failed_binds::FailedBinds;
use crate::source::linux::track::idle_times::IdleTimes;
use crate::source::linux::track::kernel_udp::KernelUdp;
use crate::source::linux::track::pending_ports::PendingPorts;
use crate::source::linux::track::port_ranges::PortRanges;
use crate::source::linux::track::reconcile::Reconcile;
use crate::source::linux::track::udp_send_hook::UdpSendHook;
use crate::source::{CaptureOptions, Source, SourceError, Stacks};
use aya::Btf;
use aya::maps::{MapData, RingBuf};
use portleak_ebpf::{Header, Hold, HoldRecord, OwnerKey, OwnerTotals, ProcessRecord, flag, kind, owner_flag};
use rustc_hash::FxHashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long at most records lie in the ring buffer. The probes wake us before that only when it
/// fills, or when a new owner wants its name looked up.
const LATENCY: Duration = Duration::from_millis(50);
/// Records taken in one go; the rest waits for the next.
const DRAIN_MAX: usize = 1 << 17;
/// How often at most losses are told: in a storm each read of the ring may find some.
const LOSSES_EVERY_NS: u64 = 1_000_000_000;
/// How often at most the ledger is read anew after a loss.
const RESYNC_EVERY_NS: u64 = 1_000_000_000;
/// `/proc/PID/stat` counts in USER_HZ.
pub(crate) const TICKS_PER_S: u64 = 100;

/// Linux, live.
pub struct Live {
    capture: Capture,
    /// `None` once stopped: dropping them detaches them.
    probes: Option<Probes>,
    ledger: Ledger,
    ring: RingBuf<MapData>,
    wake: AsyncFd<OwnedFd>,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// What the snapshot found, until the first drain.
    backlog: Vec<Event>,
    binds: FailedBinds,
    crowded: UdpSendHook,
    unconfirmed: PendingPorts,
    systems: KernelUdp,
    settings: PortRanges,
    sites: CallSites,
    /// Whether the kernel's holds are charged to its modules, which its own totals do not know.
    modules: bool,
    losses: Losses,
    /// Probes skipped by the kernel.
    skipped: u64,
    losses_told_ns: u64,
    undecoded: u64,
    resync_due: bool,
    resynced_ns: u64,
    retired: ExitedOwners,
    descendants: Descendants,
    /// Owners whose name was told.
    named: FxHashSet<OwnerKey>,
    reconcile: Reconcile,
    idle: IdleTimes,
}

impl Live {
    /// Attaches the probes, then looks at what is held already.
    ///
    /// # Errors
    /// When this machine cannot be traced: the first obstacle and its remedy.
    pub fn open(options: &CaptureOptions) -> Result<Self, SourceError> {
        let platform = platform::check()?;
        let mut probes = probes(&platform, options)?;
        let mut ledger = Ledger::take(&mut probes.ebpf)?;
        ledger.set_binds_seen(probes.shows_binds())?;
        let ring = ring(&mut probes)?;
        let wake = wake(&ring)?;
        let log = aya_log::EbpfLogger::init(&mut probes.ebpf).ok();
        let descriptors = probes.descriptors();
        ledger.set_snapshot(true)?;
        let Snapshot { events, pools, degraded } = snapshot::take(&mut ledger, &descriptors);
        ledger.set_snapshot(false)?;
        let mut crowded = UdpSendHook::default();
        crowded.told(clock::boot_ns(), &mut ledger, &mut probes);
        let mut capture = Capture {
            platform: "linux".to_owned(),
            kernel: platform.kernel,
            hooks: probes.hooks.clone(),
            degraded: platform.degraded,
            clock: clock::clock(),
            ticks_per_s: TICKS_PER_S,
            pools,
        };
        capture.degraded.extend(probes.degraded());
        capture.degraded.extend(degraded);
        memory::give_back();
        let settings = PortRanges::new(&capture.pools, clock::boot_ns());
        let reconcile = Reconcile::new(clock::boot_ns(), &events, descriptors);
        Ok(Self {
            capture,
            ledger,
            ring,
            wake,
            log,
            backlog: events,
            binds: FailedBinds::new(probes.shows_binds()),
            crowded,
            unconfirmed: PendingPorts::default(),
            systems: KernelUdp::new(!probes.has(UDP_UNHASH)),
            probes: Some(probes),
            settings,
            sites: CallSites::default(),
            modules: options.stacks != Stacks::None,
            losses: Losses::default(),
            skipped: 0,
            losses_told_ns: 0,
            undecoded: 0,
            resync_due: false,
            resynced_ns: 0,
            named: FxHashSet::default(),
            retired: ExitedOwners::default(),
            descendants: Descendants::default(),
            reconcile,
            idle: IdleTimes::default(),
        })
    }

    /// Takes what is in the ring buffer.
    fn take_records(&mut self, events: &mut Vec<Event>) {
        for _ in 0..DRAIN_MAX {
            let Some(bytes) = self.ring.next() else {
                return;
            };
            let record = wire::decode(&bytes);
            drop(bytes);
            let translated = record.and_then(|record| self.translate(&record, events));
            if let Err(error) = translated {
                log::debug!("a record of the probes: {error}");
                self.undecoded += 1;
            }
        }
    }

    fn translate(&mut self, record: &Record, events: &mut Vec<Event>) -> Result<(), wire::WireError> {
        if let Some(descendant) = wire::descendant(record) {
            self.announce(descendant, record.at_ns(), events);
        }
        let (at_ns, kind) = match record {
            Record::Short(header) => return self.short(header, events),
            Record::Hold(record) => {
                let at_ns = record.header.at_ns;
                events.extend(self.hold(record)?.map(|kind| Event { at_ns, kind }));
                return Ok(());
            }
            Record::Process(record) => {
                self.named.insert(record.owner);
                (record.header.at_ns, named(record))
            }
            Record::Fork(record) => {
                if record.header.kind == kind::EXITED {
                    self.retired.ended(record.child);
                    self.reconcile.exited(record.header.at_ns, record.child);
                }
                (record.header.at_ns, wire::fork_event(record))
            }
            Record::Site(record) => {
                let at_ns = record.header.at_ns;
                events.extend(self.sites.learn(record).map(|kind| Event { at_ns, kind }));
                return Ok(());
            }
        };
        events.push(Event { at_ns, kind });
        Ok(())
    }

    /// Emits that a process belongs to `run`'s tree, if that is news.
    fn announce(&mut self, key: OwnerKey, at_ns: u64, events: &mut Vec<Event>) {
        events.extend(self.descendants.announce(key).map(|kind| Event { at_ns, kind }));
    }

    /// What a record about a hold means: nothing if it is of a bind that failed for another reason
    /// than want of ports.
    fn hold(&mut self, record: &HoldRecord) -> Result<Option<EventKind>, wire::WireError> {
        let mut event = wire::hold_event(record, self.reserved(&record.hold))?;
        self.systems.notice(record);
        self.reconcile.notice(record);
        match &mut event {
            EventKind::Acquired(acquired) => {
                self.binds.succeeded(acquired, record.header.at_ns);
                self.sites.charge(&mut acquired.owner, record.hold.site);
                if acquired.port.is_none() {
                    self.unconfirmed.announce(record);
                }
            }
            EventKind::Failed(failed) => {
                if !self.binds.wanted_port(failed, record.header.at_ns) {
                    return Ok(None);
                }
                self.sites.charge(&mut failed.owner, record.hold.site);
                self.unconfirmed.settle(record.header.cookie);
            }
            _ => {}
        }
        Ok(Some(event))
    }

    /// Tells of binds that failed and whose sockets show nothing more.
    fn tell_unanswered(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        for record in self.binds.look(now_ns, &mut self.ledger) {
            self.introduce(&record.hold.owner, now_ns, events);
            let told = self.translate(&Record::Hold(record), events);
            self.undecoded += u64::from(told.is_err());
        }
    }

    fn short(&mut self, header: &Header, events: &mut Vec<Event>) -> Result<(), wire::WireError> {
        if header.port != 0 || header.kind == kind::RELEASED {
            self.unconfirmed.settle(header.cookie);
        }
        self.reconcile.pass(header, &mut self.ledger);
        if header.kind == kind::ENDED_UNTRACKED {
            self.ledger.remove_tombstone(header.cookie);
        }
        let at_ns = header.at_ns;
        if let (kind::POOL_LOW, Some(probes)) = (header.kind, &mut self.probes) {
            self.crowded.told(at_ns, &mut self.ledger, probes);
        }
        events.extend(wire::short_events(header)?.map(|kind| Event { at_ns, kind }));
        Ok(())
    }

    fn reserved(&mut self, hold: &Hold) -> u32 {
        self.settings.reserved(hold)
    }

    /// Tells what was lost since the last time.
    fn tell_losses(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.losses_told_ns = now_ns;
        let now = self.ledger.losses();
        let skipped = self.probes.as_ref().map_or(self.skipped, Probes::skipped);
        let kernel = (now.records - self.losses.records) + (skipped - self.skipped);
        // A hold that was not entered is a release that will neither be told nor counted.
        let table = (now.holds - self.losses.holds)
            + (now.owners - self.losses.owners)
            + (now.descendants - self.losses.descendants);
        self.skipped = skipped;
        let decode = std::mem::take(&mut self.undecoded);
        let stages = [(kernel, LossStage::Kernel), (decode, LossStage::Decode), (table, LossStage::Table)];
        for (count, stage) in stages {
            if count > 0 {
                events.push(Event { at_ns: now_ns, kind: EventKind::Lost { count, stage } });
                self.resync_due = true;
                self.reconcile.lost(now_ns);
            }
        }
        self.losses = now;
    }

    /// After a loss: lists what the ledger holds, so that the engine can mend its own table.
    fn resync(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.resync_due = false;
        self.resynced_ns = now_ns;
        let (Some(holds), Some(owners)) = (self.ledger.holds(), self.ledger.owners()) else {
            self.resync_due = true;
            return;
        };
        events.push(Event { at_ns: now_ns, kind: EventKind::ResyncBegan });
        for (cookie, hold) in holds {
            if hold.flags & flag::DESCENDANT != 0 {
                self.announce(hold.owner, now_ns, events);
            }
            if let Ok(mut acquired) = wire::acquired(HoldId(cookie), &hold, self.reserved(&hold)) {
                self.sites.charge(&mut acquired.owner, hold.site);
                events.push(Event { at_ns: hold.acquired_ns, kind: EventKind::Confirmed(acquired) });
            }
            if let Some(owner) = self.ledger.moved_to(cookie) {
                let kind = EventKind::Moved { hold: HoldId(cookie), owner: wire::owner(&owner) };
                events.push(Event { at_ns: now_ns, kind });
            }
        }
        events.push(Event { at_ns: now_ns, kind: EventKind::ResyncEnded });
        self.tell_totals(&owners, now_ns, events);
        self.mend_owners(&owners, now_ns, events);
    }

    /// After a loss: names those whose name was lost, and emits the end of those whose end was.
    fn mend_owners(&mut self, owners: &[(OwnerKey, OwnerTotals)], now_ns: u64, events: &mut Vec<Event>) {
        for (key, totals) in owners.iter().filter(|(key, _)| key.pid != 0) {
            if totals.flags & owner_flag::ENDED == 0 {
                if !self.named.contains(key) {
                    self.introduce(key, now_ns, events);
                }
            } else if self.retired.ended(*key) {
                events.push(Event { at_ns: now_ns, kind: EventKind::Exited { id: wire::process(key) } });
            }
        }
    }

    /// Names a process, if nobody has yet. False if it is not there any more.
    fn introduce(&mut self, key: &OwnerKey, now_ns: u64, events: &mut Vec<Event>) -> bool {
        match processes::facts(key.pid) {
            Some((id, facts)) if id == wire::process(key) => {
                if self.named.insert(*key) {
                    events.push(Event { at_ns: now_ns, kind: EventKind::Process { id, facts } });
                }
                true
            }
            _ => false,
        }
    }

    fn tell_totals(&mut self, owners: &[(OwnerKey, OwnerTotals)], now_ns: u64, events: &mut Vec<Event>) {
        for (key, totals) in owners {
            if totals.flags & owner_flag::DESCENDANT != 0 {
                self.announce(*key, now_ns, events);
            }
            let owner = wire::owner(key);
            if self.modules && matches!(owner, OwnerId::System { .. }) {
                continue;
            }
            let tcp = Totals { acquired: totals.tcp_acquired, released: totals.tcp_released };
            let udp = Totals { acquired: totals.udp_acquired, released: totals.udp_released };
            for (protocol, totals) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
                let kind = EventKind::Totals { owner: owner.clone(), protocol, totals };
                events.push(Event { at_ns: now_ns, kind });
            }
        }
    }

    fn free_retired(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        let freed = self.retired.free(now_ns, &mut self.ledger);
        // Their totals are gone now. A loss that was counted just now may have been of their records.
        if !freed.is_empty() && self.ledger.losses() != Losses::default() {
            self.tell_totals(&freed, now_ns, events);
        }
        for (owner, _) in &freed {
            self.named.remove(owner);
            self.descendants.forget(owner);
        }
    }
}

impl Source for Live {
    fn capture(&self) -> &Capture {
        &self.capture
    }

    fn now_ns(&self) -> u64 {
        clock::boot_ns()
    }

    async fn ready(&mut self) {
        let woken = self.wake.readable();
        if let Ok(Ok(mut guard)) = tokio::time::timeout(LATENCY, woken).await {
            guard.clear_ready();
        }
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        events.append(&mut self.backlog);
        self.take_records(events);
        let now_ns = clock::boot_ns();
        if now_ns >= self.losses_told_ns + LOSSES_EVERY_NS {
            self.tell_losses(now_ns, events);
        }
        self.tell_unanswered(now_ns, events);
        self.unconfirmed.look(now_ns, &mut self.ledger, events);
        self.systems.look(now_ns, &mut self.ledger, events);
        self.settings.look(now_ns, events);
        if let Some(probes) = &mut self.probes {
            self.crowded.look(now_ns, &mut self.ledger, probes);
        }
        self.reconcile.turn(now_ns, &mut self.ledger, events);
        self.idle.turn(now_ns, &self.ledger, events);
        if self.resync_due && now_ns >= self.resynced_ns + RESYNC_EVERY_NS {
            self.resync(now_ns, events);
        }
        self.free_retired(now_ns, events);
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    fn mark_children(&mut self, on: bool) -> bool {
        self.probes.as_ref().is_some_and(|probes| probes.has("sched_process_fork"))
            && self.ledger.mark_children(on)
    }

    fn ask(&mut self, holds: &[HoldId]) {
        self.idle.ask(holds);
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        self.tell_losses(clock::boot_ns(), events);
        // Detached, the probes change nothing any more: what is read from here on is the end.
        self.probes = None;
        events.append(&mut self.backlog);
        let mut before = usize::MAX;
        while before != events.len() {
            before = events.len();
            self.take_records(events);
        }
        let now_ns = clock::boot_ns();
        self.tell_losses(now_ns, events);
        self.tell_unanswered(now_ns, events);
        self.unconfirmed.look(now_ns, &mut self.ledger, events);
        self.systems.look(now_ns, &mut self.ledger, events);
        self.settings.read(now_ns, events);
        self.reconcile.finish(&mut self.ledger, events);
        if self.losses != Losses::default() {
            self.resync(now_ns, events);
        }
        Ok(())
    }
}

/// Loads and attaches the probes. The kernel's type information takes a tenth of a second to
/// parse, for the layout and for the loader: side by side.
fn probes(platform: &Platform, options: &CaptureOptions) -> Result<Probes, SourceError> {
    let (layout, btf) = std::thread::scope(|scope| {
        let btf = scope.spawn(Btf::from_sys_fs);
        (KernelLayout::read(), btf.join())
    });
    let btf = btf.map_err(|_| broken("the kernel's type information could not be parsed"))?;
    let btf =
        btf.map_err(|error| broken(&format!("the kernel's type information is not understood: {error}")))?;
    Probes::attach(&layout?, &btf, &platform.cgroup, options)
}

fn ring(probes: &mut Probes) -> Result<RingBuf<MapData>, SourceError> {
    let map = probes.ebpf.take_map("EVENTS").ok_or_else(|| broken("the probes have no ring buffer"))?;
    RingBuf::try_from(map)
        .map_err(|error| broken(&format!("the probes' ring buffer cannot be read: {error}")))
}

fn wake(ring: &RingBuf<MapData>) -> Result<AsyncFd<OwnedFd>, SourceError> {
    let watched = ring.as_fd().try_clone_to_owned().and_then(|fd| {
        // SAFETY: the descriptor is this AsyncFd's own duplicate and is not changed while it lives.
        Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
    });
    watched.map_err(|error| broken(&format!("the probes' ring buffer cannot be waited for: {error}")))
}

fn broken(what: &str) -> SourceError {
    SourceError {
        what: what.to_owned(),
        remedy: "report it with this text and the kernel's version".to_owned(),
    }
}

fn named(record: &ProcessRecord) -> EventKind {
    let id = wire::process(&record.owner);
    EventKind::Process { id, facts: processes::complete(id, wire::facts(record)) }
}
