//! When a pool, or a destination of it, has no port left: the sum of all growth towards it.

use super::Engine;
use super::detector::policy::Judgement;
use super::pools::surroundings;
use super::report::{Forecast, Verdict};
use super::series_key::Part;
use crate::event::PoolId;
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// Net growth in ports a second, with its confidence interval where that is known of all that grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Trend {
    rate: f64,
    slowest: f64,
    fastest: f64,
    /// One that grows has no interval.
    unbounded: bool,
}

impl Trend {
    fn add(&mut self, judged: &Judgement, room: f64) {
        self.rate += judged.rate_per_s;
        match judged.exhaustion_between_s {
            Some((earliest, latest)) if earliest > 0.0 => {
                self.fastest += room / earliest;
                self.slowest += room / latest;
            }
            _ => self.unbounded = true,
        }
    }
}

/// What grows, by pool (`None`) and destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Trends(FxHashMap<(PoolId, Option<SocketAddr>), Trend>);

impl Trends {
    /// How long this much room lasts.
    pub(super) fn forecast(&self, pool: PoolId, remote: Option<SocketAddr>, room: u64) -> Option<Forecast> {
        let trend = self.0.get(&(pool, remote)).filter(|trend| trend.rate > 0.0)?;
        let room = room as f64;
        let between_s = (!trend.unbounded).then(|| (room / trend.fastest, room / trend.slowest));
        Some(Forecast { exhaustion_in_s: room / trend.rate, between_s })
    }
}

impl Engine {
    /// What grows now: each owner's whole in its pool, its destinations each by itself.
    pub(super) fn trends(&self) -> Trends {
        let mut trends = Trends::default();
        for entry in self.series.iter().filter(|entry| entry.series.verdict() > Verdict::Clean) {
            let key = &entry.key;
            let towards = match key.part {
                Part::Whole => None,
                Part::Destination(Some(remote)) => Some(remote),
                Part::Destination(None) | Part::Program => continue,
            };
            let around = surroundings(&self.pools, key);
            let judgement = entry.series.judgement(self.judged, around);
            trends.0.entry((key.pool, towards)).or_default().add(&judgement, around.room() as f64);
        }
        trends
    }
}
