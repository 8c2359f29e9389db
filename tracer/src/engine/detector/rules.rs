//! The rules. Each says what it takes for proof and which healthy case it spares.

use super::Second;
use super::series::{Series, Surroundings, Survivors};
use super::thresholds::{CHURN_SHARE, GROWING_NET, GROWING_SPAN, SYN_SENT_LEAK, Thresholds};
use crate::engine::report::{LeakKind, Verdict};

/// Seconds over which slow growth is looked for.
const GROWING_SPAN_SLOW: u32 = 30;
/// And how many ports more it takes.
const GROWING_NET_SLOW: i64 = 10;
/// Seconds over which the rate of growth is measured.
const RATE_SPAN: usize = 30;

/// The gravest that any rule finds.
pub(super) fn judge(
    series: &Series,
    now: Second,
    around: Surroundings,
    t: &Thresholds,
) -> Option<(Verdict, LeakKind)> {
    // The most telling last: of several equally grave it is the one that is told.
    let found = [
        grows(series).then_some((Verdict::Growing, LeakKind::Total)),
        churn(series, around),
        fast(series, around, t),
        slow(series, now, t),
        total(series, now, around, t),
        partial(series, now, t),
        stuck(series, t),
    ];
    let (verdict, kind) = found.into_iter().flatten().max_by_key(|&(verdict, _)| verdict)?;
    let bound_only = series.bound > 0 && series.bound * 10 >= series.held() * 9;
    let kind =
        if bound_only && matches!(kind, LeakKind::Total | LeakKind::Slow) { LeakKind::Bound } else { kind };
    Some((verdict, kind))
}

/// CLOSE_WAIT that stays: the peer has closed, this side never does. SYN_SENT beyond the kernel's
/// own patience. No healthy program leaves either lying.
fn stuck(series: &Series, t: &Thresholds) -> Option<(Verdict, LeakKind)> {
    let [suspect, certain] = &series.close_wait;
    if certain.old() >= t.close_wait_leak {
        return Some((Verdict::Leak, LeakKind::CloseWait));
    }
    if series.syn_sent.old() >= SYN_SENT_LEAK {
        return Some((Verdict::Leak, LeakKind::SynSent));
    }
    (suspect.old() >= t.close_wait_suspected).then_some((Verdict::Suspected, LeakKind::CloseWait))
}

/// Survivors are on the way to a good part of the pool. A warm-up is spared because it stops
/// growing before the span is over.
fn total(series: &Series, now: Second, around: Surroundings, t: &Thresholds) -> Option<(Verdict, LeakKind)> {
    let tier = &series.first;
    let since = tier.growing_since?;
    let rate = crossing_rate(tier, now);
    let life = remaining_life_s(tier);
    let exhaustion = around.usable.saturating_sub(around.used).max(1) as f64 / rate.max(1e-9);
    let age = f64::from(series.survivor_age(t));
    let guard = life > (t.guard_factor * age).max(t.guard_min);
    let fast_guard = life > (3.0 * age).max(t.guard_min.min(2.0 * exhaustion));
    let projected = rate * life > t.total_pool_share * around.usable as f64;
    if tier.ages.old() < t.survivors_min || !projected || !(guard || fast_guard) {
        return None;
    }
    let span = (t.total_exhaustion_share * exhaustion).clamp(t.total_span_min, t.total_span_max);
    let lasted = f64::from(now - since) - age;
    let many = series.held() as f64 >= t.fast_pool_share * around.usable as f64;
    if lasted >= span {
        Some((Verdict::Leak, LeakKind::Total))
    } else {
        (many && lasted >= span / 2.0).then_some((Verdict::Suspected, LeakKind::Total))
    }
}

/// A small share never ends among releases that do. A heavy tail is spared by the share it may
/// have and by the demand that survivors live far beyond their age.
fn partial(series: &Series, now: Second, t: &Thresholds) -> Option<(Verdict, LeakKind)> {
    let tier = &series.first;
    let since = tier.growing_since?;
    let completed = series.completed.total();
    let survivors = tier.ages.old();
    if completed < t.releases_known || survivors < t.survivors_min {
        return None;
    }
    let seen = completed + survivors as f64;
    let share = survivors as f64 / seen;
    let guard =
        remaining_life_s(tier) > (t.guard_factor * f64::from(series.survivor_age(t))).max(t.guard_min);
    let lasted = f64::from(now - since);
    if share <= t.partial_share || share >= 0.5 || !guard || lasted < t.partial_span {
        return None;
    }
    let p0 = t.partial_share;
    let evidence = seen * (share * (share / p0).ln() + (1.0 - share) * ((1.0 - share) / (1.0 - p0)).ln());
    let verdict = if evidence > t.partial_evidence {
        Verdict::Leak
    } else if evidence > t.partial_evidence / 2.0 {
        Verdict::Suspected
    } else {
        return None;
    };
    Some((verdict, LeakKind::Partial))
}

/// A few at a time, but none of them ends, for long.
fn slow(series: &Series, now: Second, t: &Thresholds) -> Option<(Verdict, LeakKind)> {
    let tier = &series.slow;
    let since = tier.growing_since?;
    let stays = tier.released <= t.slow_released_share * tier.crossed;
    let lasted = f64::from(now - since);
    if tier.ages.old() < t.slow_survivors || !stays || remaining_life_s(tier) < t.slow_span {
        return None;
    }
    if lasted >= t.slow_span {
        Some((Verdict::Leak, LeakKind::Slow))
    } else {
        (lasted >= t.slow_span / 2.0).then_some((Verdict::Suspected, LeakKind::Slow))
    }
}

