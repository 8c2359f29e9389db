//! The ledger against the kernel's own list of sockets, from time to time.
//!
//! Two questions: does every hold still belong to its owner, and are ledger and list the same? No
//! event tells of a socket that was passed on, so the first is the only way to learn it. The second
//! should find nothing: what it does find is corrected and counted, as the measure of exactness.
//!
//! A list is not taken in an instant, and everything goes on meanwhile. So whatever could also be
//! a matter of timing (a hold that is not listed, a listed socket that is no hold, one that no
//! process has) is only a suspicion until a second look, a second later, shows the same.

mod listener_ports;
mod scan;

use crate::event::{Event, EventKind, HoldId, NetNs, OwnerId};
use crate::source::SourceError;
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::{clock, platform};
use crate::source::linux::memory;
use crate::source::linux::procfs::descriptors::Descriptors;
use crate::source::linux::procfs::processes;
use listener_ports::ListenerPorts;
use portleak_ebpf::{Header, Hold, HoldRecord, OwnerKey, flag, kind, state};
use rustc_hash::FxHashSet;
use scan::Seen;
use std::collections::BTreeSet;
use std::thread::JoinHandle;

const MILLISECOND_NS: u64 = 1_000_000;
/// How often to look when nothing calls for it.
const EVERY_NS: u64 = 30_000 * MILLISECOND_NS;
/// How long to let the releases of an owner that ended come in.
const EXIT_NS: u64 = 150 * MILLISECOND_NS;
/// Before a second look.
const PAUSE_NS: u64 = 1_000 * MILLISECOND_NS;
/// After it, so many times as long as both took: looks are never more than 1 % of the time.
const REST_FACTOR: u64 = 99;

/// What a second look has to confirm, by cookie.
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

/// A look that is under way, on a thread of its own: the ring buffer must not wait for it.
#[derive(Debug)]
struct UnderWay {
    thread: JoinHandle<Seen>,
    /// Holds released since it began; its list may still have them.
    released: FxHashSet<u64>,
    /// Whether sockets that end meanwhile leave a tombstone, so that entering one is safe.
    buries: bool,
}

/// Keeps ledger and kernel together.
#[derive(Debug)]
pub struct Reconcile {
    /// Namespaces with holds, and perhaps some that have none any more.
    netns: FxHashSet<NetNs>,
    /// Processes with holds, likewise.
    pids: BTreeSet<u32>,
    listened: ListenerPorts,
    /// Owners that ended, and when.
    exited: Vec<(u64, OwnerKey)>,
    suspects: Suspects,
    under_way: Option<UnderWay>,
    /// An owner ended and left ports: the next look asks everyone at once.
    heirs_wanted: bool,
    /// The next look: at the latest, and not before.
    due_ns: u64,
    rests_until_ns: u64,
    /// What the look before took, if the next is the second to it.
    first_took_ns: Option<u64>,
    /// Whether /proc can say who holds a socket.
    sees_holders: bool,
    descriptors: Descriptors,
}

impl Reconcile {
    /// Begins at `now_ns` with what the snapshot found.
    #[must_use]
    pub fn new(now_ns: u64, snapshot: &[Event], descriptors: Descriptors) -> Self {
        let mut reconcile = Self {
            netns: FxHashSet::default(),
            pids: BTreeSet::default(),
            heirs_wanted: false,
            listened: ListenerPorts::default(),
            exited: Vec::new(),
            suspects: Suspects::default(),
            under_way: None,
            due_ns: now_ns + EVERY_NS,
            rests_until_ns: 0,
            first_took_ns: None,
            sees_holders: platform::shows_all_processes(),
            descriptors,
        };
        for event in snapshot {
            if let EventKind::Acquired(acquired) = &event.kind {
                reconcile.netns.insert(acquired.pool.netns);
                if let OwnerId::Process(process) = &acquired.owner {
                    reconcile.pids.insert(process.pid);
                }
                reconcile.listened.found(acquired);
            }
        }
        reconcile
    }

    /// A record about a hold came.
    pub fn notice(&mut self, record: &HoldRecord) {
        if record.header.kind == kind::ACQUIRED {
            self.netns.insert(NetNs(record.hold.netns));
            self.pids.insert(record.hold.owner.pid);
        }
        self.listened.notice(record);
    }

    /// A record came that is all header.
    pub fn pass(&mut self, header: &Header, ledger: &mut Ledger) {
        self.listened.pass(header);
        if header.kind == kind::RELEASED {
            ledger.settle_move(header.cookie);
            if let Some(under_way) = &mut self.under_way {
                under_way.released.insert(header.cookie);
            }
        }
    }

    /// An owner ended.
    pub fn exited(&mut self, at_ns: u64, owner: OwnerKey) {
        self.exited.push((at_ns, owner));
    }

