//! One series: what is remembered of the holds of one owner, protocol and destination.

use super::Second;
use super::age_histogram::AgeHistogram;
use super::flows::Flows;
use super::growth::Growth;
use super::idle_samples::{IdleSamples, Window};
use super::life_table::LifeTable;
use super::rules::{self, NORMAL_95, gamma};
use super::thresholds::{GROWING_CALM, HEALED_SHARE, Thresholds};
use crate::engine::report::{LeakKind, Verdict};
use crate::event::{Protocol, SocketState};

/// How long is remembered, in seconds: what is older counts for less and less.
const MEMORY_S: f64 = 3_600.0;
/// How often is forgotten and ages are merged, in seconds.
const CHORES_EVERY: u32 = 16;

/// What lies around a series and limits it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Surroundings {
    /// Ports that the pool can hand out.
    pub(in crate::engine) usable: u64,
    /// Ports used towards the series' destination, or of the pool; TIME_WAIT included.
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
    /// The forecast's earliest and latest, with 90 % confidence.
    pub(in crate::engine) exhaustion_between_s: Option<(f64, f64)>,
    /// The median life of those that ended.
    pub(in crate::engine) healthy_s: Option<f64>,
    /// Of how many that were looked at how many are abandoned.
    pub(in crate::engine) abandoned: Option<(u32, u32)>,
}

/// What a second brought.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Ticked {
    pub(in crate::engine) judged: Judged,
    /// Those born then are to be looked at: are they used?
    pub(in crate::engine) query: Option<Window>,
}

/// One series.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Series {
    /// Live holds whose birth was seen.
    pub(super) ages: AgeHistogram,
    /// At which age holds end.
    pub(super) life: LifeTable,
    pub(super) flows: Flows,
    /// Holds in a state by the time they entered it.
    pub(super) close_wait: AgeHistogram,
    pub(super) syn_sent: AgeHistogram,
    pub(super) bound_tcp: AgeHistogram,
    pub(super) pre_existing: u64,
    pub(super) bound: u64,
    pub(super) time_wait: u64,
    pub(super) idle: IdleSamples,
    /// Its first second.
    began: Option<Second>,
    verdict: Verdict,
    kind: Option<LeakKind>,
    /// When the verdict last left clean.
    raised: Second,
    /// The growth that showed the present verdict, latest look, and when it was seen to begin.
    growth: Option<(Growth, f64)>,
    held_worst: u64,
    calm_since: Option<Second>,
}

impl Series {
    /// A hold began at `born`, or before tracing (`None`).
    pub(in crate::engine) fn acquire(&mut self, born: Option<Second>) {
        match born {
            Some(born) => {
                self.ages.insert(born);
                self.flows.acquire();
            }
            None => self.pre_existing += 1,
        }
    }

    /// A hold ended after `lifetime_s`.
    pub(in crate::engine) fn release(&mut self, born: Option<Second>, lifetime_s: f64) {
        self.leave(born);
        if born.is_some() {
            self.life.died(lifetime_s);
        }
    }

    /// A hold left for another series, or never was: no life ended.
    pub(in crate::engine) fn leave(&mut self, born: Option<Second>) {
        self.flows.release();
        match born {
            Some(born) => self.ages.remove(born),
            None => self.pre_existing = self.pre_existing.saturating_sub(1),
        }
    }

    /// A hold is in `state` since `since`.
    pub(in crate::engine) fn enter(&mut self, protocol: Protocol, state: SocketState, since: Second) {
        if let Some(ages) = self.in_state(protocol, state) {
            ages.insert(since);
        }
        self.bound += u64::from(state == SocketState::Bound);
    }

    /// A hold that was in `state` since `since` left it.
    pub(in crate::engine) fn exit(&mut self, protocol: Protocol, state: SocketState, since: Second) {
        if let Some(ages) = self.in_state(protocol, state) {
            ages.remove(since);
        }
        self.bound = self.bound.saturating_sub(u64::from(state == SocketState::Bound));
    }

    /// The holds in a state that none should stay in; a UDP socket may be bound for ever.
    fn in_state(&mut self, protocol: Protocol, state: SocketState) -> Option<&mut AgeHistogram> {
        match state {
            SocketState::Bound if protocol == Protocol::Tcp => Some(&mut self.bound_tcp),
            SocketState::SynSent => Some(&mut self.syn_sent),
            SocketState::CloseWait => Some(&mut self.close_wait),
            SocketState::Bound | SocketState::Listen | SocketState::Connected | SocketState::Closing => None,
        }
    }

    /// A TIME_WAIT began (`1`) or ended (`-1`).
    pub(in crate::engine) fn time_wait(&mut self, change: i64) {
        self.time_wait = self.time_wait.saturating_add_signed(change);
    }

    /// Questions about the holds of a window go out.
    pub(in crate::engine) fn query_idle(&mut self, now: Second, window: Window) {
        self.idle.query(now, window);
    }

    /// The source says for how long nothing has moved on a hold.
    pub(in crate::engine) fn record_idle(&mut self, born: Second, age_s: f64, idle_s: f64) {
        self.idle.record(born, age_s, idle_s);
    }

    /// Ports held now.
    pub(in crate::engine) fn held(&self) -> u64 {
        self.ages.total() + self.pre_existing
    }

