//! Meaning: events in, verdicts out. Pure: no clock, no I/O, and it cannot fail.
//!
//! Time comes in with [`Engine::apply`] and [`Engine::advance`]. Owners are judged at each whole
//! second, after all events of the seconds before it, so the result does not depend on how events
//! are batched.

mod config;
mod counts;
pub mod detector;
mod early_warning;
mod evidence;
mod exhaustion;
mod forecast;
mod holds;
mod lifetimes;
mod owners;
mod ownership;
mod pools;
mod process_tree;
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

use crate::event::{
    Acquired, Event, EventKind, Frame, HoldId, OwnerId, PoolId, PortRange, ProcessFacts, ProcessId, Protocol,
    SiteId, SocketState, TimeWaitFound, Totals,
};
pub use config::{Config, Profile};
use detector::policy::{LifetimePolicy, Policy};
use detector::{Second, Thresholds};
use holds::{Hold, Holds, TimeWaits};
use owners::{OwnerIx, Owners};
use pools::{Pool, is_per_destination};
use process_tree::ProcessTree;
use report::{Finding, Progress, Verdict};
use rustc_hash::FxHashMap;
use series_index::{SERIES_MAX, SeriesIndex};
use series_key::Membership;
use sites::Sites;
use std::net::SocketAddr;
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;
/// Events of different CPUs may come this late.
const REORDER_NS: u64 = 10_000_000;
/// After a gap (a suspended machine) at most this many seconds are ticked.
const CATCH_UP_MAX: u32 = 3_600;

