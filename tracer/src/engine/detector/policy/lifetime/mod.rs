//! The policy in use: a leak is a part of the holds that does not end.
//!
//! `rules` judges one second, and nothing of it lasts. What lasts is here: a verdict goes up at once
//! and goes down only when growth has paused for long, or when the ports are back.

mod growth;
mod rules;
mod stretch;
mod tiers;
mod usage;

use super::{Decision, Judgement, Policy, SeriesPolicy, Surroundings};
use crate::engine::detector::features::Features;
use crate::engine::detector::{Second, Thresholds};
use crate::engine::report::{LeakKind, Verdict};
use growth::Growth;
use rules::{Case, gamma};
use std::sync::Arc;
use stretch::{Stretch, rate_per_s};
use tiers::{Tier, tiers};

/// Judges by lifetimes, as the page of [`detector`](crate::engine::detector) says.
#[derive(Clone, Debug)]
pub struct LifetimePolicy(Arc<Numbers>);

/// What all series are judged by.
#[derive(Debug)]
struct Numbers {
    thresholds: Thresholds,
    tiers: Vec<Tier>,
}

impl LifetimePolicy {
    /// The policy with these thresholds.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self(Arc::new(Numbers { tiers: tiers(&thresholds.survival), thresholds }))
    }
}

impl Policy for LifetimePolicy {
    fn begin(&self) -> Box<dyn SeriesPolicy> {
        Box::new(State {
            numbers: Arc::clone(&self.0),
            verdict: Verdict::Clean,
            kind: None,
            raised: 0,
            stretch: None,
            growth: None,
            held_worst: 0,
            calm_since: None,
        })
    }

    fn memory_s(&self) -> f64 {
        self.0.thresholds.survival.memory_s
    }

    fn answers_min(&self) -> u32 {
        self.0.thresholds.idle.answers_min
    }
}

/// What is thought of one series.
#[derive(Clone, Debug)]
struct State {
    numbers: Arc<Numbers>,
    verdict: Verdict,
    kind: Option<LeakKind>,
    /// When the verdict last left clean.
    raised: Second,
    /// The present stretch in which more is acquired than released.
    stretch: Option<Stretch>,
    /// The growth that shows the present verdict, as last found, and when it was seen to begin.
    growth: Option<(Growth, f64)>,
    held_worst: u64,
    calm_since: Option<Second>,
}

