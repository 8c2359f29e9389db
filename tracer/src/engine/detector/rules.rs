//! The rules. Each says what it takes for proof and which healthy case it spares.

use super::Second;
use super::age_histogram::AgeHistogram;
use super::growth::{self, Growth};
use super::idle_samples::{Usage, Window};
use super::life_table::{TIERS, Tier};
use super::series::{Series, Surroundings};
use super::thresholds::{
    CHURN_SHARE, DEATHS_KNOWN, ENDED_SHARE, FAST_RELEASED_SHARE, GrowthCriteria, SLOW_ENDED_SHARE, SLOW_RATE,
    SPAN_MIN_S, STUCK_SPAN_S, SUSPECTED_SHARE, SYN_PATIENCE_S, Stuck, Thresholds,
};
use crate::engine::report::{LeakKind, Verdict};
use crate::event::SocketState;

/// Fewer that stay are not looked at.
const SURVIVORS_MIN: f64 = 3.0;
/// Nor those whose remaining life is shorter than so many times their age.
const LIFE_AGES_MIN: f64 = 3.0;

/// What the rules find in a series.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// The gravest, and its kind.
    pub(super) level: Option<(Verdict, LeakKind)>,
    /// The growth of those that stay, if that is what shows it.
    pub(super) growth: Option<Growth>,
    /// Whose idleness would decide.
    pub(super) query: Option<Window>,
}