/// Before any hold can be called a survivor: second after second adds ports that are not given
/// back, and they are many. A burst is spared because it does not last, a small pool because
/// it is small.
fn fast(series: &Series, around: Surroundings, t: &Thresholds) -> Option<(Verdict, LeakKind)> {
    let run = series.run?;
    let grew: Vec<_> = series
        .recent
        .iter()
        .rev()
        .take(t.fast_span as usize)
        .map(|flow| flow.acquired > flow.released)
        .collect();
    // One second may be missing: machines stutter.
    let steady = grew.len() == t.fast_span as usize
        && grew.first() == Some(&true)
        && grew.iter().filter(|&&grew| !grew).count() <= 1;
    let kept = run.released as f64 <= t.fast_released_share * run.acquired as f64;
    let many = series.held() as f64 >= t.fast_pool_share * around.usable as f64;
    let few_survive_normally = series.completed.total() < t.releases_known || series.first.ages.old() > 0;
    (steady && kept && many && few_survive_normally).then_some((Verdict::Suspected, LeakKind::Total))
}

/// TIME_WAIT takes most of a destination's ports. Not a leak: each ends by itself.
fn churn(series: &Series, around: Surroundings) -> Option<(Verdict, LeakKind)> {
    let full = around.used as f64 >= CHURN_SHARE * around.usable as f64;
    let mostly = series.time_wait * 2 >= around.used && series.time_wait > series.held();
    (full && mostly && series.time_wait > 0).then_some((Verdict::Churn, LeakKind::Churn))
}

/// Whether allocation outpaces release right now, in more than one second.
pub(super) fn grows(series: &Series) -> bool {
    outpaces(series, GROWING_SPAN, GROWING_NET) || outpaces(series, GROWING_SPAN_SLOW, GROWING_NET_SLOW)
}

/// Over how many seconds the growth is that [`grows`] sees.
pub(super) fn growth_span(series: &Series) -> u32 {
    if outpaces(series, GROWING_SPAN, GROWING_NET) { GROWING_SPAN } else { GROWING_SPAN_SLOW }
}

fn outpaces(series: &Series, span: u32, net_min: i64) -> bool {
    let recent = || series.recent.iter().rev().take(span as usize);
    let net: i64 = recent().map(|flow| i64::from(flow.acquired) - i64::from(flow.released)).sum();
    let acquired: i64 = recent().map(|flow| i64::from(flow.acquired)).sum();
    let growing_seconds = recent().filter(|flow| flow.acquired > flow.released).count();
    let spread = growing_seconds >= if span > GROWING_SPAN { 5 } else { 2 };
    net >= net_min && net * 5 >= acquired && spread
}

/// Whether holds keep reaching the age, some in each quarter of the recent past and lately, and
/// new ones keep coming that will reach it.
pub(super) fn keeps_crossing(tier: &Survivors, now: Second) -> bool {
    let (Some(&(first, _)), Some(&(last, _))) = (tier.crossings.front(), tier.crossings.back()) else {
        return false;
    };
    let Some(newest) = tier.ages.newest() else {
        return false;
    };
    let total: u64 = tier.crossings.iter().map(|&(_, count)| count).sum();
    let span = f64::from(now - first).max(1.0);
    let patience = (3.0 * span / tier.crossings.len() as f64).max(5.0);
    let pauses = [last, newest].map(|second| f64::from(now.saturating_sub(second)));
    if total < 4 || pauses.iter().any(|&pause| pause > patience) {
        return false;
    }
    let mut quarters = [false; 4];
    for &(second, _) in &tier.crossings {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 4")]
        let quarter = (4.0 * f64::from(second - first) / (span + 1e-9)) as usize;
        quarters[quarter.min(3)] = true;
    }
    quarters.iter().all(|&any| any)
}

/// Crossings a second over what is remembered of them.
fn crossing_rate(tier: &Survivors, now: Second) -> f64 {
    let Some(&(first, _)) = tier.crossings.front() else {
        return 0.0;
    };
    let total: u64 = tier.crossings.iter().map(|&(_, count)| count).sum();
    total.saturating_sub(1) as f64 / f64::from(now - first).max(1.0)
}

/// Lower 95 % bound of the survivors' mean remaining life: exposure over the 95 % quantile of a
/// Gamma(ended + 1, 1) (with none ended, E / 3.0).
fn remaining_life_s(tier: &Survivors) -> f64 {
    tier.exposure_s / gamma_95(tier.released + 1.0)
}

/// 95 % quantile of Gamma(k, 1), by Wilson and Hilferty.
fn gamma_95(k: f64) -> f64 {
    k * (1.0 - 1.0 / (9.0 * k) + 1.645 / (3.0 * k.sqrt())).powi(3)
}

/// Ports more a second, over the recent past.
pub(super) fn rate_per_s(series: &Series) -> f64 {
    let since_growth = series.recent.iter().rev().take(RATE_SPAN);
    let (mut net, mut seconds) = (0i64, 0u32);
    for flow in since_growth {
        net += i64::from(flow.acquired) - i64::from(flow.released);
        seconds += 1;
    }
    let seconds = match series.run {
        Some(_) => seconds,
        None => return 0.0,
    };
    (net as f64 / f64::from(seconds.max(1))).max(0.0)
}
