//! Meaning: events in, verdicts out. Pure: no clock, no I/O, and it cannot fail.
//!
//! Time comes in with [`Engine::apply`] and [`Engine::advance`]. Owners are judged at each whole
//! second, after all events of the seconds before it, so the result does not depend on how events
//! are batched.

mod config;
pub mod detector;
mod early_releases;
mod early_warning;
mod evidence;
mod exhaustion;
mod forecast;
pub mod history;
mod holds;
mod lifecycle;
pub mod limits;
mod owners;
mod ownership;
mod pools;
mod process_tree;
mod recency;
pub mod report;
mod sampling;
pub mod scope;
mod series_index;
mod series_key;
mod sites;
mod slot_set;
mod summary;
#[cfg(test)]
mod tests;
mod tick;
mod time_waits;
pub mod view;

use crate::event::{
    Event, EventKind, HoldId, NetNs, OwnerId, PoolId, PortRange, ProcessFacts, ProcessId, Protocol, Totals,
};
pub use config::{Config, Profile};
use detector::policy::{LifetimePolicy, Policy};
use detector::{Second, Thresholds};
use early_releases::EarlyReleases;
use exhaustion::TopHolders;
use history::History;
use holds::Holds;
use limits::Limits;
use owners::{OwnerIx, OwnerTable};
use pools::Pool;
use process_tree::ProcessTree;
use report::{Finding, Progress, Verdict};
use rustc_hash::{FxHashMap, FxHashSet};
use series_index::SeriesIndex;
use sites::Sites;
use time_waits::TimeWaits;

const SECOND_NS: u64 = 1_000_000_000;
/// Events of different CPUs may come this late.
const REORDER_NS: u64 = 10_000_000;
/// After a gap (a suspended machine) at most this many seconds are ticked.
const CATCH_UP_MAX: u32 = 3_600;

/// The engine.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    limits: Limits,
    thresholds: Thresholds,
    start_ns: u64,
    /// Seconds that have been judged.
    judged: Second,
    holds: Holds,
    time_waits: TimeWaits,
    early_releases: EarlyReleases,
    owners: OwnerTable,
    pools: FxHashMap<PoolId, Pool>,
    series: SeriesIndex,
    sites: Sites,
    history: History,
    tree: ProcessTree,
    findings: Vec<Finding>,
    /// Holds whose idle time the source is asked for.
    idle_queries: Vec<HoldId>,
    /// Owners whose verdict the next tick may lower.
    unsettled: FxHashSet<OwnerIx>,
    /// Who holds most, as found in this second.
    top_holders: TopHolders,
    /// Holds that found no room, and pools that made some.
    untracked: u64,
    pools_evicted: u64,
    events: u64,
    lost: u64,
    corrections: u64,
    /// Number of the last resync, and when it began; done when `resync_began_ns` is `None`.
    resync: u32,
    resync_began_ns: Option<u64>,
    /// Ports acquired up to the last two judged seconds, for the progress line.
    acquired: u64,
    acquired_before: [u64; 2],
}

impl Engine {
    /// An engine that begins at `now_ns` on the source's clock.
    #[must_use]
    pub fn new(config: Config, now_ns: u64) -> Self {
        let policy = LifetimePolicy::new(config.effective_thresholds());
        Self::build(config, Limits::default(), now_ns, Box::new(policy))
    }

    /// An engine that judges series by another policy.
    #[must_use]
    pub fn with_policy(config: Config, now_ns: u64, policy: Box<dyn Policy>) -> Self {
        Self::build(config, Limits::default(), now_ns, policy)
    }

    /// An engine with other limits than the usual ones.
    #[must_use]
    pub fn with_limits(config: Config, limits: Limits, now_ns: u64) -> Self {
        let policy = LifetimePolicy::new(config.effective_thresholds());
        Self::build(config, limits, now_ns, Box::new(policy))
    }

    fn build(config: Config, limits: Limits, now_ns: u64, policy: Box<dyn Policy>) -> Self {
        Self {
            thresholds: config.effective_thresholds(),
            tree: ProcessTree::new(config.scope.descendants_of, limits.tree),
            config,
            limits,
            start_ns: now_ns,
            judged: 0,
            holds: Holds::default(),
            time_waits: TimeWaits::new(limits.time_waits),
            early_releases: EarlyReleases::new(limits.early_releases),
            owners: OwnerTable::new(limits),
            pools: FxHashMap::default(),
            series: SeriesIndex::new(policy, limits.series),
            sites: Sites::new(limits.sites),
            history: History::default(),
            findings: Vec::new(),
            idle_queries: Vec::new(),
            unsettled: FxHashSet::default(),
            top_holders: TopHolders::default(),
            untracked: 0,
            pools_evicted: 0,
            events: 0,
            lost: 0,
            corrections: 0,
            resync: 0,
            resync_began_ns: None,
            acquired: 0,
            acquired_before: [0; 2],
        }
    }

