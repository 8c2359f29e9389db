//! What makes a verdict. A policy reads the [`Features`] of a series and keeps state of its own for
//! each; the engine does not know what it looks for, so a second one can judge the same events.

mod lifetime;

pub use lifetime::LifetimePolicy;

use super::Second;
use super::features::{Features, Window};
use crate::engine::report::{LeakKind, Verdict};
use std::fmt::Debug;

/// A way to judge series.
pub trait Policy: Debug + Send + Sync {
    /// The state of a new series.
    fn begin(&self) -> Box<dyn SeriesPolicy>;

    /// For how long features remember deaths: what is so many seconds old counts for a third.
    fn memory_s(&self) -> f64 {
        3_600.0
    }

    /// A round of idle samples with fewer answers shows nothing.
    fn answers_min(&self) -> u32 {
        3
    }
}

/// What a policy knows of one series besides its features.
pub trait SeriesPolicy: Debug + Send {
    /// Judges the series at the beginning of second `now`.
    ///
    /// It is called every second, unless it answered that it can rest; then, when something has
    /// happened to the series.
    fn judge(&mut self, features: &Features, now: Second, around: Surroundings) -> Decision;

    /// The verdict of the last second.
    fn verdict(&self) -> Verdict;

    /// That verdict with its numbers at this instant.
    fn judgement(&self, features: &Features, now: Second, around: Surroundings) -> Judgement;
}

/// What lies around a series and limits it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Ports that the pool can hand out.
    pub usable: u64,
    /// Ports used towards the series' destination, or of the pool; TIME_WAIT included.
    pub used: u64,
}

impl Surroundings {
    /// Ports that are left.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.usable.saturating_sub(self.used)
    }
}

/// What a policy wants after it has judged a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decision {
    /// The holds of which a sample is to be asked for how long it has been idle.
    pub query: Option<Window>,
    /// The idle samples are about something that is over.
    pub forget_idle: bool,
    /// The verdict is `clean`, and stays so as long as nothing happens to the series: no need to
    /// judge it each second.
    pub rests: bool,
}

/// A verdict on one series, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Which kind of leak.
    pub kind: LeakKind,
    /// When it began.
    pub since: Second,
    /// Ports of this kind held now.
    pub held: u64,
    /// Growth in ports a second.
    pub rate_per_s: f64,
    /// Of the ports acquired since then, the share that was released.
    pub released_share: f64,
    /// Seconds until no port is left.
    pub exhaustion_in_s: Option<f64>,
    /// The earliest and the latest that this may be.
    pub exhaustion_between_s: Option<(f64, f64)>,
    /// The median life of those that ended.
    pub healthy_s: Option<f64>,
    /// How many of the sampled holds are abandoned, and how many were sampled.
    pub abandoned: Option<(u32, u32)>,
}
