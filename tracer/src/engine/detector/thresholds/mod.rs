//! Every number that a verdict depends on.
//!
//! The values of both profiles are in `profiles.rs`; a file given with `--thresholds` changes some
//! of them (`overlay.rs`). Units are part of the names: `_s` seconds, `_share` a part of 1.

mod overlay;
mod profiles;

pub use overlay::{ThresholdError, Unknown};
use serde::Serialize;

/// How much growth it takes, by what is known of the holds that stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct GrowthCriteria {
    /// At least so many must stay.
    pub survivors: f64,
    /// Lower bound of their mean remaining life in seconds (with `survival.confidence_z`).
    pub life_min_s: f64,
    /// The same bound, as a multiple of the age that made them survivors. The tail of a healthy
    /// heavy-tailed lifetime stays below it (Pareto with exponent 1.2: 5 times).
    pub life_ages: f64,
    /// Growth rate × lower bound of remaining life ≥ this share of the pool.
    pub pool_share: f64,
    /// Growth must last until it has taken this share of the pool …
    pub eaten_share: f64,
    /// … but no longer than so many seconds if most holds of the same place end as they should …
    pub partial_span_s: f64,
    /// … and so many if hardly any does.
    pub total_span_s: f64,
    /// A slow leak: at least so many stay …
    pub slow_survivors: f64,
    /// … after so many seconds, with at most `survival.slow_ended_share` of them ended.
    pub slow_span_s: f64,
    /// First suspicion: more ports in every one of this many seconds (at most 64) …
    pub fast_span_s: u32,
    /// … which together are this share of the pool.
    pub fast_pool_share: f64,
}

/// Sockets that stay in a state which healthy programs leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Stuck {
    /// So many are suspected …
    pub suspected: u64,
    /// … once they have been in it for so many seconds.
    pub suspected_age_s: u32,
    /// So many are a leak …
    pub leak: u64,
    /// … once they have been in it for so many seconds.
    pub leak_age_s: u32,
}

impl Stuck {
    /// The longer of the two ages.
    pub(super) fn oldest_s(&self) -> u32 {
        self.suspected_age_s.max(self.leak_age_s)
    }

    /// The smaller of the two numbers.
    pub(super) fn least(&self) -> u64 {
        self.suspected.min(self.leak)
    }
}

/// Which holds stay: what the life table must show from some age on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Survival {
    /// The youngest age from which on holds are examined, in seconds …
    pub age_min_s: f64,
    /// … and the oldest; ages between them lie 1/3 decade apart.
    pub age_max_s: f64,
    /// Fewer survivors are not examined.
    pub survivors_min: f64,
    /// Nor are those whose remaining life is shorter than so many times their age.
    pub life_ages_min: f64,
    /// Of those that reached the age, at most this share may have ended …
    pub ended_share: f64,
    /// … and at most this one for a slow leak.
    pub slow_ended_share: f64,
    /// Confidence of the lower bound of remaining life, as a quantile of the normal distribution
    /// (2.326: 99 %).
    pub confidence_z: f64,
    /// Deaths and exposure this old (in seconds) count for a third (1/e).
    pub memory_s: f64,
}

/// What growth is: births all over a span, up to now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Shape {
    /// Shorter growth counts as none, in seconds …
    pub span_min_s: f64,
    /// … likewise for sockets that stay in a state. A server that restarts leaves many in CLOSE_WAIT
    /// at once, until its clients use them again.
    pub stuck_span_s: f64,
    /// Each span that is tried is this many times shorter than the one before.
    pub span_step: f64,
    /// Each part of the span has at least this share of what even growth would have.
    pub even_share: f64,
    /// So many births are needed to divide a span into two parts …
    pub two_parts_from: f64,
    /// … three …
    pub three_parts_from: f64,
    /// … and four.
    pub four_parts_from: f64,
    /// With fewer than four parts: no gap between births longer than so many mean gaps.
    pub gaps_max: f64,
    /// A pause of so many mean gaps ends growth …
    pub pause_gaps: f64,
    /// … but not one of so many seconds: machines stutter.
    pub pause_min_s: f64,
}

/// `growing`: what the last seconds show. It accuses nobody.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Growing {
    /// So many more ports than before …
    pub net: i64,
    /// … over so many seconds (at most 64), …
    pub span_s: u32,
    /// … of which so many added ports …
    pub seconds_min: usize,
    /// … or so many more ports …
    pub slow_net: i64,
    /// … over so many seconds (at most 64), …
    pub slow_span_s: u32,
    /// … of which so many added ports.
    pub slow_seconds_min: usize,
    /// Of the ports acquired in the span, at least this share was kept.
    pub kept_share: f64,
    /// It is over when it has not been so for so many seconds.
    pub calm_s: u32,
    /// The rate shown is the mean of so many seconds (at most 64).
    pub rate_span_s: u32,
}

