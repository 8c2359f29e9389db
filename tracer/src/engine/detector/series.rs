//! One series: the features of the holds of one owner, protocol and destination, and what the policy
//! thinks of them.

use super::Second;
use super::features::{Features, Window};
use super::policy::{Judgement, Policy, SeriesPolicy, Surroundings};
use crate::engine::report::Verdict;

/// What a second brought.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Ticked {
    /// The verdict with its numbers, unless it is clean.
    pub(in crate::engine) judgement: Option<Judgement>,
    /// The holds of which a sample is to be asked for how long it has been idle.
    pub(in crate::engine) query: Option<Window>,
    /// Nothing changes until something happens to the series.
    pub(in crate::engine) rests: bool,
}

/// One series.
#[derive(Debug)]
pub(in crate::engine) struct Series {
    pub(in crate::engine) features: Features,
    policy: Box<dyn SeriesPolicy>,
}

impl Series {
    /// An empty series, whose first second comes after `now`.
    pub(in crate::engine) fn new(now: Second, policy: &dyn Policy) -> Self {
        Self { features: Features::new(now, policy.memory_s()), policy: policy.begin() }
    }

    /// A second has gone by, `now` begins.
    pub(in crate::engine) fn tick(
        &mut self,
        now: Second,
        around: Surroundings,
        policy: &dyn Policy,
    ) -> Ticked {
        self.features.begin_second(now);
        let decision = self.policy.judge(&self.features, now, around);
        if decision.forget_idle {
            self.features.forget_idle();
        }
        let judgement = (self.policy.verdict() > Verdict::Clean).then(|| self.judgement(now, around));
        if let Some(window) = decision.query {
            self.features.begin_idle_round(now, window, policy.answers_min());
        }
        self.features.end_second();
        Ticked { judgement, query: decision.query, rests: decision.rests }
    }

    /// Catches up the seconds up to `now` in which it rested.
    pub(in crate::engine) fn wake(&mut self, now: Second) {
        self.features.live_until(now);
    }

    pub(in crate::engine) fn verdict(&self) -> Verdict {
        self.policy.verdict()
    }

    /// The verdict of the last second with its numbers as they are now.
    pub(in crate::engine) fn judgement(&self, now: Second, around: Surroundings) -> Judgement {
        self.policy.judgement(&self.features, now, around)
    }

    /// Whether nothing is left to watch.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.verdict() == Verdict::Clean && self.features.is_over()
    }
}
