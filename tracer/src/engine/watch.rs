//! Which series there are, and the verdict on an owner drawn from its series.
//!
//! Every hold counts in two: its destination's, which can name it, and its owner's as a whole,
//! which sees a leak that is spread over many destinations.

use super::detector::{Judged, Second, Series, Surroundings, Thresholds};
use super::holds::Hold;
use super::owners::OwnerIx;
use super::report::{Evidence, Verdict};
use super::sites::{Sites, Tally};
use crate::event::{PoolId, SocketState};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// Series kept at once; a destination beyond counts in its owner's whole only.
const SERIES_MAX: usize = 16_384;

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) owner: OwnerIx,
    pub(super) pool: PoolId,
    pub(super) part: Part,
}

/// Which part of an owner's holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// Those to one destination, or to none.
    Destination(Option<SocketAddr>),
    /// All of them.
    Whole,
}

/// A series, and which call sites its holds are from.
#[derive(Clone, Debug, Default)]
struct Watched {
    series: Series,
    sites: Tally,
}

/// All series.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    series: FxHashMap<Key, Watched>,
    /// Destinations that found no room.
    pub(super) refused: u64,
}

impl Watch {
    /// A hold began to count for its destination (and for the whole, unless it only moved there).
    pub(super) fn acquire(&mut self, hold: &Hold, whole_too: bool) {
        self.each(hold, whole_too, true, |Watched { series, sites }| {
            series.acquire(hold.born);
            series.enter(hold.state, hold.state_since);
            sites.acquire(hold.site);
        });
    }

    /// A hold ended.
    pub(super) fn release(&mut self, hold: &Hold, lifetime_s: f64) {
        self.each(hold, true, false, |Watched { series, sites }| {
            series.exit(hold.state, hold.state_since);
            series.release(hold.born, lifetime_s);
            sites.release(hold.site);
        });
    }

    /// A hold no longer counts for its destination (nor for the whole, if it never was).
    pub(super) fn leave(&mut self, hold: &Hold, whole_too: bool) {
        self.each(hold, whole_too, false, |Watched { series, sites }| {
            series.exit(hold.state, hold.state_since);
            series.leave(hold.born);
            sites.release(hold.site);
        });
    }

    /// A hold goes from its state to `next`.
    pub(super) fn change(&mut self, hold: &Hold, next: SocketState, now: Second) {
        self.each(hold, true, false, |Watched { series, .. }| {
            series.exit(hold.state, hold.state_since);
            series.enter(next, now);
        });
    }

    /// A TIME_WAIT began or ended.
    pub(super) fn time_wait(
        &mut self,
        owner: OwnerIx,
        pool: PoolId,
        remote: Option<SocketAddr>,
        change: i64,
    ) {
        let key = Key { owner, pool, part: Part::Destination(remote) };
        if let Some(watched) = self.series.get_mut(&key) {
            watched.series.time_wait(change);
        }
    }

    fn each(&mut self, hold: &Hold, whole_too: bool, create: bool, mut f: impl FnMut(&mut Watched)) {
        let key = Key { owner: hold.owner, pool: hold.pool, part: Part::Destination(hold.remote) };
        let room = self.series.len() < SERIES_MAX;
        match self.series.get_mut(&key) {
            Some(watched) => f(watched),
            None if create && room => f(self.series.entry(key).or_default()),
            None if create => self.refused += 1,
            None => {}
        }
        if !whole_too {
            return;
        }
        let key = Key { part: Part::Whole, ..key };
        if create {
            f(self.series.entry(key).or_default());
        } else if let Some(watched) = self.series.get_mut(&key) {
            f(watched);
        }
    }

    /// Lets a second go by in every series; gives what is thought of each that is not clean.
    pub(super) fn tick(
        &mut self,
        now: Second,
        thresholds: &Thresholds,
        mut around: impl FnMut(&Key) -> Surroundings,
    ) -> FxHashMap<OwnerIx, Vec<(Key, Judged)>> {
        let mut found: FxHashMap<OwnerIx, Vec<_>> = FxHashMap::default();
        self.series.retain(|key, Watched { series, .. }| {
            let judged = series.tick(now, around(key), thresholds);
            if judged.verdict > Verdict::Clean {
                found.entry(key.owner).or_default().push((*key, judged));
            }
            !series.is_idle()
        });
        found
    }

    /// What is thought right now, between ticks, of an owner's series.
    pub(super) fn of(
        &self,
        owner: OwnerIx,
        mut around: impl FnMut(&Key) -> Surroundings,
    ) -> Vec<(Key, Judged)> {
        let own = self.series.iter().filter(|(key, _)| key.owner == owner);
        own.map(|(key, watched)| (*key, watched.series.judged(around(key))))
            .filter(|(_, judged)| judged.verdict > Verdict::Clean)
            .collect()
    }

    /// The verdict on an owner and its evidence: the gravest of its series. A destination that
    /// explains the whole is told instead of it.
    pub(super) fn conclude(
        &self,
        found: &[(Key, Judged)],
        sites: &Sites,
        start_ns: u64,
    ) -> (Verdict, Vec<Evidence>) {
        let verdict = found.iter().map(|(_, judged)| judged.verdict).max().unwrap_or_default();
        let mut gravest: Vec<_> =
            found.iter().filter(|(_, judged)| judged.verdict == verdict).copied().collect();
        let named: Vec<PoolId> =
            gravest.iter().filter(|(key, _)| key.part != Part::Whole).map(|(key, _)| key.pool).collect();
        gravest.retain(|(key, _)| key.part != Part::Whole || !named.contains(&key.pool));
        for (key, judged) in &mut gravest {
            if let (Part::Whole, Some(part)) = (key.part, dominant(found, key, judged)) {
                (*key, *judged) = part;
            }
        }
        gravest.sort_by_key(|(key, judged)| (std::cmp::Reverse(judged.held), *key));
        let site = |key: &Key| sites.share(&self.series.get(key)?.sites);
        let one =
            |(key, judged): &(Key, Judged)| Evidence { site: site(key), ..evidence(key, judged, start_ns) };
        (verdict, gravest.iter().map(one).collect())
    }
}

/// The share of an owner's holds from which on one destination stands for the whole.
const DOMINANT_SHARE: f64 = 0.8;

/// The destination that has most of what an owner holds in a pool.
fn dominant(found: &[(Key, Judged)], whole: &Key, judged: &Judged) -> Option<(Key, Judged)> {
    let parts = found.iter().filter(|(key, part)| {
        key.pool == whole.pool
            && key.part != Part::Whole
            && part.held as f64 >= DOMINANT_SHARE * judged.held as f64
    });
    parts
        .copied()
        .max_by_key(|(_, part)| part.held)
        .map(|(key, part)| (key, Judged { kind: judged.kind, ..part }))
}

fn evidence(key: &Key, judged: &Judged, start_ns: u64) -> Evidence {
    Evidence {
        kind: judged.kind,
        protocol: key.pool.protocol,
        since_ns: start_ns + u64::from(judged.since) * 1_000_000_000,
        held: judged.held,
        rate_per_s: judged.rate_per_s,
        released_share: judged.released_share,
        exhaustion_in_s: judged.exhaustion_in_s,
        remote: match key.part {
            Part::Destination(remote) => remote,
            Part::Whole => None,
        },
        site: None,
    }
}
