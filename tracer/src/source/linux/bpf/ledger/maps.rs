//! The maps that probes and user space share, as the ledger uses them.

use super::batch;
use crate::source::SourceError;
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use portleak_ebpf::{Hold, OwnerKey, OwnerTotals};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

// include/uapi/linux/bpf.h
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;

/// A walk through a map that others change may begin again at any time; it ends after so many steps.
const STEPS_MAX: usize = 1 << 20;

/// What the ledger needs of its maps. No call blocks.
pub trait Maps: Send {
    /// A hold.
    fn hold(&self, cookie: u64) -> Option<Hold>;
    /// Adds a hold. False if there is an entry for its socket, or no room.
    fn add_hold(&mut self, cookie: u64, hold: &Hold) -> bool;
    /// Replaces a hold that is there.
    fn replace_hold(&mut self, cookie: u64, hold: &Hold);
    /// Removes a hold. False if there is none.
    fn remove_hold(&mut self, cookie: u64) -> bool;
    /// Whether there is any hold.
    fn has_holds(&self) -> bool;
    /// Every hold; `None` if they cannot be read.
    fn holds(&self) -> Option<Vec<(u64, Hold)>>;
    /// An owner's totals.
    fn owner(&self, owner: &OwnerKey) -> Option<OwnerTotals>;
    /// Adds an owner. False if it is there, or there is no room.
    fn add_owner(&mut self, owner: &OwnerKey, totals: &OwnerTotals) -> bool;
    /// Removes an owner.
    fn remove_owner(&mut self, owner: &OwnerKey);
    /// Every owner; `None` if they cannot be read.
    fn owners(&self) -> Option<Vec<(OwnerKey, OwnerTotals)>>;
    /// When the living process of `run`'s tree that has this pid was started.
    fn tree(&self, pid: u32) -> Option<u64>;
    /// The binds that have not been given a port.
    fn binds(&self) -> Vec<(u64, Hold)>;
    /// Removes a bind. False if there is none.
    fn remove_bind(&mut self, cookie: u64) -> bool;
    /// Sets one of the values that steer the probes.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn set_control(&mut self, index: u32, value: u32) -> Result<(), SourceError>;
    /// Has the probes look again at the socket that sends from a UDP port.
    fn forget_sender(&mut self, port: u16);
    /// Sets the count of UDP ports held in a namespace, `None` for none.
    fn set_udp_held(&mut self, netns: u32, held: Option<u64>);
    /// The namespaces whose UDP ports are counted.
    fn udp_counted(&self) -> Vec<u32>;
    /// One of the counts of what was lost, summed over CPUs.
    fn counter(&self, index: u32) -> u64;
}

/// The kernel's.
pub struct BpfMaps {
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
}

impl BpfMaps {
    /// Takes the maps out of the loaded object.
    ///
    /// # Errors
    /// When the object has others than this program was built for.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, SourceError> {
        let mut map = |name| {
            ebpf.take_map(name).ok_or_else(|| SourceError {
                what: format!("the probes have no map {name}"),
                remedy: "rebuild portleak: its probes are of another version".to_owned(),
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
        })
    }
}

impl Maps for BpfMaps {
    fn hold(&self, cookie: u64) -> Option<Hold> {
        self.holds.get(&cookie, 0).ok()
    }

    fn add_hold(&mut self, cookie: u64, hold: &Hold) -> bool {
        self.holds.insert(cookie, hold, BPF_NOEXIST).is_ok()
    }

    fn replace_hold(&mut self, cookie: u64, hold: &Hold) {
        let _ = self.holds.insert(cookie, hold, BPF_EXIST);
    }

    fn remove_hold(&mut self, cookie: u64) -> bool {
        self.holds.remove(&cookie).is_ok()
    }

    fn has_holds(&self) -> bool {
        self.holds.keys().next().is_some()
    }

    fn holds(&self) -> Option<Vec<(u64, Hold)>> {
        batch::entries(&self.holds_fd).ok()
    }

    fn owner(&self, owner: &OwnerKey) -> Option<OwnerTotals> {
        self.owners.get(owner, 0).ok()
    }

    fn add_owner(&mut self, owner: &OwnerKey, totals: &OwnerTotals) -> bool {
        self.owners.insert(owner, totals, BPF_NOEXIST).is_ok()
    }

    fn remove_owner(&mut self, owner: &OwnerKey) {
        let _ = self.owners.remove(owner);
    }

    fn owners(&self) -> Option<Vec<(OwnerKey, OwnerTotals)>> {
        batch::entries(&self.owners_fd).ok()
    }

    fn tree(&self, pid: u32) -> Option<u64> {
        self.tree.get(&pid, 0).ok()
    }

    fn binds(&self) -> Vec<(u64, Hold)> {
        self.binds.iter().take(STEPS_MAX).filter_map(Result::ok).collect()
    }

    fn remove_bind(&mut self, cookie: u64) -> bool {
        self.binds.remove(&cookie).is_ok()
    }

    fn set_control(&mut self, index: u32, value: u32) -> Result<(), SourceError> {
        self.control.set(index, value, 0).map_err(failed)
    }

    fn forget_sender(&mut self, port: u16) {
        // The map has an element for every port.
        let _ = self.senders.set(u32::from(port), 0, 0);
    }

    fn set_udp_held(&mut self, netns: u32, held: Option<u64>) {
        let _ = match held {
            Some(held) => self.udp_held.insert(netns, held, BPF_ANY),
            None => self.udp_held.remove(&netns),
        };
    }

    fn udp_counted(&self) -> Vec<u32> {
        self.udp_held.keys().take(STEPS_MAX).filter_map(Result::ok).collect()
    }

    fn counter(&self, index: u32) -> u64 {
        self.counters.get(&index, 0).map_or(0, |per_cpu| per_cpu.iter().sum())
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

fn failed(error: MapError) -> SourceError {
    SourceError {
        what: format!("the probes' maps cannot be used: {error}"),
        remedy: "run as root with CAP_BPF; if it persists, report it with this text".to_owned(),
    }
}
