//! Exhaustion: failed allocations, pools without a free port, and who holds most of a pool.

use super::Engine;
use super::holds::Hold;
use super::owners::{Change, OwnerIx};
use super::pools::is_per_destination;
use super::report::{Finding, Owner, Verdict};
use crate::event::{Failed, PoolId};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// How many holders a failure lists.
const TOP_HOLDERS: usize = 5;

/// The holders of most ports of pools and destinations, as found in this second.
#[derive(Debug, Default)]
pub(super) struct TopHolders(FxHashMap<Place, Vec<(Owner, u64)>>);

/// A pool, or a destination of it.
type Place = (PoolId, Option<SocketAddr>);

impl TopHolders {
    /// Forgets what was found: a second has passed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Engine {
    /// An allocation failed for want of ports.
    pub(super) fn fail(&mut self, at_ns: u64, failed: &Failed) {
        if !self.config.scope.takes(failed.pool) {
            return;
        }
        let ix = self.enter_owner(&failed.owner);
        if let Some(hold) = failed.retracts.and_then(|id| self.vacate(id)) {
            self.series.leave(&hold);
            self.owners.charge(hold.owner, hold.pool.protocol, &Change::retract(hold.state));
        }
        let now = self.second(at_ns);
        self.owners.charge(ix, failed.pool.protocol, &Change::fail(failed.code));
        let Some(owner) = self.owners.get_mut(ix) else {
            return;
        };
        owner.exhausted = true;
        self.unsettled.insert(ix);
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
    /// most once a second for each pool and destination: later victims see the same answer.
    fn top_holders(&mut self, pool: PoolId, remote: Option<SocketAddr>) -> Vec<(Owner, u64)> {
        let towards = remote.filter(|_| is_per_destination(pool.protocol));
        if let Some(known) = self.top_holders.0.get(&(pool, towards)) {
            return known.clone();
        }
        let mut held: FxHashMap<OwnerIx, u64> = FxHashMap::default();
        let counts = |hold: &&Hold| {
            hold.pool == pool && (towards.is_none() || hold.remote == towards || hold.remote.is_none())
        };
        for hold in self.holds.values().filter(counts) {
            *held.entry(hold.owner).or_default() += 1;
        }
        let mut charged: FxHashMap<OwnerIx, u64> = FxHashMap::default();
        for (ix, count) in held.into_iter().filter_map(|(ix, count)| Some((self.owners.charged(ix)?, count)))
        {
            *charged.entry(ix).or_default() += count;
        }
        let mut top: Vec<_> = charged.into_iter().collect();
        top.sort_by_key(|&(ix, count)| (std::cmp::Reverse(count), ix));
        let named = top.into_iter().filter_map(|(ix, count)| Some((self.owners.get(ix)?.named(), count)));
        let top: Vec<_> = named.take(TOP_HOLDERS).collect();
        self.top_holders.0.insert((pool, towards), top.clone());
        top
    }
}
