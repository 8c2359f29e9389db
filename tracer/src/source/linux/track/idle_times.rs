//! Answers the engine's queries: for how long holds have been idle.
//!
//! By a worker, for a namespace may have to be found and entered.

use super::{Context, Tracker};
use crate::event::{Event, EventKind, HoldId, Incomplete};
use crate::source::linux::system::IdleTime;
use crate::source::worker::{Limits, Outcome, Worker};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds: at least so long, and so many times as long as a round takes, so that it
/// stays below a percent of a core.
const PAUSE_NS: u64 = 1_000_000_000;
const REST_FACTOR: u64 = 99;
/// Queries kept for the next round.
const QUERIES_MAX: usize = 4_096;
const LIMITS: Limits = Limits { queue_max: 1, deadline_ns: 10_000_000_000 };

/// The queries, and the round that is under way.
#[derive(Debug)]
pub struct IdleTimes {
    queries: Vec<HoldId>,
    worker: Worker<(), (Vec<IdleTime>, Duration)>,
    rests_until_ns: u64,
    missed: u64,
}

impl Default for IdleTimes {
    fn default() -> Self {
        let worker = Worker::new("idle times", LIMITS);
        Self { queries: Vec::new(), worker, rests_until_ns: 0, missed: 0 }
    }
}

impl Tracker for IdleTimes {
    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(outcome) = self.worker.poll(cx.now_ns) {
            self.emit(outcome, cx);
        }
        // Those that there is no room for stay unanswered.
        let room = QUERIES_MAX.saturating_sub(self.queries.len());
        self.queries.extend(cx.requests.idle_queries.drain(..).take(room));
        if !self.queries.is_empty() && cx.now_ns >= self.rests_until_ns && !self.worker.is_busy() {
            self.begin(cx);
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "queries for idle times that were not answered in time".to_owned(),
            count: self.missed,
            remedy: "repeat the trace; `portleak doctor` shows what is slow here".to_owned(),
        })
    }
}

impl IdleTimes {
    fn begin(&mut self, cx: &mut Context<'_>) {
        let queries = std::mem::take(&mut self.queries).into_iter();
        let holds: Vec<_> = queries.filter_map(|id| Some((id, cx.ledger.hold(id.0)?))).collect();
        let source = Arc::clone(cx.queries);
        let job = move || {
            let began = Instant::now();
            (source.idle_times(holds), began.elapsed())
        };
        self.missed += u64::from(self.worker.submit((), job).is_err());
    }

    fn emit(&mut self, outcome: Outcome<(), (Vec<IdleTime>, Duration)>, cx: &mut Context<'_>) {
        let Outcome::Done((), (times, took)) = outcome else {
            self.missed += 1;
            self.rests_until_ns = cx.now_ns + PAUSE_NS;
            return;
        };
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.rests_until_ns = cx.now_ns.saturating_add(PAUSE_NS.max(took_ns.saturating_mul(REST_FACTOR)));
        for IdleTime { hold, at_ns, idle_ns } in times {
            cx.events.push(Event { at_ns, kind: EventKind::Idle { hold, idle_ns } });
        }
    }
}