    /// Records were lost: look soon.
    pub fn lost(&mut self, now_ns: u64) {
        self.listened.doubt();
        self.due_ns = self.due_ns.min(now_ns);
    }

    /// Begins a look or takes what one has found, if it is time.
    pub fn turn(&mut self, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) {
        self.hasten_for_exited(now_ns, ledger);
        match &self.under_way {
            Some(under_way) if under_way.thread.is_finished() => self.take(now_ns, ledger, events),
            None if now_ns >= self.due_ns.max(self.rests_until_ns) => self.begin(now_ns, ledger),
            Some(_) | None => {}
        }
    }

    /// Once the probes are detached: who holds what at the end. Nothing else is compared, for
    /// releases are not seen any more.
    pub fn finish(&mut self, ledger: &mut Ledger, events: &mut Vec<Event>) {
        let under_way = self.under_way.take();
        drop(under_way.map(|under_way| under_way.thread.join()));
        self.suspects = Suspects::default();
        for _ in 0..2 {
            let holds = ledger.holds().unwrap_or_default();
            if holds.is_empty() {
                return;
            }
            let netns = holds.iter().map(|(_, hold)| NetNs(hold.netns)).collect();
            let before = std::mem::take(&mut self.suspects);
            let seen = scan::scan(&netns, &self.descriptors, None, &owners_of(&before.unheld, ledger));
            let mut told = Told { now_ns: clock::boot_ns(), ledger, events, corrections: 0 };
            for (cookie, hold) in holds.iter().filter(|(_, hold)| hold.acquired_ns < seen.began_ns) {
                self.check_owner(*cookie, hold, &seen, &before, &mut told);
            }
            if self.suspects.is_empty() {
                return;
            }
        }
    }

    /// An owner that ended and still holds ports: somebody else may have them.
    fn hasten_for_exited(&mut self, now_ns: u64, ledger: &Ledger) {
        if self.exited.first().is_none_or(|(at_ns, _)| now_ns < at_ns + EXIT_NS) {
            return;
        }
        let (ripe, young) = self.exited.drain(..).partition(|(at_ns, _)| now_ns >= at_ns + EXIT_NS);
        self.exited = young;
        let ripe: Vec<(u64, OwnerKey)> = ripe;
        if ripe.iter().any(|(_, owner)| ledger.held_by(owner).is_some_and(|held| held > 0)) {
            self.due_ns = self.due_ns.min(now_ns);
            self.heirs_wanted = true;
        }
    }

    fn begin(&mut self, now_ns: u64, ledger: &mut Ledger) {
        self.due_ns = now_ns + EVERY_NS;
        if ledger.is_empty() {
            self.netns.clear();
            self.pids.clear();
            return;
        }
        // Mostly every owner has its sockets, and nobody else's descriptors need be read.
        let everyone = std::mem::take(&mut self.heirs_wanted)
            || !self.suspects.is_empty()
            || !self.descriptors.are_dear();
        let among = (!everyone).then(|| self.pids.clone());
        let buries = !self.suspects.unknown.is_empty() && ledger.set_snapshot(true).is_ok();
        let (netns, descriptors) = (self.netns.clone(), self.descriptors.clone());
        let rings = owners_of(&self.suspects.unheld, ledger);
        let thread = std::thread::Builder::new().name("reconcile".to_owned());
        // Without a thread there is no look this time.
        if let Ok(thread) = thread.spawn(move || scan::scan(&netns, &descriptors, among, &rings)) {
            self.under_way = Some(UnderWay { thread, released: FxHashSet::default(), buries });
        }
    }

    fn take(&mut self, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) {
        let Some(UnderWay { thread, released, buries }) = self.under_way.take() else {
            return;
        };
        if let Ok(seen) = thread.join() {
            let mut told = Told { now_ns, ledger, events, corrections: 0 };
            self.compare(&seen, &released, buries, &mut told);
            told.tell_corrections();
            self.rest(now_ns, seen.took_ns);
        }
        if buries {
            // Failing leaves tombstones to be made, which costs a little and does no harm.
            let _: Result<(), SourceError> = ledger.set_snapshot(false);
        }
        memory::give_back();
    }

    /// When to look again: soon, if that would settle something, but not twice in a row.
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

    fn compare(&mut self, seen: &Seen, released: &FxHashSet<u64>, buries: bool, told: &mut Told<'_>) {
        let Some(holds) = told.ledger.holds() else {
            return;
        };
        let before = std::mem::take(&mut self.suspects);
        let known: FxHashSet<u64> = holds.iter().map(|(cookie, _)| *cookie).collect();
        self.netns = holds.iter().map(|(_, hold)| NetNs(hold.netns)).collect();
        self.pids = holds.iter().map(|(cookie, hold)| told.ledger.owner_of(*cookie, hold).pid).collect();
        for (cookie, hold) in &holds {
            self.listened.holds(hold);
            if hold.acquired_ns >= seen.began_ns {
                continue;
            }
            if seen.inodes.contains_key(cookie) {
                self.check_owner(*cookie, hold, seen, &before, told);
            } else if is_listed(hold) && seen.complete.contains(&NetNs(hold.netns)) {
                self.miss(*cookie, hold, &before, told);
            }
        }
        let is_hold = |cookie: &u64| known.contains(cookie) || released.contains(cookie);
        for (cookie, hold) in seen.ephemeral.iter().filter(|(cookie, _)| !is_hold(cookie)) {
            if !self.listened.may_be_accepted(hold) {
                self.meet(*cookie, hold, before.unknown.contains(cookie) && buries, told);
            }
        }
    }