/// All rules, at the beginning of second `now`.
pub(super) fn judge(series: &Series, now: Second, around: Surroundings, t: &Thresholds) -> Found {
    let usage = series.idle.usage(now);
    let case = Case { series, now, around };
    let stays = case.stays();
    let fast = case.fast(usage, t);
    let patience = match usage {
        Usage::Abandoned => Some(&t.abandoned),
        Usage::Unknown => Some(&t.unknown),
        Usage::Mixed | Usage::InUse => Some(&t.mixed),
        Usage::Waiting => None,
    };
    let mut standing = patience.and_then(|patience| case.standing(&stays, patience));
    let eats = |growth: &Growth| growth.count >= t.in_use_pool_share * around.usable as f64;
    if usage == Usage::InUse {
        standing = standing.filter(|(_, growth)| eats(growth));
    }
    let stuck = case.stuck(t);
    // The most telling last: of several equally grave it is the one that is told.
    let levels = [
        series.flows.grows().then_some((Verdict::Growing, LeakKind::Total)),
        case.churn(),
        fast.filter(|fast| fast.suspicious).map(|_| (Verdict::Suspected, LeakKind::Total)),
        standing.map(|(level, growth)| (level, case.kind(&growth))),
        stuck.map(|(level, kind, _)| (level, kind)),
    ];
    let level = levels.into_iter().flatten().max_by_key(|&(verdict, _)| verdict);
    let stuck = stuck.filter(|(found, ..)| level.is_some_and(|(verdict, _)| verdict <= *found));
    let stuck_window = stuck.map(|(_, kind, growth)| window(&growth, state_of(kind)));
    let would = case.standing(&stays, &t.abandoned).map(|(_, growth)| window(&growth, None));
    Found {
        level: level.map(|(verdict, kind)| (verdict, case.named(kind))),
        growth: stuck.map(|(_, _, growth)| growth).or(standing.map(|(_, growth)| growth)),
        query: stuck_window.or(would).or(fast.map(|fast| fast.window)),
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

struct Case<'a> {
    series: &'a Series,
    now: Second,
    around: Surroundings,
}

impl Case<'_> {
    /// Before any hold can be called a survivor: second after second adds ports that are not given
    /// back. A burst is spared because it does not last, a small pool because it is small, a busy
    /// one because it is busy.
    fn fast(&self, usage: Usage, t: &Thresholds) -> Option<Fast> {
        let run = self.series.flows.run?;
        let kept = run.released as f64 <= FAST_RELEASED_SHARE * run.acquired as f64;
        let enough = |patience: &GrowthCriteria, early: u32| {
            let seconds = patience.fast_span_s.saturating_sub(early).max(1);
            let share = patience.fast_pool_share * f64::from(seconds) / f64::from(patience.fast_span_s);
            let grown = self.series.flows.steady_growth(seconds);
            grown.is_some_and(|grown| grown >= share * self.around.usable as f64)
        };
        if !kept || !enough(&t.abandoned, 2) {
            return None;
        }
        let suspicious = match usage {
            Usage::Abandoned => enough(&t.abandoned, 0),
            Usage::Unknown => enough(&t.unknown, 0),
            Usage::Mixed | Usage::InUse | Usage::Waiting => false,
        };
        // Those of the last seconds have had no time to be idle.
        let window = Window {
            from: run.since,
            to: self.now.saturating_sub((self.now - run.since) / 2 + 1),
            state: None,
        };
        Some(Fast { suspicious, window })
    }

    /// From which ages on holds stay: their remaining life is long, hardly any has ended, and they
    /// keep coming. A warm-up is spared because it ends, load and bursts because lifetimes do not
    /// change with them.
    fn stays(&self) -> Vec<Stay> {
        let series = self.series;
        let stay = |&tier: &Tier| {
            let age_s = tier.age_s();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1,000")]
            let age = age_s.ceil() as Second;
            let survivors = series.ages.born_until(self.now.checked_sub(age)?) as f64;
            let (ended, exposure_s) = series.life.from(tier);
            let life_s = exposure_s / gamma(ended + 1.0, NORMAL_99);
            let ended_share = ended / (ended + survivors);
            if survivors < SURVIVORS_MIN || life_s <= LIFE_AGES_MIN * age_s || ended_share > ENDED_SHARE {
                return None;
            }
            let growth = growth::longest(&series.ages, self.now, age_s, SPAN_MIN_S)?;
            Some(Stay { growth, age_s, life_s, ended_share, survivors })
        };
        TIERS.iter().filter_map(stay).collect()
    }

    /// The gravest that holds which stay amount to, with this patience.
    fn standing(&self, stays: &[Stay], patience: &GrowthCriteria) -> Option<(Verdict, Growth)> {
        let level = |stay: &Stay| self.evaluate(stay, patience).map(|level| (level, stay.growth));
        stays.iter().filter_map(level).max_by_key(|&(level, _)| level)
    }

    fn evaluate(&self, stay: &Stay, patience: &GrowthCriteria) -> Option<Verdict> {
        let growth = &stay.growth;
        if stay.life_s < patience.life_min_s.max(patience.life_ages * stay.age_s) {
            return None;
        }
        let lasted_s = growth.lasted_s(self.now);
        let connecting = self.series.syn_sent.total() as f64;
        if 2.0 * connecting >= growth.count && lasted_s < SYN_PATIENCE_S {
            return None;
        }
        let rate = growth.rate_per_s();
        let usable = self.around.usable as f64;
        let most = if self.is_partial(growth) { patience.partial_span_s } else { patience.total_span_s };
        let span_s = (patience.eaten_share * usable / rate).min(most);
        let ahead = rate * stay.life_s;
        let fast = growth.count >= patience.survivors
            && ahead >= patience.pool_share * usable
            && ahead >= stay.survivors;
        let slow = stay.survivors >= patience.slow_survivors && stay.ended_share <= SLOW_ENDED_SHARE;
        let after = |share: f64| {
            fast && lasted_s >= share * span_s || slow && lasted_s >= share * patience.slow_span_s
        };
        if after(1.0) { Some(Verdict::Leak) } else { after(SUSPECTED_SHARE).then_some(Verdict::Suspected) }
    }

    /// Whether most holds of this place end as they should.
    fn is_partial(&self, growth: &Growth) -> bool {
        let deaths = self.series.life.deaths();
        deaths >= DEATHS_KNOWN
            && self.series.deaths_during(self.now, growth.lasted_s(self.now)) >= growth.count
    }

    fn kind(&self, growth: &Growth) -> LeakKind {
        if growth.rate_per_s() < SLOW_RATE {
            LeakKind::Slow
        } else if self.is_partial(growth) {
            LeakKind::Partial
        } else {
            LeakKind::Total
        }
    }

    /// What is nearly all bound and never connected is called so.
    fn named(&self, kind: LeakKind) -> LeakKind {
        let bound_only = self.series.bound > 0 && self.series.bound * 10 >= self.series.held() * 9;
        if bound_only && matches!(kind, LeakKind::Total | LeakKind::Slow) { LeakKind::Bound } else { kind }
    }

    /// CLOSE_WAIT that stays: the peer has closed, this side never does. SYN_SENT beyond the kernel's
    /// own patience. TCP sockets that are bound, and nothing more comes of it. No healthy program
    /// leaves one after the other lying so.
    fn stuck(&self, t: &Thresholds) -> Option<(Verdict, LeakKind, Growth)> {
        let states = [
            (&self.series.bound_tcp, t.bound, LeakKind::Bound),
            (&self.series.syn_sent, t.syn_sent, LeakKind::SynSent),
            (&self.series.close_wait, t.close_wait, LeakKind::CloseWait),
        ];
        let level =
            |(ages, stuck, kind)| self.stuck_in(ages, stuck).map(|(level, growth)| (level, kind, growth));
        states.into_iter().filter_map(level).max_by_key(|&(level, ..)| level)
    }

    fn stuck_in(&self, ages: &AgeHistogram, stuck: Stuck) -> Option<(Verdict, Growth)> {
        if ages.total() < stuck.suspected.min(stuck.leak) {
            return None;
        }
        let lasting = |age: u32, least: u64| {
            let growth = growth::longest(ages, self.now, f64::from(age), STUCK_SPAN_S);
            growth.filter(|growth| growth.count + 0.5 >= least as f64)
        };
        let leak = lasting(stuck.leak_age_s, stuck.leak).map(|growth| (Verdict::Leak, growth));
        let suspected =
            || lasting(stuck.suspected_age_s, stuck.suspected).map(|growth| (Verdict::Suspected, growth));
        leak.or_else(suspected)
    }

    /// TIME_WAIT takes most of a destination's ports. Not a leak: each ends by itself.
    fn churn(&self) -> Option<(Verdict, LeakKind)> {
        let (around, time_wait) = (self.around, self.series.time_wait);
        let full = around.used as f64 >= CHURN_SHARE * around.usable as f64;
        let mostly = time_wait * 2 >= around.used && time_wait > self.series.held();
        (full && mostly && time_wait > 0).then_some((Verdict::Churn, LeakKind::Churn))
    }
}

/// The normal distribution's 95 % and 99 % quantiles.
pub(super) const NORMAL_95: f64 = 1.645;
const NORMAL_99: f64 = 2.326;

/// A quantile of Gamma(k, 1), by Wilson and Hilferty: exposure over it is a lower bound of the mean
/// remaining life when `k - 1` were seen to end.
pub(super) fn gamma(k: f64, normal: f64) -> f64 {
    k * (1.0 - 1.0 / (9.0 * k) + normal / (3.0 * k.sqrt())).max(0.0).powi(3)
}
