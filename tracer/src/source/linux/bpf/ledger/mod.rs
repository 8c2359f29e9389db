//! The probes' ledger as user space sees it: every hold, every owner's totals, what was lost.

mod batch;
mod moves;

use crate::source::SourceError;
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use moves::Moved;
use portleak_ebpf::{Hold, OwnerKey, OwnerTotals, control, counter, flag, owner_flag, protocol};
use rustc_hash::FxHashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

// include/uapi/linux/bpf.h
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;

/// A walk through a map that others change may begin anew at any time; it ends after so many steps.
const STEPS_MAX: usize = 1 << 20;

/// The maps.
pub struct Ledger {
    holds: HashMap<MapData, u64, Hold>,
    /// The same map, to read it whole.
    holds_fd: OwnedFd,
    owners: HashMap<MapData, OwnerKey, OwnerTotals>,
    /// The same map, to read it whole.
    owners_fd: OwnedFd,
    /// When the living processes of `run`'s tree were started, by pid.
    tree: HashMap<MapData, u32, u64>,
    /// Binds that have not been given a port.
    binds: HashMap<MapData, u64, Hold>,
    control: Array<MapData, u32>,
    /// By UDP port, the socket that the probes need not look at again.
    senders: Array<MapData, u64>,
    udp_held: HashMap<MapData, u32, u64>,
    counters: PerCpuArray<MapData, u64>,
    /// What we know better than the probes' totals: added to them, wrapping.
    corrections: FxHashMap<OwnerKey, OwnerTotals>,
    /// How many holds each owner has taken over, from before tracing or from another owner.
    taken_over: FxHashMap<OwnerKey, u64>,
    /// Holds whose owner is not the one that the probes know.
    moved: FxHashMap<u64, Moved>,
}

