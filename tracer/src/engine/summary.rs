//! Everything at one instant.

use super::owners::{OwnerIx, OwnerState};
use super::report::{Evidence, OwnerReport, Summary, Verdict};
use super::{Engine, SECOND_NS};
use crate::event::Protocol;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;

impl Engine {
    /// Everything as of `now_ns`.
    #[must_use]
    pub fn summary(&self, now_ns: u64) -> Summary {
        let oldest = self.oldest_holds();
        let in_scope = self.owners.iter().filter(|(ix, owner)| {
            (owner.has_ports() || owner.verdict > Verdict::Clean) && self.is_in_scope(*ix)
        });
        let mut owners: Vec<_> = in_scope
            .map(|(ix, owner)| self.report(ix, owner, oldest.get(&ix).map(|&ns| seconds(now_ns, ns))))
            .collect();
        owners.sort_by_cached_key(|owner| {
            (
                Reverse(owner.verdict),
                Reverse(owner.tcp.held + owner.udp.held),
                Reverse(owner.tcp.acquired + owner.udp.acquired),
                owner.owner.id.clone(),
            )
        });
        let trends = self.trends();
        let mut pools: Vec<_> = self
            .pools
            .iter()
            .map(|(&id, pool)| pool.report(id, |remote, room| trends.forecast(id, remote, room)))
            .collect();
        pools.sort_by_key(|pool| (Reverse(pool.used), pool.id));
        Summary {
            at_ns: now_ns,
            duration_s: seconds(now_ns, self.start_ns),
            events: self.events,
            lost: self.lost,
            corrections: self.corrections,
            evicted: self.evicted(),
            folded: self.owners.folded,
            owners,
            pools,
        }
    }

    /// What made room for others or found none, in all tables.
    fn evicted(&self) -> u64 {
        self.owners.evicted
            + self.series.evicted
            + self.sites.evicted
            + self.tree.evicted
            + self.time_waits.refused
            + self.pools_evicted
            + self.untracked
    }

    fn report(&self, ix: OwnerIx, owner: &OwnerState, oldest_held_s: Option<f64>) -> OwnerReport {
        OwnerReport {
            owner: owner.named(),
            tcp: owner.tcp.report(Protocol::Tcp),
            udp: owner.udp.report(Protocol::Udp),
            lifetime: owner.lifetimes.report(),
            oldest_held_s,
            verdict: owner.verdict,
            evidence: self.evidence_now(ix, owner),
        }
    }

    /// The evidence with the numbers of this instant; of an owner that has ended, those of its last.
    pub(super) fn evidence_now(&self, ix: OwnerIx, owner: &OwnerState) -> Vec<Evidence> {
        if owner.ended || owner.evidence.is_empty() {
            return owner.evidence.clone();
        }
        self.evaluate(ix).1
    }

    /// When each owner acquired the oldest port that it still holds, of those seen.
    fn oldest_holds(&self) -> FxHashMap<OwnerIx, u64> {
        let mut oldest: FxHashMap<OwnerIx, u64> = FxHashMap::default();
        for hold in self.holds.values().filter(|hold| hold.born.is_some()) {
            let Some(owner) = self.owners.charged(hold.owner) else {
                continue;
            };
            let first = oldest.entry(owner).or_insert(hold.acquired_ns);
            *first = hold.acquired_ns.min(*first);
        }
        oldest
    }
}

fn seconds(now_ns: u64, then_ns: u64) -> f64 {
    now_ns.saturating_sub(then_ns) as f64 / SECOND_NS as f64
}
