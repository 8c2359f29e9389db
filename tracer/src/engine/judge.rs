//! Judging: each second what the series show, and at once what a failure shows.

use super::detector::{Judged, Second, Surroundings};
use super::holds::Hold;
use super::owners::OwnerIx;
use super::pools::{Pool, is_per_destination};
use super::report::{Evidence, Finding, Owner, Verdict};
use super::series_index::{Key, Part, SeriesIx};
use super::{Engine, SECOND_NS};
use crate::event::{Failed, PoolId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::SocketAddr;

/// How many holders a failure lists.
const TOP_HOLDERS: usize = 5;
/// How often TIME_WAITs are looked through for lost ends, in seconds.
const OVERDUE_EVERY: u32 = 10;

impl Engine {
    pub(super) fn tick(&mut self, now: Second) {
        let now_ns = self.start_ns + u64::from(now) * SECOND_NS;
        self.time_waits.purge(now_ns);
        self.early.retain(|_, ended_ns| *ended_ns + SECOND_NS > now_ns);
        if now.is_multiple_of(OVERDUE_EVERY) {
            for id in self.time_waits.overdue(now_ns) {
                self.end_time_wait(id, now_ns);
            }
        }
        self.acquired_before = [self.acquired_before[1], self.acquired];
        let pools = &self.pools;
        let ticked = self.series.tick(now, &self.thresholds, |key| surroundings(pools, key));
        self.look(&ticked.queries);
        let mut found = ticked.found;
        let known: FxHashSet<OwnerIx> = self
            .owners
            .iter()
            .filter(|(_, owner)| owner.verdict > Verdict::Clean || owner.exhausted)
            .map(|(ix, _)| ix)
            .collect();
        let mut concerned: Vec<_> = known.into_iter().chain(found.keys().copied()).collect();
        concerned.sort_unstable();
        concerned.dedup();
        for ix in concerned {
            self.conclude(ix, found.remove(&ix).unwrap_or_default(), now_ns);
        }
    }

    /// Draws the verdict on an owner and tells it if it changed.
    fn conclude(&mut self, ix: OwnerIx, found: Vec<(SeriesIx, Judged)>, now_ns: u64) {
        let (verdict, evidence) = self.drawn(&found);
        let Some(owner) = self.owners.get(ix) else {
            return;
        };
        let verdict = if owner.exhausted { Verdict::Exhausted } else { verdict };
        // It ended while it leaked: that is what is to be said of it. Growth is kept as it was then
        // until it is forgotten.
        if owner.ended && verdict <= owner.verdict && (owner.verdict.fails() || verdict == owner.verdict) {
            return;
        }
        self.settle(ix, verdict, evidence, now_ns);
    }

    /// Keeps a verdict, and tells it if it is another than before.
    fn settle(&mut self, ix: OwnerIx, verdict: Verdict, evidence: Vec<Evidence>, at_ns: u64) {
        let in_scope = self.is_in_scope(ix);
        let Some(owner) = self.owners.get_mut(ix) else {
            return;
        };
        let previous = std::mem::replace(&mut owner.verdict, verdict);
        owner.evidence = evidence;
        if previous != verdict && in_scope {
            self.findings.push(Finding::Verdict {
                at_ns,
                owner: owner.named(),
                previous,
                verdict,
                held: owner.held(),
                evidence: owner.evidence.clone(),
            });
        }
    }

    /// What is to be thought of an owner at this instant, by the levels of the last second.
    pub(super) fn weigh(&self, ix: OwnerIx) -> (Verdict, Vec<Evidence>) {
        self.drawn(&self.series.of(ix, self.judged, |key| surroundings(&self.pools, key)))
    }

    pub(super) fn fail(&mut self, at_ns: u64, failed: &Failed) {
        if !self.config.scope.takes(failed.pool) {
            return;
        }
        let ix = self.owners.enter(&failed.owner);
        if let Some(hold) = failed.retracts.and_then(|id| self.vacate(id)) {
            self.series.leave(&hold);
            if let Some(owner) = self.owners.get_mut(hold.owner) {
                owner.counts(hold.pool.protocol).retract();
            }
        }
        let now = self.second(at_ns);
        let Some(owner) = self.owners.get_mut(ix) else {
            return;
        };
        owner.counts(failed.pool.protocol).fail(failed.code);
        owner.exhausted = true;
        let victim = owner.named();
        let told = owner.failure_told.replace(now) == Some(now);
        if told || !self.is_in_scope(ix) {
            return;
        }
        let top_holders = self.top_holders(failed.pool, failed.remote);
        self.findings.push(Finding::Exhausted {
            at_ns,
            owner: victim,
            pool: failed.pool,
            code: failed.code,
            local: failed.local,
            remote: failed.remote,
            top_holders,
        });
        let (_, evidence) = self.weigh(ix);
        self.settle(ix, Verdict::Exhausted, evidence, at_ns);
    }

    /// A pool has no free port left: the next allocation may fail.
    pub(super) fn run_low(&mut self, at_ns: u64, pool: PoolId) {
        if !self.config.scope.takes(pool) {
            return;
        }
        let now = self.second(at_ns);
        if let Some(count) = self.pools.entry(pool).or_default().run_low(now) {
            let top_holders = self.top_holders(pool, None);
            self.findings.push(Finding::Scarce { at_ns, pool, count, top_holders });
        }
    }

    /// Who holds most of a pool, towards a destination if there is one. A look at every hold, but
    /// at most once a second for each victim.
    fn top_holders(&self, pool: PoolId, remote: Option<SocketAddr>) -> Vec<(Owner, u64)> {
        let mut held: FxHashMap<OwnerIx, u64> = FxHashMap::default();
        let towards = remote.filter(|_| is_per_destination(pool.protocol));
        let counts = |hold: &&Hold| {
            hold.pool == pool && (towards.is_none() || hold.remote == towards || hold.remote.is_none())
        };
        for hold in self.holds.values().filter(counts) {
            *held.entry(hold.owner).or_default() += 1;
        }
        let mut top: Vec<_> = held.into_iter().collect();
        top.sort_by_key(|&(ix, count)| (std::cmp::Reverse(count), ix));
        top.truncate(TOP_HOLDERS);
        top.into_iter().filter_map(|(ix, count)| Some((self.owners.get(ix)?.named(), count))).collect()
    }
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
