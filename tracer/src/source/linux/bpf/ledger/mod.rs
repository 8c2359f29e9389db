//! The probes' ledger as user space sees it: every hold, every owner's totals, what was lost.

mod batch;
mod maps;
mod moves;

use crate::source::SourceError;
pub use maps::{BpfMaps, Maps};
use moves::Moved;
use portleak_ebpf::{Hold, OwnerKey, OwnerTotals, control, counter, flag, owner_flag, protocol};
use rustc_hash::FxHashMap;

/// The maps, and what user space knows better than the probes.
pub struct Ledger {
    maps: Box<dyn Maps>,
    /// What we know better than the probes' totals: added to them, wrapping.
    corrections: FxHashMap<OwnerKey, OwnerTotals>,
    /// How many holds each owner has taken over, from before tracing or from another owner.
    taken_over: FxHashMap<OwnerKey, u64>,
    /// Holds whose owner is not the one that the probes know.
    moved: FxHashMap<u64, Moved>,
}

/// What the probes could not keep or report, summed over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that found the ring buffer full.
    pub records: u64,
    /// Holds that found no room in the ledger.
    pub holds: u64,
    /// Owners that found no room in the ledger.
    pub owners: u64,
    /// Processes of `run`'s tree that could not be marked.
    pub descendants: u64,
}

impl Ledger {
    /// A ledger on its maps.
    #[must_use]
    pub fn new(maps: Box<dyn Maps>) -> Self {
        Self {
            maps,
            corrections: FxHashMap::default(),
            taken_over: FxHashMap::default(),
            moved: FxHashMap::default(),
        }
    }