impl SeriesPolicy for State {
    fn judge(&mut self, features: &Features, now: Second, around: Surroundings) -> Decision {
        let numbers = Arc::clone(&self.numbers);
        let t = &numbers.thresholds;
        let case = Case { features, stretch: self.stretch, now, around, t, tiers: &numbers.tiers };
        let found = rules::judge(&case);
        self.stretch = Stretch::follow(
            self.stretch,
            features.flows(),
            now,
            (found.grows, found.growth.is_some()),
            &t.growing,
        );
        if let Some(growth) = found.growth {
            let since = self.growth.map_or(growth.from, |(_, since)| since.min(growth.from));
            self.growth = Some((growth, since));
        }
        let forget_idle = self.apply_verdict(now, found.level, features.held());
        let asked = features.idle().round().filter(|_| !forget_idle);
        Decision {
            query: found.query.filter(|&window| usage::is_due(asked, now, window, &t.idle)),
            forget_idle,
            rests: self.verdict == Verdict::Clean && Case { stretch: self.stretch, ..case }.is_over(),
        }
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn judgement(&self, features: &Features, now: Second, around: Surroundings) -> Judgement {
        let t = &self.numbers.thresholds;
        let kind = self.kind.unwrap_or(LeakKind::Total);
        let room = around.room() as f64;
        let flowing = self.stretch.map_or(0.0, |_| rate_per_s(features.flows(), &t.growing));
        let growth = self.growth.filter(|_| self.verdict >= Verdict::Suspected);
        let rate_per_s = growth.map_or(flowing, |(growth, _)| growth.rate_per_s());
        let z = t.forecast_confidence_z;
        let between = growth.map(|(growth, _)| {
            let span = growth.to - growth.from;
            let (most, least) = (gamma(growth.count + 1.0, z), gamma(growth.count, -z));
            (room * span / most, room * span / least.max(0.1))
        });
        Judgement {
            verdict: self.verdict,
            kind,
            since: self.since(growth),
            held: match kind {
                LeakKind::CloseWait => features.close_wait().total(),
                LeakKind::SynSent => features.syn_sent().total(),
                LeakKind::Churn => features.time_wait(),
                _ => features.held(),
            },
            rate_per_s,
            released_share: self.released_share(features, now, growth),
            exhaustion_in_s: (rate_per_s > 0.0).then(|| room / rate_per_s),
            exhaustion_between_s: between,
            healthy_s: features.life().median_s(),
            abandoned: usage::abandoned(features.idle(), &t.idle),
        }
    }
}

impl State {
    /// Applies what the rules found: up at once, down only when it has healed or calmed. Returns
    /// whether it has just become clean.
    fn apply_verdict(&mut self, now: Second, found: Option<(Verdict, LeakKind)>, held: u64) -> bool {
        let (level, kind) = found.unwrap_or((Verdict::Clean, self.kind.unwrap_or(LeakKind::Total)));
        if level >= self.verdict {
            if self.verdict == Verdict::Clean {
                self.raised = now;
            }
            self.verdict = level;
            self.kind = Some(kind);
            self.calm_since = None;
            self.held_worst = self.held_worst.max(held);
            return false;
        }
        let t = &self.numbers.thresholds;
        let calm = now - *self.calm_since.get_or_insert(now);
        let healed = held as f64 <= t.calm.healed_share * self.held_worst as f64;
        let (next, after) = match self.verdict {
            Verdict::Leak if !healed => {
                (Verdict::Suspected, self.pause_s(t.calm_span_s.saturating_mul(t.calm.leak_factor)))
            }
            Verdict::Suspected if !healed => (level, self.pause_s(t.calm_span_s)),
            Verdict::Leak | Verdict::Suspected => (level, t.calm_span_s),
            _ => (level, t.growing.calm_s),
        };
        if calm >= after {
            self.verdict = next;
            self.kind = Some(kind);
            self.calm_since = None;
            self.held_worst = held;
        }
        if self.verdict < Verdict::Suspected {
            self.growth = None;
        }
        self.verdict == Verdict::Clean
    }

    /// The pause after which growth is over: the slower it was, the longer.
    fn pause_s(&self, least: u32) -> u32 {
        let t = &self.numbers.thresholds.calm;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the trace")]
        let share = self.growth.map_or(0, |(growth, _)| (t.growth_share * (growth.to - growth.from)) as u32);
        least.max(share.min(t.growth_max_s))
    }

    fn since(&self, growth: Option<(Growth, f64)>) -> Second {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the trace")]
        let grown = growth.map(|(_, since)| since.max(0.0) as Second);
        let stretch = self.stretch.map(|stretch| stretch.since);
        match (grown, stretch) {
            (Some(grown), Some(stretch)) => grown.min(stretch),
            (grown, stretch) => grown.or(stretch).unwrap_or(self.raised),
        }
    }

    /// Of the ports acquired since growth began, the share that was released.
    fn released_share(&self, features: &Features, now: Second, growth: Option<(Growth, f64)>) -> f64 {
        let share =
            |released: f64, acquired: f64| if acquired > 0.0 { (released / acquired).min(1.0) } else { 0.0 };
        match (self.stretch, growth) {
            (_, Some((growth, since))) => {
                let ended = features.deaths_during(now, f64::from(now) - since);
                share(ended, ended + growth.count)
            }
            (Some(stretch), None) => {
                share(stretch.released(features.flows()), stretch.acquired(features.flows()))
            }
            (None, None) => 0.0,
        }
    }
}