/// What the probes could not keep or tell, summed over CPUs.
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
    /// Takes the maps out of the loaded object.
    ///
    /// # Errors
    /// When the object has others than this program was built for.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, SourceError> {
        let mut map = |name| {
            ebpf.take_map(name).ok_or_else(|| SourceError {
                what: format!("the probes have no map {name}"),
                remedy: "build portleak anew: its probes are of another version".to_owned(),
            })
        };
        let (holds, owners) = (map("HOLDS")?, map("OWNERS")?);
        Ok(Self {
            holds_fd: duplicate(&holds)?,
            holds: holds.try_into().map_err(failed)?,
            owners_fd: duplicate(&owners)?,
            owners: owners.try_into().map_err(failed)?,
            tree: map("TREE")?.try_into().map_err(failed)?,
            binds: map("BINDS")?.try_into().map_err(failed)?,
            udp_held: map("UDP_HELD")?.try_into().map_err(failed)?,
            control: map("CONTROL")?.try_into().map_err(failed)?,
            senders: map("SENDERS")?.try_into().map_err(failed)?,
            counters: map("COUNTERS")?.try_into().map_err(failed)?,
            corrections: FxHashMap::default(),
            taken_over: FxHashMap::default(),
            moved: FxHashMap::default(),
        })
    }

    /// Tells the probes whether a snapshot is being taken.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_snapshot(&mut self, on: bool) -> Result<(), SourceError> {
        self.control.set(control::SNAPSHOT, u32::from(on), 0).map_err(failed)
    }

    /// Tells the probes whether function probes show which binds find no port.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_binds_seen(&mut self, seen: bool) -> Result<(), SourceError> {
        self.control.set(control::BINDS_SEEN, u32::from(seen), 0).map_err(failed)
    }

    /// Marks the next children of the calling thread, and all that comes of them, as `run`'s process
    /// tree; or no more. False if the probes cannot be told.
    pub fn mark_children(&mut self, on: bool) -> bool {
        let thread = if on { rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned() } else { 0 };
        self.control.set(control::ROOT_PARENT, thread, 0).is_ok()
    }

    /// Whether a UDP pool has become crowded, or has been taken to be.
    pub fn set_crowded(&mut self, on: bool) {
        let _ = self.control.set(control::POOL_LOW, u32::from(on), 0);
    }

    /// Corrects the probes' count of UDP ports held in a namespace, `None` for none. It steers them
    /// and is not part of any figure, so a change that comes between is no harm.
    pub fn set_udp_held(&mut self, netns: u32, held: Option<u64>) {
        let _ = match held {
            Some(held) => self.udp_held.insert(netns, held, BPF_ANY),
            None => self.udp_held.remove(&netns),
        };
    }

    /// The namespaces that the probes count UDP ports of.
    #[must_use]
    pub fn udp_counted(&self) -> Vec<u32> {
        self.udp_held.keys().take(STEPS_MAX).filter_map(Result::ok).collect()
    }

    /// Enters a hold that existed before the probes. False if they know the socket by now: it was
    /// acquired, or has ended, while the snapshot was being taken.
    pub fn adopt(&mut self, cookie: u64, hold: &Hold) -> bool {
        // Owned before its first acquisition: so that its releases are counted.
        if !self.taken_over.contains_key(&hold.owner) {
            self.enter_owner(&hold.owner);
        }
        let entered = self.holds.insert(cookie, hold, BPF_NOEXIST).is_ok();
        if entered {
            *self.taken_over.entry(hold.owner).or_default() += 1;
        }
        entered
    }

    /// Gives an owner its place. False if it had one.
    pub fn enter_owner(&mut self, owner: &OwnerKey) -> bool {
        let started_ticks = self.tree.get(&owner.pid, 0).ok();
        let is_descendant = owner.pid != 0 && started_ticks == Some(owner.started_ticks);
        let flags = if is_descendant { owner_flag::DESCENDANT } else { 0 };
        self.owners.insert(owner, OwnerTotals { flags, ..OwnerTotals::default() }, BPF_NOEXIST).is_ok()
    }

    /// Writes a hold's port into the ledger, if the hold is still there.
    pub fn learn(&mut self, cookie: u64, port: u16) {
        if let Ok(mut hold) = self.holds.get(&cookie, 0)
            && hold.flags & flag::UNCONFIRMED != 0
        {
            hold.port = port;
            hold.flags &= !flag::UNCONFIRMED;
            let _ = self.holds.insert(cookie, hold, BPF_EXIST);
        }
    }

    /// Takes a tombstone out.
    pub fn remove_tombstone(&mut self, cookie: u64) {
        let _ = self.holds.remove(&cookie);
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
        if self.holds.remove(&cookie).is_err() {
            return false;
        }
        // Its socket may live on: let the probes look at it again. There is a place for every port.
        let _ = self.senders.set(u32::from(hold.port), 0, 0);
        let owner = self.moved.remove(&cookie).map_or(hold.owner, |moved| moved.to);
        let field = field(self.corrections.entry(owner).or_default());
        *field = field.wrapping_add(change);
        true
    }

    /// A hold as it is now.
    #[must_use]
    pub fn hold(&self, cookie: u64) -> Option<Hold> {
        self.holds.get(&cookie, 0).ok()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holds.keys().next().is_none()
    }

    /// Every hold; `None` if they cannot be read.
    pub fn holds(&mut self) -> Option<Vec<(u64, Hold)>> {
        let mut holds = batch::entries::<u64, Hold>(&self.holds_fd).ok()?;
        holds.retain(|(_, hold)| hold.flags & flag::TOMBSTONE == 0);
        if !self.moved.is_empty() {
            self.settle_all_but(&holds.iter().map(|(cookie, _)| *cookie).collect());
        }
        Some(holds)
    }

    /// Takes out the binds of before `until_ns` that have not been given a port.
    pub fn take_unanswered(&mut self, until_ns: u64) -> Vec<(u64, Hold)> {
        let noted = self.binds.iter().take(STEPS_MAX).filter_map(Result::ok);
        let old: Vec<_> = noted.filter(|(_, hold)| hold.acquired_ns <= until_ns).collect();
        // One that cannot be removed was answered, or told of, just now.
        old.into_iter().filter(|(cookie, _)| self.binds.remove(cookie).is_ok()).collect()
    }

    /// Every owner's totals; `None` if they cannot be read.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<(OwnerKey, OwnerTotals)>> {
        let mut owners = batch::entries(&self.owners_fd).ok()?;
        owners.iter_mut().for_each(|(owner, totals)| *totals = self.correct(owner, *totals));
        Some(owners)
    }

    /// An owner's totals.
    #[must_use]
    pub fn totals(&self, owner: &OwnerKey) -> Option<OwnerTotals> {
        self.owners.get(owner, 0).ok().map(|totals| self.correct(owner, totals))
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
            flags: totals.flags,
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
        let _ = self.owners.remove(owner);
        self.corrections.remove(owner);
        self.taken_over.remove(owner);
    }

    /// What was lost since the probes were loaded.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let sum = |index| self.counters.get(&index, 0).map_or(0, |per_cpu| per_cpu.iter().sum());
        Losses {
            records: sum(counter::LOST),
            holds: sum(counter::HOLDS_FULL),
            owners: sum(counter::OWNERS_FULL),
            descendants: sum(counter::TREE_FULL),
        }
    }
}

/// Another descriptor of a hash map.
fn duplicate(map: &Map) -> Result<OwnedFd, SourceError> {
    let fd = match map {
        Map::HashMap(data) => data.fd().as_fd().try_clone_to_owned(),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    fd.map_err(|error| failed(MapError::IoError(error)))
}

/// The count of releases of a protocol.
fn released(totals: &mut OwnerTotals, protocol: u8) -> &mut u64 {
    if protocol == protocol::UDP { &mut totals.udp_released } else { &mut totals.tcp_released }
}

fn failed(error: MapError) -> SourceError {
    SourceError {
        what: format!("the probes' maps cannot be used: {error}"),
        remedy: "run as root with CAP_BPF; if it persists, report it with this text".to_owned(),
    }
}
