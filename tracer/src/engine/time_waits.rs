//! The TIME_WAITs that holds leave behind.

use super::Engine;
use super::holds::Hold;
use super::owners::{Change, OwnerIx};
use crate::event::{HoldId, OwnerId, PoolId, TimeWaitFound};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How long an ended TIME_WAIT is remembered: the kernel ends and starts its timer to re-arm it.
const REARM_NS: u64 = 1_000_000_000;
/// No TIME_WAIT lives longer (60 s, FIN_WAIT2 as set); one that does had its end lost.
const TIME_WAIT_MAX_NS: u64 = 600_000_000_000;
/// The kernel's timers may be late by an eighth of their time (kernel/time/timer.c).
const TIMER_LATE_NS: u64 = 8_000_000_000;

/// A TIME_WAIT and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeWait {
    pub(super) owner: OwnerIx,
    pub(super) pool: PoolId,
    pub(super) remote: Option<SocketAddr>,
    /// When its end must have been lost.
    overdue_ns: u64,
    /// From before tracing: whose it is is not known.
    found: bool,
    ended: bool,
}

/// All TIME_WAITs, and for a moment those that ended.
#[derive(Clone, Debug)]
pub(super) struct TimeWaits {
    live: FxHashMap<HoldId, TimeWait>,
    ended: VecDeque<(u64, HoldId)>,
    /// No end is overdue before this instant.
    next_overdue_ns: u64,
    max: usize,
    /// Those that found no room.
    pub(super) refused: u64,
}

impl TimeWaits {
    /// A table of at most `max`.
    pub(super) fn new(max: usize) -> Self {
        Self {
            live: FxHashMap::default(),
            ended: VecDeque::new(),
            next_overdue_ns: u64::MAX,
            max,
            refused: 0,
        }
    }

    /// A TIME_WAIT began: of `hold`, or re-armed. `None` when it is nobody's we know.
    pub(super) fn begin(&mut self, id: HoldId, hold: Option<&Hold>, at_ns: u64) -> Option<TimeWait> {
        if let Some(known) = self.live.get_mut(&id) {
            let again = known.ended;
            known.ended = false;
            known.overdue_ns = at_ns + TIME_WAIT_MAX_NS;
            return again.then_some(*known);
        }
        let hold = hold?;
        let new = TimeWait {
            owner: hold.owner,
            pool: hold.pool,
            remote: hold.remote,
            overdue_ns: at_ns + TIME_WAIT_MAX_NS,
            found: false,
            ended: false,
        };
        self.insert(id, new)
    }

    /// A TIME_WAIT of before tracing, charged to `owner`. `None` when it is known.
    pub(super) fn find(&mut self, found: &TimeWaitFound, owner: OwnerIx) -> Option<TimeWait> {
        if self.live.contains_key(&found.hold) {
            return None;
        }
        let new = TimeWait {
            owner,
            pool: found.pool,
            remote: found.remote,
            overdue_ns: found.ends_ns.saturating_add(TIMER_LATE_NS),
            found: true,
            ended: false,
        };
        self.insert(found.hold, new)
    }

    fn insert(&mut self, id: HoldId, new: TimeWait) -> Option<TimeWait> {
        if self.live.len() >= self.max {
            self.refused += 1;
            return None;
        }
        self.next_overdue_ns = self.next_overdue_ns.min(new.overdue_ns);
        self.live.insert(id, new);
        Some(new)
    }

    /// Removes one that was found, because its hold turns out to be known: it began between the
    /// first record and the snapshot.
    pub(super) fn disown(&mut self, id: HoldId) -> Option<TimeWait> {
        self.live.get(&id).filter(|known| known.found && !known.ended)?;
        self.live.remove(&id)
    }

    /// A TIME_WAIT ended.
    pub(super) fn end(&mut self, id: HoldId, at_ns: u64) -> Option<TimeWait> {
        let known = self.live.get_mut(&id).filter(|known| !known.ended)?;
        known.ended = true;
        self.ended.push_back((at_ns, id));
        Some(*known)
    }

    /// Forgets those that ended and were not re-armed.
    pub(super) fn purge(&mut self, now_ns: u64) {
        while let Some(&(at_ns, id)) = self.ended.front()
            && at_ns + REARM_NS < now_ns
        {
            self.ended.pop_front();
            if self.live.get(&id).is_some_and(|known| known.ended) {
                self.live.remove(&id);
            }
        }
    }

    /// Those whose end must have been lost. All are scanned only when one can be overdue: most end
    /// long before, so that is once in some minutes.
    pub(super) fn overdue(&mut self, now_ns: u64) -> Vec<HoldId> {
        if now_ns <= self.next_overdue_ns {
            return Vec::new();
        }
        let waiting = || self.live.iter().filter(|(_, known)| !known.ended);
        let overdue = |known: &TimeWait| known.overdue_ns < now_ns;
        let found = waiting().filter(|(_, known)| overdue(known)).map(|(&id, _)| id).collect();
        let rest = waiting().filter(|(_, known)| !overdue(known)).map(|(_, known)| known.overdue_ns);
        self.next_overdue_ns = rest.min().unwrap_or(u64::MAX);
        found
    }
}

impl Engine {
    pub(super) fn begin_time_wait(&mut self, id: HoldId, at_ns: u64) {
        let hold = self.holds.get(&id);
        if let Some(found) = hold.and_then(|_| self.time_waits.disown(id)) {
            self.count_time_wait(&found, -1);
        }
        if let Some(began) = self.time_waits.begin(id, self.holds.get(&id), at_ns) {
            self.count_time_wait(&began, 1);
        }
    }

    pub(super) fn find_time_wait(&mut self, found: &TimeWaitFound) {
        if !self.config.scope.takes(found.pool) {
            return;
        }
        let nobody = self.enter_owner(&OwnerId::Unowned);
        if let Some(found) = self.time_waits.find(found, nobody) {
            self.count_time_wait(&found, 1);
        }
    }

    pub(super) fn end_time_wait(&mut self, id: HoldId, at_ns: u64) {
        if let Some(ended) = self.time_waits.end(id, at_ns) {
            self.count_time_wait(&ended, -1);
        }
    }

    pub(super) fn count_time_wait(&mut self, time_wait: &TimeWait, change: i32) {
        let pool = self.pools.entry(time_wait.pool).or_default();
        pool.time_wait(change.into());
        time_wait.remote.into_iter().for_each(|remote| pool.towards(remote, change.into()));
        self.owners.charge(time_wait.owner, time_wait.pool.protocol, &Change::time_wait(change));
        self.series.time_wait(time_wait.owner, time_wait.pool, time_wait.remote, change.into());
    }
}
