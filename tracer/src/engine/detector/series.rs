//! One series: what is remembered of the holds of one owner, protocol and destination.

use super::Second;
use super::ages::Ages;
use super::rules;
use super::tail::Tail;
use super::thresholds::{GROWING_CALM, HEALED_SHARE, SYN_SENT_AGE, Thresholds};
use crate::engine::report::{LeakKind, Verdict};
use crate::event::SocketState;
use std::collections::VecDeque;

/// How much is forgotten each second: a memory of one hour.
const FORGET_PER_S: f64 = 1.0 - 1.0 / 3_600.0;
/// How many recent seconds of acquisitions and releases are kept.
const RECENT_SECONDS: usize = 64;

/// Acquisitions and releases of one second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    pub(super) acquired: u32,
    pub(super) released: u32,
}

/// Holds that reached an age and whether that goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Survivors {
    /// Holds by age; the old ones are the survivors.
    pub(super) ages: Ages,
    /// Seconds in which holds crossed the age, with how many: the recent ones.
    pub(super) crossings: VecDeque<(Second, u64)>,
    /// Sum of survivors over seconds, with forgetting: socket-seconds.
    pub(super) exposure_s: f64,
    /// Survivors that ended after all, with forgetting.
    pub(super) released: f64,
    /// All that crossed, with forgetting.
    pub(super) crossed: f64,
    /// Since when growth has gone on without a pause.
    pub(super) growing_since: Option<Second>,
}

/// What lies around a series and limits it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Surroundings {
    /// Ports that the pool can hand out.
    pub(in crate::engine) usable: u64,
    /// Ports used towards the series' destination, or of the pool.
    pub(in crate::engine) used: u64,
}

/// A verdict on one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) struct Judged {
    pub(in crate::engine) verdict: Verdict,
    pub(in crate::engine) kind: LeakKind,
    pub(in crate::engine) since: Second,
    pub(in crate::engine) held: u64,
    pub(in crate::engine) rate_per_s: f64,
    pub(in crate::engine) released_share: f64,
    pub(in crate::engine) exhaustion_in_s: Option<f64>,
}

/// One series.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Series {
    /// First tier: survivors of an age drawn from completed lifetimes.
    pub(super) first: Survivors,
    /// Second tier: survivors of a long age, for slow leaks.
    pub(super) slow: Survivors,
    /// Holds in CLOSE_WAIT by the time they entered it, for the two ages that matter.
    pub(super) close_wait: [Ages; 2],
    pub(super) syn_sent: Ages,
    pub(super) completed: Tail,
    pub(super) recent: VecDeque<Flow>,
    pub(super) pre_existing: u64,
    pub(super) bound: u64,
    pub(super) time_wait: u64,
    /// When the present growth began, and what was acquired and released since.
    pub(super) run: Option<Run>,
    verdict: Verdict,
    kind: Option<LeakKind>,
    /// When the verdict last left clean.
    raised: Second,
    held_worst: u64,
    calm_since: Option<Second>,
}

/// A stretch of growth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) since: Second,
    pub(super) acquired: u64,
    pub(super) released: u64,
    last_growth: Second,
}

impl Series {
    /// A hold began at `born`, or before tracing (`None`).
    pub(in crate::engine) fn acquire(&mut self, born: Option<Second>) {
        let Some(born) = born else {
            self.pre_existing += 1;
            return;
        };
        self.first.ages.insert(born);
        self.slow.ages.insert(born);
        self.flow().acquired += 1;
        if let Some(run) = &mut self.run {
            run.acquired += 1;
        }
    }

    /// A hold ended after `lifetime_s`.
    pub(in crate::engine) fn release(&mut self, born: Option<Second>, lifetime_s: f64) {
        self.leave(born);
        self.flow().released += 1;
        if let Some(run) = &mut self.run {
            run.released += 1;
        }
        if born.is_some() {
            self.completed.record(lifetime_s);
        }
    }

