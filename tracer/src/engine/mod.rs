//! Meaning: events in, verdicts out. Pure: no clock, no I/O, and it cannot fail.
//!
//! Time comes in with [`Engine::apply`] and [`Engine::advance`]; the result does not depend on how
//! events are batched between two calls of `advance`.

pub mod report;
pub mod scope;

use crate::event::Event;
use report::{Finding, Progress, Summary};
use scope::Scope;

/// How quick to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// An engineer watches: minutes, quick words, some of them wrong.
    #[default]
    Session,
    /// Nobody watches: must not page for nothing.
    Production,
}

/// What the engine is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How quick to judge.
    pub profile: Profile,
    /// Whose ports to report.
    pub scope: Scope,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    _config: Config,
}

impl Engine {
    /// An engine that begins at `now_ns` on the source's clock.
    #[must_use]
    pub fn new(config: Config, _now_ns: u64) -> Self {
        Self { _config: config }
    }

    /// Takes in one event.
    pub fn apply(&mut self, _event: &Event) {}

    /// Lets time pass: judges once for each whole second that went by.
    pub fn advance(&mut self, _now_ns: u64) {}

    /// The findings since the last call, oldest first.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        Vec::new()
    }

    /// Everything as of `now_ns`.
    #[must_use]
    pub fn summary(&self, now_ns: u64) -> Summary {
        Summary {
            at_ns: now_ns,
            duration_s: 0.0,
            events: 0,
            lost: 0,
            owners: vec![],
            pools: vec![],
        }
    }

    /// The progress line.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::default()
    }
}
