//! Every number that a verdict hangs on, by profile.

use crate::engine::Profile;
use serde::{Deserialize, Serialize};

/// How much growth it takes, by what is known of the holds that stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthCriteria {
    /// So many must stay …
    pub survivors: f64,
    /// … and live on for so many seconds at least, as far as can be told (99 % confidence) …
    pub life_min_s: f64,
    /// … and so many times the age that made them survivors: the tail of a healthy heavy-tailed
    /// lifetime does not (Pareto with exponent 1.2: 5 times).
    pub life_ages: f64,
    /// They are on the way to this share of the pool, were they to end as soon as can be.
    pub pool_share: f64,
    /// Growth must last until it has eaten this share of the pool …
    pub eaten_share: f64,
    /// … but no longer than so many seconds if most holds of the same place end as they should …
    pub partial_span_s: f64,
    /// … and so many if hardly any does.
    pub total_span_s: f64,
    /// However slow: so many that stay …
    pub slow_survivors: f64,
    /// … after so many seconds, hardly any of which has ended.
    pub slow_span_s: f64,
    /// First suspicion: more ports in every one of this many seconds …
    pub fast_span_s: u32,
    /// … that are this share of the pool together.
    pub fast_pool_share: f64,
}

/// Sockets that are stuck in a state which healthy programs leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stuck {
    /// So many make a suspicion …
    pub suspected: u64,
    /// … once they have been in it for so many seconds.
    pub suspected_age_s: u32,
    /// So many make a leak …
    pub leak: u64,
    /// … once they have been in it for so many seconds.
    pub leak_age_s: u32,
}

/// Thresholds of one profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// When the holds that stay are known to be idle: abandoned.
    pub abandoned: GrowthCriteria,
    /// When nobody knows whether they are used.
    pub unknown: GrowthCriteria,
    /// When some of them are used: patience of an unknown, but of the careful sort.
    pub mixed: GrowthCriteria,
    /// When they are used: the share of the pool that must be eaten.
    pub in_use_pool_share: f64,
    /// Sockets in CLOSE_WAIT: the peer has closed, this side has not.
    pub close_wait: Stuck,
    /// Sockets in SYN_SENT.
    pub syn_sent: Stuck,
    /// TCP sockets that are bound and neither connected nor listening.
    pub bound: Stuck,
    /// Seconds of calm after which a suspicion is dropped; a leak becomes one after four times it.
    pub calm_span_s: u32,
}

/// Of those that reached that age, at most this share may have ended.
pub(super) const ENDED_SHARE: f64 = 0.1;
/// And for a slow leak this.
pub(super) const SLOW_ENDED_SHARE: f64 = 0.02;
/// A suspicion comes after this share of the growth that makes a leak.
pub(super) const SUSPECTED_SHARE: f64 = 0.5;
/// Growth shorter than this is none.
pub(super) const SPAN_MIN_S: f64 = 8.0;
/// Of the ports taken in a fast growth, the share that may have been given back.
pub(super) const FAST_RELEASED_SHARE: f64 = 0.05;
/// Deaths that make it known that holds of this place end.
pub(super) const DEATHS_KNOWN: f64 = 30.0;
/// A rate below this, in ports a second, is called slow.
pub(super) const SLOW_RATE: f64 = 0.05;
/// An unanswered connection attempt gives up by then (`tcp_syn_retries` 6: 127 s), so that before
/// it attempts that end look like holds that stay.
pub(super) const SYN_PATIENCE_S: f64 = 180.0;
/// Stuck sockets must have come one after the other for so many seconds: a server that restarts
/// leaves many in CLOSE_WAIT at once, until its clients use them again.
pub(super) const STUCK_SPAN_S: f64 = 15.0;
/// `growing`: so many more ports than before …
pub(super) const GROWING_NET: i64 = 15;
/// … over so many seconds, …
pub(super) const GROWING_SPAN: u32 = 3;
/// … or so many more …
pub(super) const GROWING_NET_SLOW: i64 = 10;
/// … over so many; …
pub(super) const GROWING_SPAN_SLOW: u32 = 30;
/// … and it is over when it has not been so for this long.
pub(super) const GROWING_CALM: u32 = 5;
/// `churn`: the share of a destination's ports that is used, most of it TIME_WAIT.
pub(super) const CHURN_SHARE: f64 = 0.8;
/// A leak has healed when no more than this share of its worst is held.
pub(super) const HEALED_SHARE: f64 = 0.5;

impl Thresholds {
    /// Those of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Session => Self::SESSION,
            Profile::Production => Self::PRODUCTION,
        }
    }

    const PRODUCTION: Self = Self {
        abandoned: GrowthCriteria {
            survivors: 10.0,
            life_min_s: 120.0,
            life_ages: 6.0,
            pool_share: 0.001,
            eaten_share: 0.03,
            partial_span_s: 60.0,
            total_span_s: 600.0,
            slow_survivors: 10.0,
            slow_span_s: 720.0,
            fast_span_s: 6,
            fast_pool_share: 0.0032,
        },
        unknown: CAREFUL,
        mixed: CAREFUL,
        in_use_pool_share: 0.25,
        close_wait: Stuck { suspected: 5, suspected_age_s: 30, leak: 5, leak_age_s: 40 },
        syn_sent: Stuck { suspected: 5, suspected_age_s: 135, leak: 5, leak_age_s: 150 },
        bound: Stuck { suspected: 5, suspected_age_s: 60, leak: 8, leak_age_s: 60 },
        calm_span_s: 60,
    };

    const SESSION: Self = Self {
        abandoned: GrowthCriteria {
            life_min_s: 100.0,
            eaten_share: 0.02,
            partial_span_s: 40.0,
            total_span_s: 220.0,
            slow_survivors: 4.0,
            slow_span_s: 220.0,
            ..Self::PRODUCTION.abandoned
        },
        unknown: GrowthCriteria {
            survivors: 10.0,
            life_min_s: 120.0,
            life_ages: 15.0,
            pool_share: 0.01,
            eaten_share: 0.02,
            partial_span_s: 60.0,
            total_span_s: 120.0,
            slow_survivors: 8.0,
            slow_span_s: 450.0,
            fast_span_s: 6,
            fast_pool_share: 0.0032,
        },
        close_wait: Stuck { suspected: 3, suspected_age_s: 20, leak: 5, leak_age_s: 35 },
        bound: Stuck { suspected: 3, suspected_age_s: 30, leak: 5, leak_age_s: 40 },
        calm_span_s: 15,
        ..Self::PRODUCTION
    };
}

const CAREFUL: GrowthCriteria = GrowthCriteria {
    survivors: 20.0,
    life_min_s: 600.0,
    life_ages: 15.0,
    pool_share: 0.5,
    eaten_share: 0.10,
    partial_span_s: 600.0,
    total_span_s: 1_200.0,
    slow_survivors: 20.0,
    slow_span_s: 1_800.0,
    fast_span_s: 60,
    fast_pool_share: 0.035,
};