    /// A hold left for another series, or never was.
    pub(in crate::engine) fn leave(&mut self, born: Option<Second>) {
        let Some(born) = born else {
            self.pre_existing = self.pre_existing.saturating_sub(1);
            return;
        };
        for tier in [&mut self.first, &mut self.slow] {
            if tier.ages.remove(born) {
                tier.released += 1.0;
            }
        }
    }

    /// A hold is in `state` since `since`.
    pub(in crate::engine) fn enter(&mut self, state: SocketState, since: Second) {
        match state {
            SocketState::Bound => self.bound += 1,
            SocketState::SynSent => self.syn_sent.insert(since),
            SocketState::CloseWait => self.close_wait.iter_mut().for_each(|ages| ages.insert(since)),
            SocketState::Listen | SocketState::Connected | SocketState::Closing => {}
        }
    }

    /// A hold that was in `state` since `since` left it.
    pub(in crate::engine) fn exit(&mut self, state: SocketState, since: Second) {
        match state {
            SocketState::Bound => self.bound = self.bound.saturating_sub(1),
            SocketState::SynSent => _ = self.syn_sent.remove(since),
            SocketState::CloseWait => self.close_wait.iter_mut().for_each(|ages| _ = ages.remove(since)),
            SocketState::Listen | SocketState::Connected | SocketState::Closing => {}
        }
    }

    /// A TIME_WAIT began (`1`) or ended (`-1`).
    pub(in crate::engine) fn time_wait(&mut self, change: i64) {
        self.time_wait = self.time_wait.saturating_add_signed(change);
    }

    /// Ports held now.
    pub(in crate::engine) fn held(&self) -> u64 {
        self.first.ages.total() + self.pre_existing
    }

