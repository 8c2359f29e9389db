//! Pools, as JSON.

use super::round;
use crate::engine::report::{DestinationReport, Forecast, PoolReport};
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
    exhaustion_in_s: Option<f64>,
    exhaustion_between_s: Option<[f64; 2]>,
    destinations: Option<Vec<DestinationJson>>,
}

#[derive(Debug, Serialize)]
struct DestinationJson {
    remote: String,
    used: u64,
    usable: u64,
    exhaustion_in_s: Option<f64>,
    exhaustion_between_s: Option<[f64; 2]>,
}

impl PoolJson {
    /// The pools at the start, of which only the range is known.
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
            exhaustion_in_s: in_s(pool.forecast),
            exhaustion_between_s: between_s(pool.forecast),
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
            exhaustion_in_s: None,
            exhaustion_between_s: None,
            destinations: None,
        }
    }
}

impl DestinationJson {
    fn of(destination: &DestinationReport) -> Self {
        Self {
            remote: destination.remote.to_string(),
            used: destination.used,
            usable: destination.usable,
            exhaustion_in_s: in_s(destination.forecast),
            exhaustion_between_s: between_s(destination.forecast),
        }
    }
}

fn in_s(forecast: Option<Forecast>) -> Option<f64> {
    forecast.map(|forecast| round(forecast.exhaustion_in_s, 1e1))
}

fn between_s(forecast: Option<Forecast>) -> Option<[f64; 2]> {
    let (earliest, latest) = forecast?.between_s?;
    Some([round(earliest, 1e1), round(latest, 1e1)])
}

/// A namespace's inode; 0 stands for a platform without namespaces.
pub(super) fn netns(netns: NetNs) -> Option<u32> {
    (netns.0 != 0).then_some(netns.0)
}
