//! The hold table, and the TIME_WAITs that holds leave behind.

use super::detector::Second;
use super::owners::OwnerIx;
use super::series_key::Membership;
use crate::event::{HoldId, PoolId, SiteId, SocketState, TimeWaitFound};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How long an ended TIME_WAIT is remembered: the kernel ends and starts its timer to re-arm it.
const REARM_NS: u64 = 1_000_000_000;
/// No TIME_WAIT lives longer (60 s, FIN_WAIT2 as set); one that does had its end lost.
const TIME_WAIT_MAX_NS: u64 = 600_000_000_000;
/// The kernel's timers may be late by an eighth of their time (kernel/time/timer.c).
const TIMER_LATE_NS: u64 = 8_000_000_000;

/// One hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) acquired_ns: u64,
    pub(super) remote: Option<SocketAddr>,
    pub(super) owner: OwnerIx,
    /// Who acquired it.
    pub(super) origin: OwnerIx,
    pub(super) pool: PoolId,
    /// Second in which it entered its state.
    pub(super) state_since: Second,
    /// Second in which it was acquired; `None` if that was before tracing.
    pub(super) born: Option<Second>,
    /// The resync that last confirmed it.
    pub(super) confirmed: u32,
    pub(super) port: Option<u16>,
    pub(super) state: SocketState,
    pub(super) site: Option<SiteId>,
    /// The series that it counts in.
    pub(super) series: Membership,
}

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

/// All holds.
pub(super) type Holds = FxHashMap<HoldId, Hold>;

/// All TIME_WAITs, and for a moment those that ended.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeWaits {
    live: FxHashMap<HoldId, TimeWait>,
    ended: VecDeque<(u64, HoldId)>,
}

impl TimeWaits {
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
        self.live.insert(id, new);
        Some(new)
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
        self.live.insert(found.hold, new);
        Some(new)
    }

    /// Takes out one that was found, because its hold turns out to be known: it began between the
    /// first record and the look.
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

    /// Those whose end must have been lost.
    pub(super) fn overdue(&self, now_ns: u64) -> Vec<HoldId> {
        let overdue = |known: &TimeWait| !known.ended && known.overdue_ns < now_ns;
        self.live.iter().filter(|(_, known)| overdue(known)).map(|(&id, _)| id).collect()
    }
}
