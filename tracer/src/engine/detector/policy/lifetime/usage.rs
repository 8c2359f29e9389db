//! Whether the holds that stay are used: the reading of the idle samples.

use crate::engine::detector::features::{IdleSamples, Round, Window};
use crate::engine::detector::{Idle, Second};

/// Whether holds that stay are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Asked, and no answer yet.
    Waiting,
    /// Nobody knows.
    Unknown,
    /// They are idle nearly all their lives.
    Abandoned,
    /// Some are, some are not.
    Mixed,
    /// They are used.
    InUse,
}

/// What the samples show.
pub(super) fn usage(samples: &IdleSamples, now: Second, t: &Idle) -> Usage {
    if let Some((abandoned, answered)) = abandoned(samples, t) {
        let share = f64::from(abandoned) / f64::from(answered);
        return if share >= t.abandoned_share {
            Usage::Abandoned
        } else if share <= t.in_use_share {
            Usage::InUse
        } else {
            Usage::Mixed
        };
    }
    match samples.round() {
        Some(round) if now >= round.asked.saturating_add(t.answer_s) => Usage::Unknown,
        _ => Usage::Waiting,
    }
}

/// How many of the sampled holds are abandoned, and how many were sampled.
pub(super) fn abandoned(samples: &IdleSamples, t: &Idle) -> Option<(u32, u32)> {
    let round = samples.latest(t.answers_min)?;
    let idle = round.answers.iter().filter(|answer| answer.idle_s >= t.abandoned_age_share * answer.age_s);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some((count(idle.count()), count(round.answers.len())))
}

/// Whether it is time to ask (again): the older what is asked about, the rarer.
pub(super) fn is_due(round: Option<&Round>, now: Second, window: Window, t: &Idle) -> bool {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the trace")]
    let share = (f64::from(now - window.from) * t.repeat_share) as Second;
    let least = t.answer_s.saturating_add(1);
    let every = share.clamp(least, t.repeat_max_s.max(least));
    round.is_none_or(|round| now >= round.asked.saturating_add(every))
}
