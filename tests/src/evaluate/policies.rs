//! The policies that can be evaluated: the one in use, and a simple one beside it that reads the same
//! features.

use portleak::engine::detector::Second;
use portleak::engine::detector::features::{Features, Flow};
use portleak::engine::detector::policy::{Decision, Judgement, Policy, SeriesPolicy, Surroundings};
use portleak::engine::report::{LeakKind, Verdict};
use portleak::engine::{Config, Engine};

/// A policy by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PolicyName {
    /// The detector's own.
    #[default]
    Lifetime,
    /// Old holds that become more: what a person sees in a list of connections with their ages.
    OldHolds,
}

impl PolicyName {
    /// An engine that judges by it.
    pub fn engine(self, config: Config, begin_ns: u64) -> Engine {
        match self {
            Self::Lifetime => Engine::new(config, begin_ns),
            Self::OldHolds => Engine::with_policy(config, begin_ns, Box::new(OldHolds)),
        }
    }
}

/// So many old holds are suspicious.
const OLD_MIN: u64 = 20;
/// Suspected when they are this old, in seconds …
const SUSPECTED_AGE_S: Second = 120;
/// … and a leak when they are this old.
const LEAK_AGE_S: Second = 600;

/// Says that a series leaks when it has many old holds and gets more.
#[derive(Debug)]
struct OldHolds;

impl Policy for OldHolds {
    fn begin(&self) -> Box<dyn SeriesPolicy> {
        Box::new(Old { verdict: Verdict::Clean, since: 0 })
    }
}

/// What it thinks of one series.
#[derive(Debug)]
struct Old {
    verdict: Verdict,
    since: Second,
}

impl SeriesPolicy for Old {
    fn judge(&mut self, features: &Features, now: Second, _: Surroundings) -> Decision {
        let old = |age_s| now.checked_sub(age_s).map_or(0, |born| features.ages().born_until(born));
        let flows = features.flows();
        let grows = flows.last(60).map(Flow::net).sum::<i64>() > 0;
        let before = self.verdict;
        self.verdict = match (old(SUSPECTED_AGE_S) >= OLD_MIN, old(LEAK_AGE_S) >= OLD_MIN) {
            (true, true) if grows => Verdict::Leak,
            (true, _) if grows => Verdict::Suspected,
            _ => Verdict::Clean,
        };
        if before == Verdict::Clean {
            self.since = now;
        }
        Decision::default()
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn judgement(&self, features: &Features, _: Second, around: Surroundings) -> Judgement {
        let flows = features.flows();
        let rate_per_s = flows.last(60).map(Flow::net).sum::<i64>() as f64 / 60.0;
        Judgement {
            verdict: self.verdict,
            kind: LeakKind::Total,
            since: self.since,
            held: features.held(),
            rate_per_s,
            released_share: flows.released() as f64 / flows.acquired().max(1) as f64,
            exhaustion_in_s: (rate_per_s > 0.0).then(|| around.room() as f64 / rate_per_s),
            exhaustion_between_s: None,
            healthy_s: features.life().median_s(),
            abandoned: None,
        }
    }
}
