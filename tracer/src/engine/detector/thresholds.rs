//! Every number that a verdict hangs on, by profile.

use crate::engine::Profile;

/// Thresholds of one profile. Ages and spans in seconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Thresholds {
    /// A hold is a survivor from this age on while too few releases are known.
    pub(super) survivor_age_unknown: u32,
    /// Survivor age once releases are known: this many times their 99th percentile …
    pub(super) survivor_age_factor: f64,
    /// … but within these bounds.
    pub(super) survivor_age_min: u32,
    pub(super) survivor_age_max: u32,
    /// Releases that make the 99th percentile known.
    pub(super) releases_known: f64,
    /// Fast suspicion: unreleased growth in (but for one) every one of this many seconds …
    pub(super) fast_span: u32,
    /// … that takes this share of the pool …
    pub(super) fast_pool_share: f64,
    /// … of which at most this share is released.
    pub(super) fast_released_share: f64,
    /// Total leak: survivors are on the way to this share of the pool.
    pub(super) total_pool_share: f64,
    /// Growth must last this share of the time to exhaustion, within the bounds that follow.
    pub(super) total_exhaustion_share: f64,
    pub(super) total_span_min: f64,
    pub(super) total_span_max: f64,
    /// Survivors' lower bound of remaining life must exceed this many survivor ages …
    pub(super) guard_factor: f64,
    /// … and this.
    pub(super) guard_min: f64,
    /// Survivors without which nothing is said.
    pub(super) survivors_min: u64,
    /// Partial leak: the share of survivors that a healthy heavy tail may have.
    pub(super) partial_share: f64,
    /// Log-likelihood against that share.
    pub(super) partial_evidence: f64,
    /// Growth must last this long.
    pub(super) partial_span: f64,
    /// Slow leak: survivors of this age …
    pub(super) slow_age: u32,
    /// … so many …
    pub(super) slow_survivors: u64,
    /// … growing this long, and expected to live as long again.
    pub(super) slow_span: f64,
    /// Of those that reached that age, the share that may be released later.
    pub(super) slow_released_share: f64,
    /// CLOSE_WAIT: sockets of this age …
    pub(super) close_wait_age: u32,
    /// … that make a suspicion,
    pub(super) close_wait_suspected: u64,
    /// and that make a leak once they are …
    pub(super) close_wait_leak: u64,
    /// … of this age.
    pub(super) close_wait_leak_age: u32,
    /// A suspicion without growth is dropped after this long, a leak becomes one after four times it.
    pub(super) calm_span: u32,
}

/// SYN_SENT beyond the kernel's own patience (`tcp_syn_retries` 6: 127 s) is stuck.
pub(super) const SYN_SENT_AGE: u32 = 135;
/// So many of them are a leak.
pub(super) const SYN_SENT_LEAK: u64 = 5;
/// `growing`: so many more ports than before …
pub(super) const GROWING_NET: i64 = 15;
/// … over so many seconds, …
pub(super) const GROWING_SPAN: u32 = 3;
/// … and it is over when it has not been so for this long.
pub(super) const GROWING_CALM: u32 = 5;
/// `churn`: the share of a destination's ports that is used, most of it TIME_WAIT.
pub(super) const CHURN_SHARE: f64 = 0.8;
/// A leak has healed when no more than this share of its worst is held.
pub(super) const HEALED_SHARE: f64 = 0.5;

impl Thresholds {
    pub(in crate::engine) fn of(profile: Profile) -> Self {
        match profile {
            Profile::Session => Self::SESSION,
            Profile::Production => Self::PRODUCTION,
        }
    }

    const PRODUCTION: Self = Self {
        survivor_age_unknown: 60,
        survivor_age_factor: 4.0,
        survivor_age_min: 5,
        survivor_age_max: 900,
        releases_known: 30.0,
        fast_span: 60,
        fast_pool_share: 0.05,
        fast_released_share: 0.02,
        total_pool_share: 0.10,
        total_exhaustion_share: 0.10,
        total_span_min: 10.0,
        total_span_max: 600.0,
        guard_factor: 15.0,
        guard_min: 600.0,
        survivors_min: 10,
        partial_share: 5e-4,
        partial_evidence: 16.0,
        partial_span: 30.0,
        slow_age: 300,
        slow_survivors: 20,
        slow_span: 1_800.0,
        slow_released_share: 0.02,
        close_wait_age: 60,
        close_wait_suspected: 5,
        close_wait_leak: 5,
        close_wait_leak_age: 120,
        calm_span: 60,
    };

    const SESSION: Self = Self {
        survivor_age_unknown: 10,
        fast_span: 6,
        fast_pool_share: 0.005,
        fast_released_share: 0.05,
        total_pool_share: 0.01,
        total_exhaustion_share: 0.02,
        total_span_max: 120.0,
        guard_min: 120.0,
        slow_age: 60,
        slow_survivors: 8,
        slow_span: 240.0,
        close_wait_age: 20,
        close_wait_suspected: 3,
        close_wait_leak_age: 60,
        calm_span: 15,
        ..Self::PRODUCTION
    };
}
