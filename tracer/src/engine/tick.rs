//! The tick: each second, what the series show becomes the verdicts on their owners.

use super::detector::Second;
use super::detector::policy::Judgement;
use super::owners::{OwnerIx, OwnerState};
use super::pools;
use super::report::{Evidence, Finding, Verdict};
use super::series_key::SeriesIx;
use super::{Engine, SECOND_NS};

/// How often TIME_WAITs are checked for lost ends, in seconds.
const OVERDUE_EVERY: u32 = 10;

impl Engine {
    pub(super) fn tick(&mut self, now: Second) {
        let now_ns = self.start_ns + u64::from(now) * SECOND_NS;
        self.top_holders.clear();
        self.time_waits.purge(now_ns);
        self.early_releases.purge(now_ns);
        if now.is_multiple_of(OVERDUE_EVERY) {
            for id in self.time_waits.overdue(now_ns) {
                self.end_time_wait(id, now_ns);
            }
        }
        self.acquired_before = [self.acquired_before[1], self.acquired];
        let pools = &self.pools;
        let ticked = self.series.tick(now, |key| pools::surroundings(pools, key));
        self.sample(&ticked.queries);
        let mut found = ticked.found;
        let unsettled = std::mem::take(&mut self.unsettled);
        let mut concerned: Vec<_> = unsettled.into_iter().chain(found.keys().copied()).collect();
        concerned.sort_unstable();
        concerned.dedup();
        for ix in concerned {
            self.update_verdict(ix, found.remove(&ix).unwrap_or_default(), now_ns);
            if self.owners.get(ix).is_some_and(is_unsettled) {
                self.unsettled.insert(ix);
            }
        }
        self.drop_unused_pools();
        self.record_history(now);
    }

    /// Drops the pools that nothing uses, once there are too many: namespaces come and go.
    fn drop_unused_pools(&mut self) {
        let before = self.pools.len();
        if before > self.limits.pools {
            self.pools.retain(|_, pool| pool.used_towards(None) > 0);
            self.pools_evicted += (before - self.pools.len()) as u64;
        }
    }

    /// Combines what an owner's series show into its verdict, and emits it if it changed.
    fn update_verdict(&mut self, ix: OwnerIx, found: Vec<(SeriesIx, Judgement)>, now_ns: u64) {
        let (verdict, evidence) = self.combine(&found);
        let Some(owner) = self.owners.get(ix) else {
            return;
        };
        let verdict = if owner.exhausted { Verdict::Exhausted } else { verdict };
        // An owner that ended while it leaked keeps that verdict. Growth is kept as it was then,
        // until its series forget it.
        if owner.ended && verdict <= owner.verdict && (owner.verdict.fails() || verdict == owner.verdict) {
            return;
        }
        self.apply_verdict(ix, verdict, evidence, now_ns);
    }

    /// Sets an owner's verdict, and emits a finding if it changed.
    pub(super) fn apply_verdict(
        &mut self,
        ix: OwnerIx,
        verdict: Verdict,
        evidence: Vec<Evidence>,
        at_ns: u64,
    ) {
        let in_scope = self.is_in_scope(ix);
        let Some(owner) = self.owners.get_mut(ix) else {
            return;
        };
        let previous = std::mem::replace(&mut owner.verdict, verdict);
        owner.evidence = evidence;
        if is_unsettled(owner) {
            self.unsettled.insert(ix);
        }
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
        self.owners.touch(ix);
    }

    /// The verdict on an owner at this instant, from the state of its series after the last tick.
    pub(super) fn evaluate(&self, ix: OwnerIx) -> (Verdict, Vec<Evidence>) {
        self.combine(&self.series.of(ix, self.judged, |key| pools::surroundings(&self.pools, key)))
    }
}

/// Whether an owner's verdict can change without anything being found: it may go down. Of one that has
/// ended a failing verdict stays, and so does exhaustion.
fn is_unsettled(owner: &OwnerState) -> bool {
    let stays = owner.ended && owner.verdict.fails();
    let bare = owner.verdict == Verdict::Exhausted && owner.evidence.is_empty();
    owner.verdict > Verdict::Clean && !stays && !bare
}
