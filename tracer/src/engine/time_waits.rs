//! The TIME_WAITs that holds leave behind.

use super::Engine;
use super::holds::Hold;
use super::owners::{Change, OwnerIx};
use super::series_key::SeriesIx;
use crate::event::{HoldId, OwnerId, PoolId, TimeWaitFound};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
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
    /// The series of its owner and destination.
    series: Option<SeriesIx>,
    /// When its end must have been lost.
    overdue_ns: u64,
    /// From before tracing: whose it is is not known.
    found: bool,
}

/// All TIME_WAITs, and for a moment those that ended.
#[derive(Clone, Debug)]
pub(super) struct TimeWaits {
    live: FxHashMap<HoldId, TimeWait>,
    /// How many of the live ones are from before tracing.
    live_found: usize,
    ended: FxHashMap<HoldId, TimeWait>,
    /// Ends in order of time.
    ends: VecDeque<(u64, HoldId)>,
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
            live_found: 0,
            ended: FxHashMap::default(),
            ends: VecDeque::new(),
            next_overdue_ns: u64::MAX,
            max,
            refused: 0,
        }
    }

    /// A TIME_WAIT began: of `hold`, or re-armed. `None` when it is nobody's we know.
    pub(super) fn begin(&mut self, id: HoldId, hold: Option<&Hold>, at_ns: u64) -> Option<TimeWait> {
        let overdue_ns = at_ns + TIME_WAIT_MAX_NS;
        if let Some(ended) = self.ended.remove(&id) {
            let again = TimeWait { overdue_ns, ..ended };
            self.live_found += usize::from(again.found);
            self.live.insert(id, again);
            return Some(again);
        }
        let is_full = self.is_full();
        match self.live.entry(id) {
            Entry::Occupied(mut known) => {
                known.get_mut().overdue_ns = overdue_ns;
                None
            }
            Entry::Vacant(place) => {
                let hold = hold?;
                if is_full {
                    self.refused += 1;
                    return None;
                }
                self.next_overdue_ns = self.next_overdue_ns.min(overdue_ns);
                let series = hold.series.destination;
                let (owner, pool, remote) = (hold.owner, hold.pool, hold.remote);
                Some(*place.insert(TimeWait { owner, pool, remote, series, overdue_ns, found: false }))
            }
        }
    }

    /// A TIME_WAIT of before tracing, charged to `owner`. `None` when it is known.
    pub(super) fn find(
        &mut self,
        found: &TimeWaitFound,
        owner: OwnerIx,
        series: Option<SeriesIx>,
    ) -> Option<TimeWait> {
        if self.live.contains_key(&found.hold) || self.ended.contains_key(&found.hold) {
            return None;
        }
        if self.is_full() {
            self.refused += 1;
            return None;
        }
        let overdue_ns = found.ends_ns.saturating_add(TIMER_LATE_NS);
        let (pool, remote) = (found.pool, found.remote);
        let new = TimeWait { owner, pool, remote, series, overdue_ns, found: true };
        self.next_overdue_ns = self.next_overdue_ns.min(overdue_ns);
        self.live_found += 1;
        self.live.insert(found.hold, new);
        Some(new)
    }

    fn is_full(&self) -> bool {
        self.live.len() + self.ended.len() >= self.max
    }

    /// Removes one that was found, because its hold turns out to be known: it began between the
    /// first record and the snapshot.
    pub(super) fn disown(&mut self, id: HoldId) -> Option<TimeWait> {
        if self.live_found == 0 {
            return None;
        }
        self.live.get(&id).filter(|known| known.found)?;
        self.live_found -= 1;
        self.live.remove(&id)
    }

    /// A TIME_WAIT ended.
    pub(super) fn end(&mut self, id: HoldId, at_ns: u64) -> Option<TimeWait> {
        let known = self.live.remove(&id)?;
        self.live_found -= usize::from(known.found);
        self.ended.insert(id, known);
        self.ends.push_back((at_ns, id));
        Some(known)
    }

    /// Forgets those that ended and were not re-armed.
    pub(super) fn purge(&mut self, now_ns: u64) {
        while let Some(&(at_ns, id)) = self.ends.front()
            && at_ns + REARM_NS < now_ns
        {
            self.ends.pop_front();
            self.ended.remove(&id);
        }
    }

    /// Those whose end must have been lost. All are scanned only when one can be overdue: most end
    /// long before, so that is once in some minutes.
    pub(super) fn overdue(&mut self, now_ns: u64) -> Vec<HoldId> {
        if now_ns <= self.next_overdue_ns {
            return Vec::new();
        }
        let overdue = |known: &TimeWait| known.overdue_ns < now_ns;
        let found = self.live.iter().filter(|(_, known)| overdue(known)).map(|(&id, _)| id).collect();
        let rest = self.live.iter().filter(|(_, known)| !overdue(known)).map(|(_, known)| known.overdue_ns);
        self.next_overdue_ns = rest.min().unwrap_or(u64::MAX);
        found
    }
}

impl Engine {
    pub(super) fn begin_time_wait(&mut self, id: HoldId, at_ns: u64) {
        let hold = self.holds.get(&id).copied();
        if let Some(found) = hold.and_then(|_| self.time_waits.disown(id)) {
            self.count_time_wait(&found, -1);
        }
        if let Some(began) = self.time_waits.begin(id, hold.as_ref(), at_ns) {
            self.count_time_wait(&began, 1);
        }
    }

    pub(super) fn find_time_wait(&mut self, found: &TimeWaitFound) {
        if !self.config.scope.takes(found.pool) {
            return;
        }
        let nobody = self.enter_owner(&OwnerId::Unowned);
        let series = self.series.of_destination(nobody, found.pool, found.remote);
        if let Some(found) = self.time_waits.find(found, nobody, series) {
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
        time_wait.series.into_iter().for_each(|ix| self.series.time_wait(ix, change.into()));
    }
}
