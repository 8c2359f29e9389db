//! Exhaustion: failed allocations, pools without a free port, and who holds most of a pool.

use super::Engine;
use super::holds::Hold;
use super::owners::OwnerIx;
use super::pools::is_per_destination;
use super::report::{Finding, Owner, Verdict};
use crate::event::{Failed, PoolId};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// How many holders a failure lists.
const TOP_HOLDERS: usize = 5;

impl Engine {
    /// An allocation failed for want of ports.
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
        let emitted = owner.failure_emitted.replace(now) == Some(now);
        if emitted || !self.is_in_scope(ix) {
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
        let (_, evidence) = self.evaluate(ix);
        self.apply_verdict(ix, Verdict::Exhausted, evidence, at_ns);
    }

    /// A pool has no free port left: the next allocation may fail.
    pub(super) fn mark_scarce(&mut self, at_ns: u64, pool: PoolId) {
        if !self.config.scope.takes(pool) {
            return;
        }
        let now = self.second(at_ns);
        if let Some(count) = self.pools.entry(pool).or_default().mark_scarce(now) {
            let top_holders = self.top_holders(pool, None);
            self.findings.push(Finding::Scarce { at_ns, pool, count, top_holders });
        }
    }

    /// Who holds most of a pool, towards a destination if there is one. A scan of all holds, at
    /// most once a second for each victim.
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