    /// Tells the probes whether a snapshot is being taken.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_snapshot(&mut self, on: bool) -> Result<(), SourceError> {
        self.maps.set_control(control::SNAPSHOT, u32::from(on))
    }

    /// Tells the probes whether function probes show which binds find no port.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_binds_seen(&mut self, seen: bool) -> Result<(), SourceError> {
        self.maps.set_control(control::BINDS_SEEN, u32::from(seen))
    }

    /// Marks the next children of the calling thread, and all that comes of them, as `run`'s process
    /// tree; or no more. False if the map cannot be written.
    pub fn mark_children(&mut self, on: bool) -> bool {
        let thread = if on { rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned() } else { 0 };
        self.maps.set_control(control::ROOT_PARENT, thread).is_ok()
    }

    /// Whether a UDP pool has become crowded, or has been taken to be.
    pub fn set_crowded(&mut self, on: bool) {
        let _: Result<(), SourceError> = self.maps.set_control(control::POOL_LOW, u32::from(on));
    }

    /// Corrects the probes' count of UDP ports held in a namespace, `None` for none. It steers them
    /// and is not part of any figure, so a change that comes between is no harm.
    pub fn set_udp_held(&mut self, netns: u32, held: Option<u64>) {
        self.maps.set_udp_held(netns, held);
    }

    /// The namespaces that the probes count UDP ports of.
    #[must_use]
    pub fn udp_counted(&self) -> Vec<u32> {
        self.maps.udp_counted()
    }

    /// Enters a hold that existed before the probes. False if they know the socket by now: it was
    /// acquired, or has ended, while the snapshot was being taken.
    pub fn adopt(&mut self, cookie: u64, hold: &Hold) -> bool {
        // Owned before its first acquisition: so that its releases are counted.
        if !self.taken_over.contains_key(&hold.owner) {
            self.enter_owner(&hold.owner, hold.netns);
        }
        let entered = self.maps.add_hold(cookie, hold);
        if entered {
            *self.taken_over.entry(hold.owner).or_default() += 1;
        }
        entered
    }

    /// Gives an owner its place, because of a port of a namespace. False if it had one.
    pub fn enter_owner(&mut self, owner: &OwnerKey, netns: u32) -> bool {
        let is_descendant = owner.pid != 0 && self.maps.tree(owner.pid) == Some(owner.started_ticks);
        let flags = if is_descendant { owner_flag::DESCENDANT } else { 0 };
        let entered = self.maps.add_owner(owner, &OwnerTotals { flags, netns, ..OwnerTotals::default() });
        if !entered && self.maps.owner(owner).is_some_and(|totals| totals.netns != netns) {
            self.corrections.entry(*owner).or_default().several_netns = 1;
        }
        entered
    }

    /// Writes a hold's port into the ledger, if the hold is still there.
    pub fn learn(&mut self, cookie: u64, port: u16) {
        if let Some(mut hold) = self.maps.hold(cookie)
            && hold.flags & flag::UNCONFIRMED != 0
        {
            hold.port = port;
            hold.flags &= !flag::UNCONFIRMED;
            self.maps.replace_hold(cookie, &hold);
        }
    }

    /// Takes a tombstone out.
    pub fn remove_tombstone(&mut self, cookie: u64) {
        self.maps.remove_hold(cookie);
    }

    /// Takes a hold out that never had a port. False if the probes were first.
    pub fn retract(&mut self, cookie: u64, hold: &Hold) -> bool {
        self.remove(cookie, hold, |correction| &mut correction.udp_acquired, u64::MAX)
    }

    /// Takes a hold out whose end the probes did not see. False if they were first.
    pub fn release(&mut self, cookie: u64, hold: &Hold) -> bool {
        self.remove(cookie, hold, |correction| released(correction, hold.protocol), 1)
    }

    fn remove(
        &mut self,
        cookie: u64,
        hold: &Hold,
        field: impl FnOnce(&mut OwnerTotals) -> &mut u64,
        change: u64,
    ) -> bool {
        if !self.maps.remove_hold(cookie) {
            return false;
        }
        // Its socket may live on: let the probes look at it again.
        self.maps.forget_sender(hold.port);
        let owner = self.moved.remove(&cookie).map_or(hold.owner, |moved| moved.to);
        let field = field(self.corrections.entry(owner).or_default());
        *field = field.wrapping_add(change);
        true
    }

    /// A hold as it is now.
    #[must_use]
    pub fn hold(&self, cookie: u64) -> Option<Hold> {
        self.maps.hold(cookie)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.maps.has_holds()
    }

    /// Every hold; `None` if they cannot be read.
    pub fn holds(&mut self) -> Option<Vec<(u64, Hold)>> {
        let mut holds = self.maps.holds()?;
        holds.retain(|(_, hold)| hold.flags & flag::TOMBSTONE == 0);
        if !self.moved.is_empty() {
            self.settle_all_but(&holds.iter().map(|(cookie, _)| *cookie).collect());
        }
        Some(holds)
    }

    /// Takes out the binds of before `until_ns` that have not been given a port.
    pub fn take_unanswered(&mut self, until_ns: u64) -> Vec<(u64, Hold)> {
        let noted = self.maps.binds().into_iter();
        let old: Vec<_> = noted.filter(|(_, hold)| hold.acquired_ns <= until_ns).collect();
        // One that cannot be removed was answered or reported just now.
        old.into_iter().filter(|(cookie, _)| self.maps.remove_bind(*cookie)).collect()
    }

    /// Every owner's totals; `None` if they cannot be read.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<(OwnerKey, OwnerTotals)>> {
        let mut owners = self.maps.owners()?;
        owners.iter_mut().for_each(|(owner, totals)| *totals = self.correct(owner, *totals));
        Some(owners)
    }

    /// An owner's totals.
    #[must_use]
    pub fn totals(&self, owner: &OwnerKey) -> Option<OwnerTotals> {
        self.maps.owner(owner).map(|totals| self.correct(owner, totals))
    }

    fn correct(&self, owner: &OwnerKey, totals: OwnerTotals) -> OwnerTotals {
        let Some(correction) = self.corrections.get(owner) else {
            return totals;
        };
        OwnerTotals {
            tcp_acquired: totals.tcp_acquired.wrapping_add(correction.tcp_acquired),
            tcp_released: totals.tcp_released.wrapping_add(correction.tcp_released),
            udp_acquired: totals.udp_acquired.wrapping_add(correction.udp_acquired),
            udp_released: totals.udp_released.wrapping_add(correction.udp_released),
            several_netns: totals.several_netns | correction.several_netns,
            ..totals
        }
    }

    /// How many ports an owner holds; `None` if it has no place.
    #[must_use]
    pub fn held_by(&self, owner: &OwnerKey) -> Option<u64> {
        let totals = self.totals(owner)?;
        let taken_over = self.taken_over.get(owner).copied().unwrap_or_default();
        let taken = totals.tcp_acquired.wrapping_add(totals.udp_acquired).wrapping_add(taken_over);
        Some(taken.wrapping_sub(totals.tcp_released).wrapping_sub(totals.udp_released))
    }

    /// Frees an owner's place.
    pub fn remove_owner(&mut self, owner: &OwnerKey) {
        self.maps.remove_owner(owner);
        self.corrections.remove(owner);
        self.taken_over.remove(owner);
    }

    /// What was lost since the probes were loaded.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses {
            records: self.maps.counter(counter::LOST),
            holds: self.maps.counter(counter::HOLDS_FULL),
            owners: self.maps.counter(counter::OWNERS_FULL),
            descendants: self.maps.counter(counter::TREE_FULL),
        }
    }
}

/// The count of releases of a protocol.
fn released(totals: &mut OwnerTotals, protocol: u8) -> &mut u64 {
    if protocol == protocol::UDP { &mut totals.udp_released } else { &mut totals.tcp_released }
}
