//! How complete the results are, and how late the loop was.

use crate::event::Incomplete;

/// How complete a summary is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completeness {
    /// How late the loop was; `None` for a file.
    pub loop_lag: Option<LoopLag>,
    /// What is missing; empty when the summary is complete.
    pub incomplete: Vec<Incomplete>,
}

/// Time from when events were due to be read until the engine had applied them, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopLag {
    /// The 99th percentile of all batches.
    pub p99_s: f64,
    /// The maximum.
    pub max_s: f64,
}
