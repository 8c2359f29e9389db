//! The rules. Each says what it takes for proof and which healthy case it spares.

use super::growth::{self, Growth};
use super::stretch::{Stretch, cannot_grow, grows, steady_growth};
use super::tiers::Tier;
use super::usage::{Usage, usage};
use crate::engine::detector::features::{AgeHistogram, Features, Window};
use crate::engine::detector::policy::Surroundings;
use crate::engine::detector::{GrowthCriteria, Second, Stuck, Thresholds};
use crate::engine::report::{LeakKind, Verdict};
use crate::event::SocketState;

/// What the rules find in a series.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// The gravest, and its kind.
    pub(super) level: Option<(Verdict, LeakKind)>,
    /// The growth of those that stay, if that is what shows it.
    pub(super) growth: Option<Growth>,
    /// The holds whose idle times would decide.
    pub(super) query: Option<Window>,
    /// Whether more is acquired than released right now.
    pub(super) grows: bool,
}

/// All rules.
pub(super) fn judge(case: &Case<'_>) -> Found {
    let t = case.t;
    let usage = usage(case.features.idle(), case.now, &t.idle);
    let grows = grows(case.features.flows(), &t.growing);
    let stays = case.stays();
    let fast = case.fast(usage);
    let criteria = match usage {
        Usage::Abandoned => Some(&t.abandoned),
        Usage::Unknown => Some(&t.unknown),
        Usage::Mixed | Usage::InUse => Some(&t.mixed),
        Usage::Waiting => None,
    };
    let mut standing = criteria.and_then(|criteria| case.standing(&stays, criteria));
    let enough = |growth: &Growth| growth.count >= t.in_use_pool_share * case.around.usable as f64;
    if usage == Usage::InUse {
        standing = standing.filter(|(_, growth)| enough(growth));
    }
    let stuck = case.stuck();
    // The most specific comes last: of several equally grave findings it is reported.
    let levels = [
        grows.then_some((Verdict::Growing, LeakKind::Total)),
        case.churn(),
        fast.filter(|fast| fast.suspicious).map(|_| (Verdict::Suspected, LeakKind::Total)),
        standing.map(|(level, growth)| (level, case.kind(&growth))),
        stuck.map(|(level, kind, _)| (level, kind)),
    ];
    let level = levels.into_iter().flatten().max_by_key(|&(verdict, _)| verdict);
    let stuck = stuck.filter(|(found, ..)| level.is_some_and(|(verdict, _)| verdict <= *found));
    let stuck_window = stuck.map(|(_, kind, growth)| window(&growth, state_of(kind)));
    let would_decide = case.standing(&stays, &t.abandoned).map(|(_, growth)| window(&growth, None));
    Found {
        level: level.map(|(verdict, kind)| (verdict, case.named(kind))),
        growth: stuck.map(|(_, _, growth)| growth).or(standing.map(|(_, growth)| growth)),
        query: stuck_window.or(would_decide).or(fast.map(|fast| fast.window)),
        grows,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the trace")]
fn window(growth: &Growth, state: Option<SocketState>) -> Window {
    Window { from: growth.from as Second, to: growth.to.ceil() as Second, state }
}

/// The state that sockets of a kind are stuck in.
fn state_of(kind: LeakKind) -> Option<SocketState> {
    match kind {
        LeakKind::CloseWait => Some(SocketState::CloseWait),
        LeakKind::SynSent => Some(SocketState::SynSent),
        LeakKind::Bound => Some(SocketState::Bound),
        LeakKind::Total | LeakKind::Partial | LeakKind::Slow | LeakKind::Churn => None,
    }
}

/// Steady growth, and whether it is enough for a suspicion.
#[derive(Clone, Copy, Debug)]
struct Fast {
    suspicious: bool,
    window: Window,
}

/// Holds that stay, from one age on.
#[derive(Clone, Copy, Debug)]
struct Stay {
    growth: Growth,
    age_s: f64,
    /// Lower bound of their mean remaining life.
    life_s: f64,
    /// Of those that reached the age, the share that ended.
    ended_share: f64,
    survivors: f64,
}

/// A series at one instant, with what it is judged by.
pub(super) struct Case<'a> {
    pub(super) features: &'a Features,
    pub(super) stretch: Option<Stretch>,
    pub(super) now: Second,
    pub(super) around: Surroundings,
    pub(super) t: &'a Thresholds,
    pub(super) tiers: &'a [Tier],
}

impl Case<'_> {
    /// Before any hold can be called a survivor: second after second adds ports that are not given
    /// back. A burst is spared because it does not last, a small pool because it is small, a busy
    /// one because it is busy.
    fn fast(&self, usage: Usage) -> Option<Fast> {
        let (stretch, flows, t) = (self.stretch?, self.features.flows(), self.t);
        let kept = stretch.released(flows) <= t.fast.released_share * stretch.acquired(flows);
        let enough = |criteria: &GrowthCriteria, early_s: u32| {
            let seconds = criteria.fast_span_s.saturating_sub(early_s).max(1);
            let share = criteria.fast_pool_share * f64::from(seconds) / f64::from(criteria.fast_span_s);
            let grown = steady_growth(flows, seconds, t.fast.pauses_max);
            grown.is_some_and(|grown| grown >= share * self.around.usable as f64)
        };
        if !kept || !enough(&t.abandoned, t.fast.query_early_s) {
            return None;
        }
        let suspicious = match usage {
            Usage::Abandoned => enough(&t.abandoned, 0),
            Usage::Unknown => enough(&t.unknown, 0),
            Usage::Mixed | Usage::InUse | Usage::Waiting => false,
        };
        // Those of the last seconds have had no time to be idle.
        let window = Window {
            from: stretch.since,
            to: self.now.saturating_sub((self.now - stretch.since) / 2 + 1),
            state: None,
        };
        Some(Fast { suspicious, window })
    }

    /// From which ages on holds stay: their remaining life is long, hardly any has ended, and they
    /// keep coming. A warm-up is spared because it ends, load and bursts because lifetimes do not
    /// change with them.
    fn stays(&self) -> Vec<Stay> {
        let (ages, t) = (self.features.ages(), &self.t.survival);
        let mut stays = Vec::new();
        for tier in self.tiers {
            // Of older tiers there are even fewer.
            let Some(born) = self.now.checked_sub(tier.whole_s) else { break };
            let survivors = ages.born_until(born) as f64;
            if survivors < t.survivors_min {
                break;
            }
            let (ended, exposure_s) = self.features.life().from(tier.bin);
            let life_s = exposure_s / gamma(ended + 1.0, t.confidence_z);
            let ended_share = ended / (ended + survivors);
            if life_s <= t.life_ages_min * tier.age_s || ended_share > t.ended_share {
                continue;
            }
            let shape = &self.t.shape;
            if let Some(growth) = growth::longest(ages, self.now, tier.age_s, shape.span_min_s, shape) {
                stays.push(Stay { growth, age_s: tier.age_s, life_s, ended_share, survivors });
            }
        }
        stays
    }

    /// The gravest that holds which stay amount to, by these criteria.
    fn standing(&self, stays: &[Stay], criteria: &GrowthCriteria) -> Option<(Verdict, Growth)> {
        let level = |stay: &Stay| self.evaluate(stay, criteria).map(|level| (level, stay.growth));
        stays.iter().filter_map(level).max_by_key(|&(level, _)| level)
    }

    fn evaluate(&self, stay: &Stay, criteria: &GrowthCriteria) -> Option<Verdict> {
        let growth = &stay.growth;
        if stay.life_s < criteria.life_min_s.max(criteria.life_ages * stay.age_s) {
            return None;
        }
        let lasted_s = growth.lasted_s(self.now);
        let connecting = self.features.syn_sent().total() as f64;
        if 2.0 * connecting >= growth.count && lasted_s < self.t.syn_span_s {
            return None;
        }
        let rate = growth.rate_per_s();
        let usable = self.around.usable as f64;
        let most = if self.is_partial(growth) { criteria.partial_span_s } else { criteria.total_span_s };
        let span_s = (criteria.eaten_share * usable / rate).min(most);
        let ahead = rate * stay.life_s;
        let fast = growth.count >= criteria.survivors
            && ahead >= criteria.pool_share * usable
            && ahead >= stay.survivors;
        let slow =
            stay.survivors >= criteria.slow_survivors && stay.ended_share <= self.t.survival.slow_ended_share;
        let after = |share: f64| {
            fast && lasted_s >= share * span_s || slow && lasted_s >= share * criteria.slow_span_s
        };
        if after(1.0) {
            Some(Verdict::Leak)
        } else {
            after(self.t.suspected_share).then_some(Verdict::Suspected)
        }
    }

    /// Whether most holds of this place end as they should.
    fn is_partial(&self, growth: &Growth) -> bool {
        self.features.life().deaths() >= self.t.naming.deaths_known
            && self.features.deaths_during(self.now, growth.lasted_s(self.now)) >= growth.count
    }

    fn kind(&self, growth: &Growth) -> LeakKind {
        if growth.rate_per_s() < self.t.naming.slow_rate_per_s {
            LeakKind::Slow
        } else if self.is_partial(growth) {
            LeakKind::Partial
        } else {
            LeakKind::Total
        }
    }

    /// What is nearly all bound and never connected is called so.
    fn named(&self, kind: LeakKind) -> LeakKind {
        let (bound, held) = (self.features.bound(), self.features.held());
        let bound_only = bound > 0 && bound as f64 >= self.t.naming.bound_share * held as f64;
        if bound_only && matches!(kind, LeakKind::Total | LeakKind::Slow) { LeakKind::Bound } else { kind }
    }

    /// CLOSE_WAIT that stays: the peer has closed, this side never does. SYN_SENT for longer than the
    /// kernel retries. TCP sockets that are bound and never connect. No healthy program leaves one
    /// after the other in such a state.
    fn stuck(&self) -> Option<(Verdict, LeakKind, Growth)> {
        let (features, t) = (self.features, self.t);
        let states = [
            (features.bound_tcp(), t.bound, LeakKind::Bound),
            (features.syn_sent(), t.syn_sent, LeakKind::SynSent),
            (features.close_wait(), t.close_wait, LeakKind::CloseWait),
        ];
        let level =
            |(ages, stuck, kind)| self.stuck_in(ages, stuck).map(|(level, growth)| (level, kind, growth));
        states.into_iter().filter_map(level).max_by_key(|&(level, ..)| level)
    }

    fn stuck_in(&self, ages: &AgeHistogram, stuck: Stuck) -> Option<(Verdict, Growth)> {
        if ages.total() < stuck.least() {
            return None;
        }
        let shape = &self.t.shape;
        let lasting = |age: u32, least: u64| {
            let growth = growth::longest(ages, self.now, f64::from(age), shape.stuck_span_s, shape);
            growth.filter(|growth| growth.count + 0.5 >= least as f64)
        };
        let leak = lasting(stuck.leak_age_s, stuck.leak).map(|growth| (Verdict::Leak, growth));
        let suspected =
            || lasting(stuck.suspected_age_s, stuck.suspected).map(|growth| (Verdict::Suspected, growth));
        leak.or_else(suspected)
    }

    /// TIME_WAIT takes most of a destination's ports. Not a leak: each ends by itself.
    fn churn(&self) -> Option<(Verdict, LeakKind)> {
        let (around, time_wait, t) = (self.around, self.features.time_wait(), &self.t.churn);
        let full = around.used as f64 >= t.used_share * around.usable as f64;
        let mostly =
            time_wait as f64 >= t.time_wait_share * around.used as f64 && time_wait > self.features.held();
        (full && mostly && time_wait > 0).then_some((Verdict::Churn, LeakKind::Churn))
    }

    /// Whether no rule can find anything before something happens to the series: its last seconds
    /// cannot grow any more, and those that stay have come to an end.
    pub(super) fn is_over(&self) -> bool {
        let (features, t) = (self.features, self.t);
        let oldest_s = self.tiers.last().map_or(0, |tier| tier.whole_s);
        let few_or_over = |ages: &AgeHistogram, least: f64, age_s| {
            (ages.total() as f64) < least || growth::is_over(ages, self.now, age_s)
        };
        let unstuck = |ages, stuck: Stuck| few_or_over(ages, stuck.least() as f64, stuck.oldest_s());
        self.stretch.is_none()
            && cannot_grow(features.flows(), &t.growing)
            && features.time_wait() <= features.held()
            && few_or_over(features.ages(), t.survival.survivors_min, oldest_s)
            && unstuck(features.bound_tcp(), t.bound)
            && unstuck(features.syn_sent(), t.syn_sent)
            && unstuck(features.close_wait(), t.close_wait)
    }
}

/// A quantile of Gamma(k, 1) by the approximation of Wilson and Hilferty, `z` being that of the normal
/// distribution. Exposure divided by it is a lower bound of the mean remaining life when `k - 1` were
/// seen to end.
pub(super) fn gamma(k: f64, z: f64) -> f64 {
    k * (1.0 - 1.0 / (9.0 * k) + z / (3.0 * k.sqrt())).max(0.0).powi(3)
}