    /// Applies one event.
    pub fn apply(&mut self, event: &Event) {
        self.advance(event.at_ns);
        self.events += 1;
        let at_ns = event.at_ns;
        match &event.kind {
            EventKind::Process { id, facts } => self.name(*id, facts),
            EventKind::Forked { parent, child } => self.tree.forked(*parent, *child),
            EventKind::Descendant { id } => self.tree.marked(*id),
            EventKind::Exited { id } => self.exit(*id),
            EventKind::Site { id, frames } => self.sites.set(*id, frames),
            EventKind::Acquired(acquired) | EventKind::Confirmed(acquired) => self.acquire(at_ns, acquired),
            EventKind::PortLearnt { hold, port } => self.set_port(at_ns, *hold, *port),
            EventKind::State { hold, state, remote } => self.change(at_ns, *hold, *state, *remote),
            EventKind::Released { hold } if self.holds.contains_key(hold) => self.release(*hold, at_ns),
            EventKind::Released { hold } => self.early_releases.insert(*hold, at_ns),
            EventKind::TimeWaitBegan { hold } => self.begin_time_wait(*hold, at_ns),
            EventKind::TimeWaitEnded { hold } => self.end_time_wait(*hold, at_ns),
            EventKind::TimeWaitFound(found) => self.find_time_wait(found),
            EventKind::Moved { hold, owner } => self.transfer(*hold, owner),
            EventKind::Idle { hold, idle_ns } => self.apply_idle_time(at_ns, *hold, *idle_ns),
            EventKind::Corrected { count } => {
                self.corrections += count;
                self.findings.push(Finding::Corrected { at_ns, count: *count });
            }
            EventKind::Failed(failed) => self.fail(at_ns, failed),
            EventKind::Scarce { pool } => self.mark_scarce(at_ns, *pool),
            EventKind::Pool { pool, range } => self.set_range(*pool, *range),
            EventKind::Totals { owner, protocol, totals, netns } => {
                self.set_totals(owner, *protocol, *totals, *netns);
            }
            EventKind::Lost { count, stage } => {
                self.lost += count;
                self.findings.push(Finding::Lost { at_ns, count: *count, stage: *stage });
            }
            EventKind::ResyncBegan => {
                self.resync += 1;
                self.resync_began_ns = Some(at_ns);
            }
            EventKind::ResyncEnded => self.end_resync(at_ns),
        }
    }

    /// Advances the time: one tick for each whole second that has passed.
    pub fn advance(&mut self, now_ns: u64) {
        let elapsed = now_ns.saturating_sub(self.start_ns + REORDER_NS) / SECOND_NS;
        let seconds = Second::try_from(elapsed).unwrap_or(Second::MAX);
        if seconds <= self.judged {
            return;
        }
        if seconds - self.judged > CATCH_UP_MAX {
            self.judged = seconds - CATCH_UP_MAX;
        }
        while self.judged < seconds {
            self.judged += 1;
            self.tick(self.judged);
        }
    }

    /// The findings since the last call, oldest first.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// The progress line.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let in_scope = |ix: &OwnerIx| self.is_in_scope(*ix);
        let held = self.owners.iter().filter(|(ix, _)| in_scope(ix)).map(|(_, owner)| owner.held()).sum();
        let [earlier, later] = self.acquired_before;
        Progress { held, acquired_per_s: (later - earlier) as f64, lost: self.lost }
    }

    fn set_range(&mut self, pool: PoolId, range: PortRange) {
        if self.config.scope.takes(pool) {
            self.pools.entry(pool).or_default().set_range(range);
        }
    }

    /// The owner with this identity. Makes room before it enters, so that it is not the one to go.
    fn enter_owner(&mut self, id: &OwnerId) -> OwnerIx {
        if let Some(ix) = self.owners.find(id).filter(|&ix| self.owners.get(ix).is_some()) {
            self.owners.touch(ix);
            return ix;
        }
        self.make_room(1);
        self.owners.enter(id)
    }

    /// Folds owners until there is room for so many.
    fn make_room(&mut self, room: usize) {
        while let Some(ix) = self.owners.surplus(room) {
            self.owners.fold(ix, self.is_in_scope(ix));
        }
    }

    /// The kernel's totals of an owner; one that is folded stays so.
    fn set_totals(&mut self, id: &OwnerId, protocol: Protocol, totals: Totals, netns: Option<NetNs>) {
        let known = self.owners.find(id);
        let facts = known.and_then(|ix| self.owners.get(ix)).and_then(|owner| owner.facts.as_deref());
        if self.config.scope.takes_all_of(id, netns, facts) {
            let ix = known.unwrap_or_else(|| self.enter_owner(id));
            self.owners.set_totals(ix, protocol, totals);
        }
    }

    fn second(&self, at_ns: u64) -> Second {
        Second::try_from(at_ns.saturating_sub(self.start_ns) / SECOND_NS).unwrap_or(Second::MAX)
    }

    fn name(&mut self, id: ProcessId, facts: &ProcessFacts) {
        self.tree.named(id, facts);
        let owner = OwnerId::Process(id);
        if self.owners.find(&owner).is_none() {
            self.make_room(1);
        }
        self.owners.name(&owner, facts);
    }

    /// The process's ports will go with it; its verdict stays.
    fn exit(&mut self, id: ProcessId) {
        self.tree.exited(id);
        let Some(ix) = self.owners.find(&OwnerId::Process(id)) else {
            return;
        };
        let (verdict, evidence) = self.evaluate(ix);
        if let Some(owner) = self.owners.get_mut(ix)
            && verdict > Verdict::Clean
            && verdict == owner.verdict.min(Verdict::Leak)
        {
            owner.evidence = evidence;
        }
        self.owners.end(ix);
        self.make_room(0);
    }

    fn is_in_scope(&self, ix: OwnerIx) -> bool {
        self.owners
            .get(ix)
            .is_some_and(|owner| self.config.scope.includes(&owner.id, owner.facts.as_deref(), &self.tree))
    }
}
