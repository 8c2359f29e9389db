//! The present, bounded and sorted: what a live view, metrics and a report show.
//!
//! Making it looks at every owner and pool once; who holds what since when is left out, because that
//! would look at every hold. A copy costs as much as a counter.

use super::history::{Resolution, Subject};
use super::owners::{OwnerIx, OwnerState};
use super::report::{Evidence, LifetimeReport, Owner, PoolReport, ProtocolReport, Verdict};
use super::{Engine, SECOND_NS};
use crate::event::Protocol;
use std::cmp::Reverse;
use std::sync::Arc;

/// Over how many seconds rates are measured.
const RATE_SPAN_S: u64 = 10;

/// How much a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewLimits {
    /// Owners.
    pub owners: usize,
    /// Pools; each lists its busiest destinations.
    pub pools: usize,
}

impl Default for ViewLimits {
    fn default() -> Self {
        Self { owners: 100, pools: 32 }
    }
}

/// Everything at one instant that is worth showing.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// When, on the source's clock.
    pub at_ns: u64,
    /// Events applied.
    pub events: u64,
    /// Events lost, all stages.
    pub lost: u64,
    /// Ports that all owners in scope hold.
    pub held: u64,
    /// Owners in scope that have or had ports; the view lists the first of them.
    pub owners_total: usize,
    /// Owners whose counts are in remainders.
    pub folded: u64,
    /// The owners, gravest verdict first, then by ports held.
    pub owners: Arc<[OwnerView]>,
    /// The pools, most used first.
    pub pools: Arc<[PoolReport]>,
}

/// One owner.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnerView {
    /// Who.
    pub owner: Owner,
    /// Whether it has ended.
    pub ended: bool,
    /// TCP.
    pub tcp: ProtocolReport,
    /// UDP.
    pub udp: ProtocolReport,
    /// Ports acquired and released a second, over the last seconds; `None` where it has no history.
    pub rates_per_s: Option<(f64, f64)>,
    /// Completed lifetimes of both protocols.
    pub lifetime: LifetimeReport,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, with the call sites.
    pub evidence: Vec<Evidence>,
}

/// What comes first in a view comes last here.
type Rank = (Verdict, u64, u64, Reverse<OwnerIx>);

impl Engine {
    /// The present, as of `now_ns`.
    #[must_use]
    pub fn view(&self, now_ns: u64, limits: ViewLimits) -> View {
        let shown = |ix: OwnerIx, owner: &OwnerState| {
            (owner.has_ports() || owner.verdict > Verdict::Clean) && self.is_in_scope(ix)
        };
        let in_scope = self.owners.iter().filter(|(ix, owner)| shown(*ix, owner));
        let mut held = 0;
        let mut ranked: Vec<(Reverse<Rank>, OwnerIx)> = in_scope
            .map(|(ix, owner)| {
                held += owner.held();
                let acquired = owner.tcp.acquired() + owner.udp.acquired();
                (Reverse((owner.verdict, owner.held(), acquired, Reverse(ix))), ix)
            })
            .collect();
        let owners_total = ranked.len();
        if ranked.len() > limits.owners {
            ranked.select_nth_unstable(limits.owners);
            ranked.truncate(limits.owners);
        }
        ranked.sort_unstable();
        let one = |&(_, ix): &(_, OwnerIx)| Some(self.owner_view(ix, self.owners.get(ix)?, now_ns));
        View {
            at_ns: now_ns,
            events: self.events,
            lost: self.lost,
            held,
            owners_total,
            folded: self.owners.folded,
            owners: ranked.iter().filter_map(one).collect(),
            pools: self.pool_views(limits.pools),
        }
    }

    fn owner_view(&self, ix: OwnerIx, owner: &OwnerState, now_ns: u64) -> OwnerView {
        OwnerView {
            owner: owner.named(),
            ended: owner.ended,
            tcp: owner.tcp.report(Protocol::Tcp),
            udp: owner.udp.report(Protocol::Udp),
            rates_per_s: self.rates_per_s(owner, now_ns),
            lifetime: owner.lifetimes.report(),
            verdict: owner.verdict,
            evidence: self.evidence_now(ix, owner),
        }
    }

    /// Acquired and released a second, from the history of the last seconds.
    fn rates_per_s(&self, owner: &OwnerState, now_ns: u64) -> Option<(f64, f64)> {
        let points = self.history(&Subject::Owner(owner.id.clone()), Resolution::Second);
        let last = points.last()?.levels;
        let since_ns = now_ns.saturating_sub(RATE_SPAN_S * SECOND_NS);
        let before = points.iter().rev().find(|point| point.at_ns <= since_ns).or(points.first())?;
        let span_s = now_ns.saturating_sub(before.at_ns.max(since_ns)) as f64 / SECOND_NS as f64;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span_s.max(1.0);
        Some((rate(last.acquired, before.levels.acquired), rate(last.released, before.levels.released)))
    }

    fn pool_views(&self, most: usize) -> Arc<[PoolReport]> {
        let trends = self.trends();
        let mut pools: Vec<_> = self.pools.iter().map(|(&id, pool)| (Reverse(pool.used()), id)).collect();
        pools.sort_unstable();
        pools.truncate(most);
        let reports = pools.iter().filter_map(|&(_, id)| {
            Some(self.pools.get(&id)?.report(id, |remote, room| trends.forecast(id, remote, room)))
        });
        reports.collect()
    }
}