    /// A hold is not listed.
    fn miss(&mut self, cookie: u64, hold: &Hold, before: &Suspects, told: &mut Told<'_>) {
        if !before.missing.contains(&cookie) {
            self.suspects.missing.insert(cookie);
        } else if told.ledger.release(cookie, hold) {
            told.correct(EventKind::Released { hold: HoldId(cookie) });
        }
    }

    /// A listed socket is no hold.
    fn meet(&mut self, cookie: u64, hold: &Hold, confirmed: bool, told: &mut Told<'_>) {
        if !confirmed {
            self.suspects.unknown.insert(cookie);
        } else if told.ledger.adopt(cookie, hold)
            && let Ok(acquired) = wire::acquired(HoldId(cookie), hold, 0)
        {
            told.name(&hold.owner);
            told.correct(EventKind::Acquired(crate::event::Acquired { range: None, ..acquired }));
        }
    }

    /// Whether the owner of a listed hold can use it; who else can, if it cannot.
    fn check_owner(&mut self, cookie: u64, hold: &Hold, seen: &Seen, before: &Suspects, told: &mut Told<'_>) {
        let owner = told.ledger.owner_of(cookie, hold);
        // An orphan (inode 0) stays with its last owner, and the kernel's sockets with the kernel.
        let inode = seen.inodes.get(&cookie).copied().filter(|inode| *inode != 0);
        let (Some(inode), 0, true) = (inode, owner.system_netns, self.sees_holders) else {
            return;
        };
        if hold.flags & flag::UNCONFIRMED != 0 {
            return; // It may yet turn out never to have been.
        }
        if seen.holders.has(wire::process(&owner), inode) {
            return;
        }
        if !seen.everyone {
            self.suspects.strays.insert(cookie);
            return;
        }
        match seen.holders.first(inode) {
            Some(holder) => told.give(cookie, hold, wire::owner_key(holder)),
            None if owner == OwnerKey::default() => {}
            None if before.unheld.contains(&cookie) => told.give(cookie, hold, OwnerKey::default()),
            None => _ = self.suspects.unheld.insert(cookie),
        }
    }
}

/// Whose holds these are: their sockets may be in rings.
fn owners_of(cookies: &FxHashSet<u64>, ledger: &Ledger) -> BTreeSet<u32> {
    let owner = |cookie: &u64| Some(ledger.owner_of(*cookie, &ledger.hold(*cookie)?).pid);
    cookies.iter().filter_map(owner).collect()
}

/// Where conclusions go.
struct Told<'a> {
    now_ns: u64,
    ledger: &'a mut Ledger,
    events: &'a mut Vec<Event>,
    corrections: u64,
}

impl Told<'_> {
    fn tell(&mut self, kind: EventKind) {
        self.events.push(Event { at_ns: self.now_ns, kind });
    }

    fn correct(&mut self, kind: EventKind) {
        self.corrections += 1;
        self.tell(kind);
    }

    fn tell_corrections(mut self) {
        if self.corrections > 0 {
            self.tell(EventKind::Corrected { count: self.corrections });
        }
    }

    fn give(&mut self, cookie: u64, hold: &Hold, to: OwnerKey) {
        if self.ledger.move_to(cookie, hold, to) {
            self.name(&to);
        }
        self.tell(EventKind::Moved { hold: HoldId(cookie), owner: wire::owner(&to) });
    }

    /// Tells what a process is called, while it can be asked.
    fn name(&mut self, owner: &OwnerKey) {
        let facts = if owner.pid == 0 { None } else { processes::facts(owner.pid) };
        if let Some((id, facts)) = facts.filter(|(id, _)| *id == wire::process(owner)) {
            self.tell(EventKind::Process { id, facts });
        }
    }
}

/// Whether the kernel would list it for certain. Not: TCP sockets that are bound and nothing else
/// (before 6.8), a port that may not exist yet, and the kernel's UDP ports, which are looked up
/// apart.
fn is_listed(hold: &Hold) -> bool {
    let bound_only = hold.protocol == 6 && hold.state == state::BOUND;
    let of_kernel = hold.protocol == 17 && hold.owner.system_netns != 0;
    hold.flags & flag::UNCONFIRMED == 0 && !bound_only && !of_kernel
}