    /// Whether nothing is left to watch.
    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.held() == 0
            && self.time_wait == 0
            && self.verdict == Verdict::Clean
            && self.recent.iter().all(|flow| flow.acquired == 0 && flow.released == 0)
    }

    fn flow(&mut self) -> &mut Flow {
        if self.recent.is_empty() {
            self.recent.push_back(Flow::default());
        }
        let last = self.recent.len() - 1;
        &mut self.recent[last]
    }

    /// A second has gone by, `now` begins: ages, forgets, and judges.
    pub(in crate::engine) fn tick(&mut self, now: Second, around: Surroundings, t: &Thresholds) -> Judged {
        self.age(now, t);
        self.follow_growth(now);
        let found = rules::judge(self, now, around, t);
        self.settle(now, found, t);
        let judged = self.judged(around);
        self.recent.push_back(Flow::default());
        if self.recent.len() > RECENT_SECONDS {
            self.recent.pop_front();
        }
        judged
    }

    fn age(&mut self, now: Second, t: &Thresholds) {
        let survivor_age = self.survivor_age(t);
        let slow_age = t.slow_age.max(2 * survivor_age);
        self.first.age(now, survivor_age);
        self.slow.age(now, slow_age);
        self.close_wait[0].cross(now.saturating_sub(t.close_wait_age));
        self.close_wait[1].cross(now.saturating_sub(t.close_wait_leak_age));
        self.syn_sent.cross(now.saturating_sub(SYN_SENT_AGE));
        self.completed.forget(FORGET_PER_S);
    }

    /// From which age on a hold is older than nearly all that were released.
    pub(super) fn survivor_age(&self, t: &Thresholds) -> u32 {
        if self.completed.total() < t.releases_known {
            return t.survivor_age_unknown;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped on the next line"
        )]
        let age = (t.survivor_age_factor * self.completed.p99_s()).ceil() as u32;
        age.clamp(t.survivor_age_min, t.survivor_age_max)
    }

    /// Keeps the stretch of growth: it begins with growth and ends when there was none for a while.
    fn follow_growth(&mut self, now: Second) {
        let grows =
            rules::grows(self) || self.first.growing_since.is_some() || self.slow.growing_since.is_some();
        match &mut self.run {
            Some(run) if grows => run.last_growth = now,
            Some(run) if now > run.last_growth + GROWING_CALM => self.run = None,
            Some(_) => {}
            None if grows => self.run = Some(self.begin_run(now)),
            None => {}
        }
    }

    /// Growth is noticed after some seconds; it began with the first of them that grew.
    fn begin_run(&self, now: Second) -> Run {
        let lately = self.recent.iter().rev().take(rules::growth_span(self) as usize);
        let grew = lately.clone().zip(1..).filter(|(flow, _)| flow.acquired > flow.released);
        let began = now.saturating_sub(grew.map(|(_, seconds_ago)| seconds_ago).max().unwrap_or_default());
        let since = self.first.growing_since.map_or(began, |since| since.min(began));
        let flows = self.recent.iter().rev().take((now - since) as usize);
        let (acquired, released) =
            flows.fold((0, 0), |(a, r), flow| (a + u64::from(flow.acquired), r + u64::from(flow.released)));
        Run { since, acquired, released, last_growth: now }
    }

    /// Takes over what the rules found: up at once, down only when it has healed or calmed.
    fn settle(&mut self, now: Second, found: Option<(Verdict, LeakKind)>, t: &Thresholds) {
        let (level, kind) = found.unwrap_or((Verdict::Clean, self.kind.unwrap_or(LeakKind::Total)));
        if level >= self.verdict {
            if self.verdict == Verdict::Clean {
                self.raised = now;
            }
            self.verdict = level;
            self.kind = Some(kind);
            self.calm_since = None;
            self.held_worst = self.held_worst.max(self.held());
            return;
        }
        let calm = now - *self.calm_since.get_or_insert(now);
        let healed = self.held() as f64 <= HEALED_SHARE * self.held_worst as f64;
        let (next, after) = match self.verdict {
            Verdict::Leak if !healed => (Verdict::Suspected, 4 * t.calm_span),
            Verdict::Leak | Verdict::Suspected => (level, t.calm_span),
            _ => (level, GROWING_CALM),
        };
        if calm >= after {
            self.verdict = next;
            self.kind = Some(kind);
            self.calm_since = None;
            self.held_worst = self.held();
        }
    }

    /// The verdict with its numbers as they are now.
    pub(in crate::engine) fn judged(&self, around: Surroundings) -> Judged {
        let kind = self.kind.unwrap_or(LeakKind::Total);
        let rate_per_s = rules::rate_per_s(self);
        let (acquired, released) = self.run.map_or((0, 0), |run| (run.acquired, run.released));
        let room = around.usable.saturating_sub(around.used) as f64;
        Judged {
            verdict: self.verdict,
            kind,
            since: self.run.map_or(self.raised, |run| run.since),
            held: match kind {
                LeakKind::CloseWait => self.close_wait[0].total(),
                LeakKind::SynSent => self.syn_sent.total(),
                LeakKind::Churn => self.time_wait,
                _ => self.held(),
            },
            rate_per_s,
            released_share: if acquired == 0 { 0.0 } else { (released as f64 / acquired as f64).min(1.0) },
            exhaustion_in_s: (rate_per_s > 0.0).then(|| room / rate_per_s),
        }
    }
}

impl Survivors {
    fn age(&mut self, now: Second, age: u32) {
        let crossed = self.ages.cross((now + 1).saturating_sub(age));
        if crossed > 0 {
            self.crossings.push_back((now, crossed));
        }
        while self.crossings.len() > RECENT_SECONDS {
            self.crossings.pop_front();
        }
        self.exposure_s = self.exposure_s * FORGET_PER_S + self.ages.old() as f64;
        self.released *= FORGET_PER_S;
        self.crossed = self.crossed * FORGET_PER_S + crossed as f64;
        if rules::keeps_crossing(self, now) {
            let first = self.crossings.front().map_or(now, |&(second, _)| second);
            self.growing_since.get_or_insert(first.saturating_sub(age));
        } else {
            self.growing_since = None;
        }
    }
}
