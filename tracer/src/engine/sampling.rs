//! Samples the holds behind a suspicion: whose they are, from which call site, and which of them to
//! query for their idle time.

use super::Engine;
use super::detector::Program;
use super::detector::features::Window;
use super::holds::Hold;
use super::owners::OwnerIx;
use super::series_key::SeriesIx;
use super::sites::Tally;
use crate::event::{HoldId, SiteId};
use rustc_hash::FxHashMap;

/// Idle queries kept until the source takes them.
const IDLE_QUERIES_MAX: usize = 16_384;

/// What a sample showed of the holds that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// How many processes they are of, and how many of them are the busiest one's.
    pub(super) processes: usize,
    most: u64,
    holds: u64,
    /// The call site that has most of them.
    pub(super) site: Option<SiteId>,
    /// When the oldest of them was acquired.
    pub(super) oldest_ns: u64,
}

impl Sample {
    /// Whether it is the program that leaks and not one of its processes.
    pub(super) fn is_spread(&self, t: &Program) -> bool {
        self.processes >= t.processes_min && self.most as f64 <= t.busiest_share * self.holds as f64
    }
}

/// A sample in the making.
#[derive(Debug, Default)]
struct SampleBuilder {
    by_owner: FxHashMap<OwnerIx, u64>,
    sites: Tally,
    holds: u64,
    oldest_ns: Option<u64>,
    /// Holds to query: the first in shuffled order, so that the order of iteration does not matter.
    queries: Vec<(u64, HoldId)>,
}

impl SampleBuilder {
    fn add(&mut self, id: HoldId, hold: &Hold, window: &Window, size: usize) {
        self.holds += 1;
        *self.by_owner.entry(hold.origin).or_default() += 1;
        self.sites.acquire(hold.site);
        self.oldest_ns = Some(self.oldest_ns.map_or(hold.acquired_ns, |ns| ns.min(hold.acquired_ns)));
        if !window.asks(hold.state) {
            return;
        }
        let rank = (shuffled(id), id);
        let at = self.queries.partition_point(|other| *other < rank);
        if at < size {
            self.queries.insert(at, rank);
            self.queries.truncate(size);
        }
    }

    fn build(&self) -> Option<Sample> {
        Some(Sample {
            processes: self.by_owner.len(),
            most: self.by_owner.values().copied().max()?,
            holds: self.holds,
            site: self.sites.dominant(),
            oldest_ns: self.oldest_ns?,
        })
    }
}

/// An order of holds that has nothing to do with when they began (splitmix64).
fn shuffled(id: HoldId) -> u64 {
    let mixed = (id.0 ^ (id.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Engine {
    /// Samples the holds of some series that were born in a window, and queries a few for their idle
    /// time. One pass over all holds, at most once a second.
    pub(super) fn sample(&mut self, series: &[(SeriesIx, Window)]) {
        if series.is_empty() {
            return;
        }
        let wanted: FxHashMap<SeriesIx, Window> = series.iter().copied().collect();
        let mut builders: FxHashMap<SeriesIx, SampleBuilder> = FxHashMap::default();
        for (&id, hold) in &self.holds {
            let Some(born) = hold.born else {
                continue;
            };
            for ix in hold.series.iter() {
                if let Some(window) = wanted.get(&ix)
                    && window.includes(born, hold.state, hold.state_since)
                {
                    builders.entry(ix).or_default().add(id, hold, window, self.thresholds.idle.sample);
                }
            }
        }
        if self.idle_queries.len() > IDLE_QUERIES_MAX {
            self.idle_queries.clear(); // The source does not take them.
        }
        for (ix, builder) in builders {
            self.idle_queries.extend(builder.queries.iter().map(|&(_, id)| id));
            if let Some(entry) = self.series.get_mut(ix) {
                entry.sample = builder.build();
            }
        }
    }

    /// The holds whose idle time would decide a verdict, sorted. The source answers with
    /// [`EventKind::Idle`](crate::event::EventKind::Idle) where it can.
    pub fn take_idle_queries(&mut self) -> Vec<HoldId> {
        let mut queries = std::mem::take(&mut self.idle_queries);
        queries.sort_unstable();
        queries.dedup();
        queries
    }

    /// The source's answer to an idle query.
    pub(super) fn apply_idle_time(&mut self, at_ns: u64, id: HoldId, idle_ns: u64) {
        if let Some(hold) = self.holds.get(&id) {
            let age_ns = at_ns.saturating_sub(hold.acquired_ns);
            let seconds = |ns: u64| ns as f64 / super::SECOND_NS as f64;
            self.series.record_idle(hold, seconds(age_ns), seconds(idle_ns));
        }
    }
}