    /// Whether nothing is left to watch.
    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.held() == 0 && self.time_wait == 0 && self.verdict == Verdict::Clean && self.flows.is_still()
    }

    /// A second has gone by, `now` begins: ages, forgets, and judges.
    pub(in crate::engine) fn tick(&mut self, now: Second, around: Surroundings, t: &Thresholds) -> Ticked {
        self.age(now);
        let found = rules::judge(self, now, around, t);
        self.flows.follow(now, found.growth.is_some());
        if let Some(growth) = found.growth {
            let since = self.growth.map_or(growth.from, |(_, since)| since.min(growth.from));
            self.growth = Some((growth, since));
        }
        self.apply_verdict(now, found.level, t);
        let judged = self.judged(now, around);
        self.flows.next();
        Ticked { judged, query: found.query.filter(|&window| self.idle.is_due(now, window)) }
    }

    fn age(&mut self, now: Second) {
        self.began.get_or_insert(now.saturating_sub(1));
        self.life.lived(&self.ages, now);
        if now.is_multiple_of(CHORES_EVERY) {
            #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
            self.life.forget((-f64::from(CHORES_EVERY) / MEMORY_S).exp() as f32);
            for ages in [&mut self.ages, &mut self.close_wait, &mut self.syn_sent, &mut self.bound_tcp] {
                ages.merge(now);
            }
        }
    }

    /// About how many ended in the last `seconds`.
    pub(super) fn deaths_during(&self, now: Second, seconds: f64) -> f64 {
        let lasted_s = f64::from(now - self.began.unwrap_or(now)).max(1.0);
        // What is remembered of so long a time, in seconds of today.
        let remembered = |seconds: f64| MEMORY_S * -(-seconds / MEMORY_S).exp_m1();
        self.life.deaths() * remembered(seconds.min(lasted_s)) / remembered(lasted_s)
    }

    /// Takes over what the rules found: up at once, down only when it has healed or calmed.
    fn apply_verdict(&mut self, now: Second, found: Option<(Verdict, LeakKind)>, t: &Thresholds) {
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
            Verdict::Leak if !healed => (Verdict::Suspected, self.patience(4 * t.calm_span_s)),
            Verdict::Suspected if !healed => (level, self.patience(t.calm_span_s)),
            Verdict::Leak | Verdict::Suspected => (level, t.calm_span_s),
            _ => (level, GROWING_CALM),
        };
        if calm >= after {
            self.verdict = next;
            self.kind = Some(kind);
            self.calm_since = None;
            self.held_worst = self.held();
        }
        if self.verdict < Verdict::Suspected {
            self.growth = None;
        }
        if self.verdict == Verdict::Clean {
            self.idle.clear();
        }
    }

    /// What grew slowly is calm only after a long pause: half of the time it has grown.
    fn patience(&self, least: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the trace")]
        let half = self.growth.map_or(0, |(growth, _)| (0.5 * (growth.to - growth.from)) as u32);
        least.max(half.min(1_800))
    }

    /// The verdict with its numbers as they are now.
    pub(in crate::engine) fn judged(&self, now: Second, around: Surroundings) -> Judged {
        let kind = self.kind.unwrap_or(LeakKind::Total);
        let room = around.usable.saturating_sub(around.used) as f64;
        let flowing = self.flows.rate_per_s();
        let growth = self.growth.filter(|_| self.verdict >= Verdict::Suspected);
        let rate_per_s = growth.map_or(flowing, |(growth, _)| growth.rate_per_s());
        let between = growth.map(|(growth, _)| {
            let span = growth.to - growth.from;
            let (most, least) = (gamma(growth.count + 1.0, NORMAL_95), gamma(growth.count, -NORMAL_95));
            (room * span / most, room * span / least.max(0.1))
        });
        Judged {
            verdict: self.verdict,
            kind,
            since: self.since(growth),
            held: match kind {
                LeakKind::CloseWait => self.close_wait.total(),
                LeakKind::SynSent => self.syn_sent.total(),
                LeakKind::Churn => self.time_wait,
                _ => self.held(),
            },
            rate_per_s,
            released_share: self.released_share(now, growth),
            exhaustion_in_s: (rate_per_s > 0.0).then(|| room / rate_per_s),
            exhaustion_between_s: between,
            healthy_s: self.life.median_s(),
            abandoned: self.idle.seen(),
        }
    }

    fn since(&self, growth: Option<(Growth, f64)>) -> Second {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the trace")]
        let grown = growth.map(|(_, since)| since.max(0.0) as Second);
        let run = self.flows.run.map(|run| run.since);
        match (grown, run) {
            (Some(grown), Some(run)) => grown.min(run),
            (grown, run) => grown.or(run).unwrap_or(self.raised),
        }
    }

    /// Of the ports acquired since growth began, the share that was released.
    fn released_share(&self, now: Second, growth: Option<(Growth, f64)>) -> f64 {
        let share =
            |released: f64, acquired: f64| if acquired > 0.0 { (released / acquired).min(1.0) } else { 0.0 };
        match (self.flows.run, growth) {
            (_, Some((growth, since))) => {
                let ended = self.deaths_during(now, f64::from(now) - since);
                share(ended, ended + growth.count)
            }
            (Some(run), None) => share(run.released as f64, run.acquired as f64),
            (None, None) => 0.0,
        }
    }
}
