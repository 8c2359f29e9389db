//! The pools: which ports are in use, towards where, and how much room is left.

use super::detector::Second;
use super::detector::policy::Surroundings;
use super::history::Levels;
use super::report::{DestinationReport, Forecast, PoolReport};
use super::series_key::{Key, Part};
use crate::event::{PoolId, PortRange, Protocol};
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::SocketAddr;

/// Seconds between two findings that a pool has no free port left.
const SCARCE_EVERY: Second = 60;
/// How many destinations a report lists.
const DESTINATIONS_MAX: usize = 10;
/// The second half of the ports to a destination has begun only if at least this percentage of the
/// usable ones is used: a socket may have a range of its own (`IP_LOCAL_PORT_RANGE`).
const HALF_MIN: u64 = 45;
/// Below this percentage the warning is armed again.
const RECEDED: u64 = 25;

/// One pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    range: Option<PortRange>,
    /// How many holds share each port (SO_REUSEPORT, or one port towards several destinations).
    ports: FxHashMap<u16, u32>,
    peak: u64,
    /// How often it had no free port left since the last finding, and when that was.
    scarce: u64,
    scarce_emitted: Option<Second>,
    time_wait: u64,
    acquired: u64,
    released: u64,
    /// Holds and TIME_WAITs towards each destination: TCP only, where a port is used up for one
    /// destination at a time (`__inet_check_established`, net/ipv4/inet_hashtables.c).
    destinations: FxHashMap<SocketAddr, u64>,
    /// Destinations whose second half of ports has begun.
    half_used: FxHashSet<SocketAddr>,
}

impl Pool {
    pub(super) fn set_range(&mut self, range: PortRange) {
        self.range = Some(range);
    }

    pub(super) fn occupy_port(&mut self, port: u16) {
        *self.ports.entry(port).or_default() += 1;
        self.peak = self.peak.max(self.used());
    }

    pub(super) fn free_port(&mut self, port: u16) {
        if let Some(holds) = self.ports.get_mut(&port) {
            *holds -= 1;
            if *holds == 0 {
                self.ports.remove(&port);
            }
        }
    }

    pub(super) fn towards(&mut self, remote: SocketAddr, change: i64) {
        let used = self.destinations.entry(remote).or_default();
        *used = used.saturating_add_signed(change);
        let left = *used;
        if left == 0 {
            self.destinations.remove(&remote);
        }
        if !self.half_used.is_empty() && left * 100 < self.usable() * RECEDED {
            self.half_used.remove(&remote);
        }
    }

    /// Whether a port that the kernel chose for a connect begins the second half of those to
    /// `remote`: once, until that many are not used any more.
    pub(super) fn begins_second_half(&mut self, remote: SocketAddr, port: u16) -> bool {
        let second = self.range.is_some_and(|range| (port ^ range.low) & 1 == 1);
        let enough = || self.used_towards(Some(remote)) * 100 >= self.usable() * HALF_MIN;
        second && enough() && self.half_used.insert(remote)
    }

    /// It had no free port left. Returns how often since the last finding, when one is due.
    pub(super) fn mark_scarce(&mut self, now: Second) -> Option<u64> {
        self.scarce += 1;
        if self.scarce_emitted.is_some_and(|last| now < last + SCARCE_EVERY) {
            return None;
        }
        self.scarce_emitted = Some(now);
        Some(std::mem::take(&mut self.scarce))
    }

    pub(super) fn time_wait(&mut self, change: i64) {
        self.time_wait = self.time_wait.saturating_add_signed(change);
    }

    /// Distinct ports held.
    pub(super) fn used(&self) -> u64 {
        self.ports.len() as u64
    }

    /// How many ports it can hand out; `None` when its range could not be read.
    pub(super) fn known_usable(&self) -> Option<u64> {
        self.range.map(|range| u64::from(range.usable()))
    }

    /// Ports that can be handed out; the kernel's default range while unknown.
    pub(super) fn usable(&self) -> u64 {
        self.range.map_or(28_232, |range| u64::from(range.usable()))
    }

    /// Every destination and the ports used towards it, TIME_WAIT included.
    pub(super) fn destinations(&self) -> impl Iterator<Item = (SocketAddr, u64)> {
        self.destinations.iter().map(|(&remote, &used)| (remote, used))
    }

    /// Ports held and in TIME_WAIT, and how many were acquired and released.
    pub(super) fn levels(&self) -> Levels {
        Levels {
            held: self.used(),
            acquired: self.acquired,
            released: self.released,
            time_wait: self.time_wait,
        }
    }

    /// Counts an acquisition.
    pub(super) fn acquire(&mut self) {
        self.acquired += 1;
    }

    /// Counts a release.
    pub(super) fn release(&mut self) {
        self.released += 1;
    }

    /// Ports used towards a destination, TIME_WAIT included; of the whole pool without one.
    pub(super) fn used_towards(&self, remote: Option<SocketAddr>) -> u64 {
        match remote {
            Some(remote) => self.destinations.get(&remote).copied().unwrap_or_default(),
            None => self.used() + self.time_wait,
        }
    }

    /// Its report; `forecast` says how long so many free ports last towards a destination, or in the
    /// whole pool.
    pub(super) fn report(
        &self,
        id: PoolId,
        forecast: impl Fn(Option<SocketAddr>, u64) -> Option<Forecast>,
    ) -> PoolReport {
        let usable = self.usable();
        let one = |(&remote, &used): (&SocketAddr, &u64)| {
            let forecast = forecast(Some(remote), usable.saturating_sub(used));
            DestinationReport { remote, used, usable, forecast }
        };
        let mut destinations: Vec<_> = self.destinations.iter().map(one).collect();
        destinations.sort_by_key(|destination| (std::cmp::Reverse(destination.used), destination.remote));
        destinations.truncate(DESTINATIONS_MAX);
        PoolReport {
            id,
            range: self.range,
            used: self.used(),
            peak: self.peak,
            time_wait: self.time_wait,
            forecast: forecast(None, usable.saturating_sub(self.used_towards(None))),
            destinations,
        }
    }
}

/// Whether a pool of this protocol runs out for each destination by itself.
pub(super) fn is_per_destination(protocol: Protocol) -> bool {
    protocol == Protocol::Tcp
}

/// What limits a series: its destination's ports, or its pool's.
pub(super) fn surroundings(pools: &FxHashMap<PoolId, Pool>, key: &Key) -> Surroundings {
    let remote = match key.part {
        Part::Destination(remote) if is_per_destination(key.pool.protocol) => remote,
        _ => None,
    };
    pools.get(&key.pool).map_or(Surroundings { usable: 1, used: 0 }, |pool| Surroundings {
        usable: pool.usable(),
        used: pool.used_towards(remote),
    })
}
