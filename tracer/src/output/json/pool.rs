//! Pools, as JSON.

use crate::engine::report::{DestinationReport, PoolReport};
use crate::event::{Capture, NetNs, PoolId, PortRange};
use serde::Serialize;

/// One pool. What is not known yet is null.
#[derive(Debug, Serialize)]
pub struct PoolJson {
    netns: Option<u32>,
    protocol: String,
    low: Option<u16>,
    high: Option<u16>,
    reserved: Option<u32>,
    used: Option<u64>,
    peak: Option<u64>,
    time_wait: Option<u64>,
    destinations: Option<Vec<DestinationJson>>,
}

#[derive(Debug, Serialize)]
struct DestinationJson {
    remote: String,
    used: u64,
    usable: u64,
}

impl PoolJson {
    /// The pools of which only the range is known.
    #[must_use]
    pub fn known_at_start(capture: &Capture) -> Vec<Self> {
        let pools = capture.pools.iter();
        pools.map(|(id, range)| Self::empty(id, Some(range))).collect()
    }

    pub(super) fn of(pool: &PoolReport) -> Self {
        let destinations = pool.destinations.iter().map(DestinationJson::of).collect();
        Self {
            used: Some(pool.used),
            peak: Some(pool.peak),
            time_wait: Some(pool.time_wait),
            destinations: Some(destinations),
            ..Self::empty(&pool.id, pool.range.as_ref())
        }
    }

    fn empty(id: &PoolId, range: Option<&PortRange>) -> Self {
        Self {
            netns: netns(id.netns),
            protocol: id.protocol.to_string(),
            low: range.map(|range| range.low),
            high: range.map(|range| range.high),
            reserved: range.map(|range| range.reserved),
            used: None,
            peak: None,
            time_wait: None,
            destinations: None,
        }
    }
}

impl DestinationJson {
    fn of(destination: &DestinationReport) -> Self {
        Self { remote: destination.remote.to_string(), used: destination.used, usable: destination.usable }
    }
}

/// A namespace's inode; 0 stands for a platform without namespaces.
pub(super) fn netns(netns: NetNs) -> Option<u32> {
    (netns.0 != 0).then_some(netns.0)
}