/// First suspicion by the flow alone: second after second adds ports.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Fast {
    /// Of the ports acquired in the stretch, at most this share was given back.
    pub released_share: f64,
    /// So many of its seconds may pass without growth: machines stutter.
    pub pauses_max: usize,
    /// Questions about idle times go out so many seconds before suspicion would be due.
    pub query_early_s: u32,
}

/// Whether the holds that stay are used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Idle {
    /// Holds asked about at a time.
    pub sample: usize,
    /// A source that has not answered after so many seconds does not know.
    pub answer_s: u32,
    /// Fewer answers show nothing.
    pub answers_min: u32,
    /// A hold is abandoned if no data moved for this share of its life.
    pub abandoned_age_share: f64,
    /// The sample is abandoned if this share of it is, or more …
    pub abandoned_share: f64,
    /// … and in use if this share of it is abandoned, or less.
    pub in_use_share: f64,
    /// Questions are repeated after this share of the time since growth began …
    pub repeat_share: f64,
    /// … but at the latest after so many seconds.
    pub repeat_max_s: u32,
}

/// `churn`: TIME_WAIT takes most of a destination's ports.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Churn {
    /// This share of the destination's ports is used …
    pub used_share: f64,
    /// … and of those this share is in TIME_WAIT.
    pub time_wait_share: f64,
}

/// When a verdict goes down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Calm {
    /// A leak needs a pause of so many times `calm_span_s`.
    pub leak_factor: u32,
    /// Growth needs a pause of this share of the time it took …
    pub growth_share: f64,
    /// … but no longer than so many seconds.
    pub growth_max_s: u32,
    /// It is over at once, after `calm_span_s`, if no more than this share of the worst is held.
    pub healed_share: f64,
}

/// How a verdict is named.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Naming {
    /// A leak is `slow` below so many ports a second.
    pub slow_rate_per_s: f64,
    /// It is `partial`, and judged by `partial_span_s`, once so many holds of the same place have
    /// ended, at least as many of them as stay.
    pub deaths_known: f64,
    /// It is `bound` when this share of what is held is bound and nothing else.
    pub bound_share: f64,
    /// One destination stands for its owner when it has this share of its ports.
    pub dominant_share: f64,
}

/// When it is the program that leaks and not one of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Program {
    /// So many processes share the holds that stay …
    pub processes_min: usize,
    /// … and none has more than this share of them.
    pub busiest_share: f64,
}

/// Thresholds of one profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Thresholds {
    /// When the holds that stay are known to be idle: abandoned.
    pub abandoned: GrowthCriteria,
    /// When nobody knows whether they are used.
    pub unknown: GrowthCriteria,
    /// When some of them are used.
    pub mixed: GrowthCriteria,
    /// When they are used: growth must have taken this share of the pool, beside what `mixed` needs.
    pub in_use_pool_share: f64,
    /// `suspected` comes after this share of the growth that makes a leak.
    pub suspected_share: f64,
    /// Sockets in CLOSE_WAIT: the peer has closed, this side has not.
    pub close_wait: Stuck,
    /// Sockets in SYN_SENT.
    pub syn_sent: Stuck,
    /// TCP sockets that are bound and neither connected nor listening.
    pub bound: Stuck,
    /// While half of what grows is connecting, growth counts only after so many seconds: attempts
    /// end by themselves (`tcp_syn_retries` 6: after 127 s).
    pub syn_span_s: f64,
    /// Seconds of calm after which a suspicion is dropped.
    pub calm_span_s: u32,
    /// When a verdict goes down.
    pub calm: Calm,
    /// Which holds stay.
    pub survival: Survival,
    /// What growth is.
    pub shape: Shape,
    /// What the last seconds show.
    pub growing: Growing,
    /// First suspicion by the flow alone.
    pub fast: Fast,
    /// Whether holds are used.
    pub idle: Idle,
    /// TIME_WAIT in place of holds.
    pub churn: Churn,
    /// How a verdict is named.
    pub naming: Naming,
    /// A program's leak.
    pub program: Program,
    /// Confidence of the bounds of a forecast, as a quantile of the normal distribution (1.645: 95 %
    /// on either side, 90 % between them).
    pub forecast_confidence_z: f64,
}