/// The engine.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    thresholds: Thresholds,
    start_ns: u64,
    /// Seconds that have been judged.
    judged: Second,
    holds: Holds,
    time_waits: TimeWaits,
    /// Releases that arrived before their acquisition (CPUs are only roughly ordered), and when.
    early_releases: FxHashMap<HoldId, u64>,
    owners: Owners,
    pools: FxHashMap<PoolId, Pool>,
    series: SeriesIndex,
    sites: Sites,
    tree: ProcessTree,
    findings: Vec<Finding>,
    /// Holds whose idle time the source is asked for.
    idle_queries: Vec<HoldId>,
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
        Self::with_policy(config, now_ns, Box::new(policy))
    }

    /// An engine that judges series by another policy.
    #[must_use]
    pub fn with_policy(config: Config, now_ns: u64, policy: Box<dyn Policy>) -> Self {
        Self {
            thresholds: config.effective_thresholds(),
            tree: ProcessTree::new(config.scope.descendants_of),
            config,
            start_ns: now_ns,
            judged: 0,
            holds: Holds::default(),
            time_waits: TimeWaits::default(),
            early_releases: FxHashMap::default(),
            owners: Owners::default(),
            pools: FxHashMap::default(),
            series: SeriesIndex::new(policy, SERIES_MAX),
            sites: Sites::default(),
            findings: Vec::new(),
            idle_queries: Vec::new(),
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
            EventKind::Site { id, frames } => self.set_site(at_ns, *id, frames),
            EventKind::Acquired(acquired) | EventKind::Confirmed(acquired) => self.acquire(at_ns, acquired),
            EventKind::PortLearnt { hold, port } => self.set_port(at_ns, *hold, *port),
            EventKind::State { hold, state, remote } => self.change(at_ns, *hold, *state, *remote),
            EventKind::Released { hold } if self.holds.contains_key(hold) => self.release(*hold, at_ns),
            EventKind::Released { hold } => _ = self.early_releases.insert(*hold, at_ns),
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
            EventKind::Totals { owner, protocol, totals } => self.total(owner, *protocol, *totals),
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

    fn total(&mut self, owner: &OwnerId, protocol: Protocol, totals: Totals) {
        let ix = self.owners.enter(owner);
        if let Some(owner) = self.owners.get_mut(ix)
            && self.config.scope.takes_all_of(&owner.id, owner.facts.as_ref())
        {
            owner.counts(protocol).set_totals(totals);
        }
    }

    fn second(&self, at_ns: u64) -> Second {
        Second::try_from(at_ns.saturating_sub(self.start_ns) / SECOND_NS).unwrap_or(Second::MAX)
    }

    fn name(&mut self, id: ProcessId, facts: &ProcessFacts) {
        self.tree.named(id, facts);
        self.owners.name(id, facts.clone());
    }

    fn set_site(&mut self, at_ns: u64, id: SiteId, frames: &Arc<[Frame]>) {
        let now = self.second(at_ns);
        if self.sites.wants_sweep(now) {
            let used = self.holds.values().filter_map(|hold| hold.site).collect();
            self.sites.sweep(now, &used);
        }
        self.sites.set(id, frames);
    }

    /// The process's ports will go with it; its verdict stays.
    fn exit(&mut self, id: ProcessId) {
        let Some(ix) = self.owners.find(&OwnerId::Process(id)) else {
            return;
        };
        let (verdict, evidence) = self.evaluate(ix);
        if let Some(owner) = self.owners.get_mut(ix) {
            if verdict > Verdict::Clean && verdict == owner.verdict.min(Verdict::Leak) {
                owner.evidence = evidence;
            }
            owner.ended = true;
        }
    }

    fn acquire(&mut self, at_ns: u64, acquired: &Acquired) {
        if !self.config.scope.takes(acquired.pool) {
            return;
        }
        if let Some(hold) = self.holds.get_mut(&acquired.hold) {
            hold.confirmed = self.resync; // Known: repeated after a loss, or late.
            return;
        }
        let owner = self.owners.enter(&acquired.owner);
        let second = self.second(at_ns);
        let mut hold = Hold {
            acquired_ns: at_ns,
            remote: acquired.remote,
            owner,
            origin: owner,
            pool: acquired.pool,
            state_since: second,
            born: (!acquired.pre_existing).then_some(second),
            confirmed: self.resync,
            port: acquired.port,
            state: acquired.state,
            site: acquired.site,
            series: Membership::default(),
        };
        let pool = self.pools.entry(acquired.pool).or_default();
        if let Some(range) = acquired.range {
            pool.set_range(range);
        }
        if let Some(port) = hold.port {
            pool.occupy_port(port);
        }
        if let (true, Some(remote)) = (is_per_destination(hold.pool.protocol), hold.remote) {
            pool.towards(remote, 1);
        }
        let in_scope = self.is_in_scope(owner);
        let mut program = None;
        if let Some(owner) = self.owners.get_mut(owner) {
            program = owner.program.filter(|_| in_scope);
            owner.ended = false;
            let counts = owner.counts(hold.pool.protocol);
            counts.acquire(acquired.pre_existing);
            counts.state(hold.state, 1);
        }
        self.acquired += u64::from(!acquired.pre_existing);
        self.series.acquire(&mut hold, program);
        self.holds.insert(acquired.hold, hold);
        if let Some(ended_ns) = self.early_releases.remove(&acquired.hold)
            && (at_ns..=at_ns + REORDER_NS).contains(&ended_ns)
        {
            self.release(acquired.hold, ended_ns);
        }
    }

    /// Only a port that the kernel chooses for a connect or a listen is known only after it was acquired.
    fn set_port(&mut self, at_ns: u64, id: HoldId, port: u16) {
        if let Some(hold) = self.holds.get_mut(&id)
            && hold.port.is_none()
        {
            hold.port = Some(port);
            let hold = *hold;
            self.pools.entry(hold.pool).or_default().occupy_port(port);
            self.check_half_used(at_ns, &hold, port);
        }
    }

    fn change(&mut self, at_ns: u64, id: HoldId, state: SocketState, remote: Option<SocketAddr>) {
        let now = self.second(at_ns);
        let Some(hold) = self.holds.get_mut(&id) else {
            return;
        };
        let before = *hold;
        hold.state = state;
        hold.state_since = now;
        // Going back to bound ends a connection; any other change without a destination keeps it.
        if remote.is_some() || state == SocketState::Bound {
            hold.remote = remote;
        }
        self.series.change(&before, hold);
        let after = *hold;
        if let Some(owner) = self.owners.get_mut(after.owner) {
            let counts = owner.counts(after.pool.protocol);
            counts.state(before.state, -1);
            counts.state(after.state, 1);
        }
        if before.remote != after.remote && is_per_destination(after.pool.protocol) {
            let pool = self.pools.entry(after.pool).or_default();
            before.remote.into_iter().for_each(|remote| pool.towards(remote, -1));
            after.remote.into_iter().for_each(|remote| pool.towards(remote, 1));
        }
    }

    fn release(&mut self, id: HoldId, at_ns: u64) {
        if let Some(hold) = self.vacate(id) {
            let lifetime_ns = at_ns.saturating_sub(hold.acquired_ns);
            self.series.release(&hold, lifetime_ns as f64 / SECOND_NS as f64);
            if let Some(owner) = self.owners.get_mut(hold.owner) {
                owner.counts(hold.pool.protocol).release();
                if hold.born.is_some() {
                    owner.lifetimes.record(lifetime_ns);
                }
            }
        }
    }

    /// Removes a hold from the tables; the caller counts its end.
    fn vacate(&mut self, id: HoldId) -> Option<Hold> {
        let hold = self.holds.remove(&id)?;
        let pool = self.pools.entry(hold.pool).or_default();
        hold.port.into_iter().for_each(|port| pool.free_port(port));
        if is_per_destination(hold.pool.protocol) {
            hold.remote.into_iter().for_each(|remote| pool.towards(remote, -1));
        }
        if let Some(owner) = self.owners.get_mut(hold.owner) {
            owner.counts(hold.pool.protocol).state(hold.state, -1);
        }
        Some(hold)
    }

    fn begin_time_wait(&mut self, id: HoldId, at_ns: u64) {
        let hold = self.holds.get(&id);
        if let Some(found) = hold.and_then(|_| self.time_waits.disown(id)) {
            self.count_time_wait(&found, -1);
        }
        if let Some(began) = self.time_waits.begin(id, self.holds.get(&id), at_ns) {
            self.count_time_wait(&began, 1);
        }
    }

    fn find_time_wait(&mut self, found: &TimeWaitFound) {
        if !self.config.scope.takes(found.pool) {
            return;
        }
        let nobody = self.owners.enter(&OwnerId::Unowned);
        if let Some(found) = self.time_waits.find(found, nobody) {
            self.count_time_wait(&found, 1);
        }
    }

    fn end_time_wait(&mut self, id: HoldId, at_ns: u64) {
        if let Some(ended) = self.time_waits.end(id, at_ns) {
            self.count_time_wait(&ended, -1);
        }
    }

    fn count_time_wait(&mut self, time_wait: &holds::TimeWait, change: i64) {
        let pool = self.pools.entry(time_wait.pool).or_default();
        pool.time_wait(change);
        time_wait.remote.into_iter().for_each(|remote| pool.towards(remote, change));
        if let Some(owner) = self.owners.get_mut(time_wait.owner) {
            owner.counts(time_wait.pool.protocol).time_wait(change);
        }
        self.series.time_wait(time_wait.owner, time_wait.pool, time_wait.remote, change);
    }

    fn end_resync(&mut self, at_ns: u64) {
        let Some(began_ns) = self.resync_began_ns.take() else {
            return;
        };
        let gone = |hold: &Hold| hold.confirmed != self.resync && hold.acquired_ns < began_ns;
        let gone: Vec<_> = self.holds.iter().filter(|(_, hold)| gone(hold)).map(|(&id, _)| id).collect();
        for id in gone {
            self.release(id, at_ns);
        }
    }

    fn is_in_scope(&self, ix: OwnerIx) -> bool {
        self.owners
            .get(ix)
            .is_some_and(|owner| self.config.scope.includes(&owner.id, owner.facts.as_ref(), &self.tree))
    }
}
