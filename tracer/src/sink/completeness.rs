//! What an answer lacks, and how late it was found.

use crate::event::Incomplete;

/// How complete a summary is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completeness {
    /// How late the loop was; `None` when a file was read.
    pub loop_lag: Option<LoopLag>,
    /// What is missing; empty when the answer is complete.
    pub incomplete: Vec<Incomplete>,
}

/// From the instant at which events were to be read until they were applied, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopLag {
    /// 99 of 100 batches were not later.
    pub p99_s: f64,
    /// The latest.
    pub max_s: f64,
}
