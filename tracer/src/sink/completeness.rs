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

impl Completeness {
    /// Something is missing `count` times; nothing if it is not.
    pub fn lacks(&mut self, what: String, count: u64, remedy: &str) {
        if count > 0 {
            self.incomplete.push(Incomplete { what, count, remedy: remedy.to_owned() });
        }
    }

    /// The reader of the sink `name` was too slow for `count` findings; sums up with those before.
    pub fn lacks_findings(&mut self, name: &str, count: u64) {
        let what = format!("findings not written to {name}: its reader is too slow");
        match self.incomplete.iter_mut().find(|one| one.what == what) {
            Some(one) => one.count += count,
            None => self.lacks(what, count, "read faster, or use --output FILE"),
        }
    }
}

/// Time from when events were due to be read until the engine had applied them, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopLag {
    /// The 99th percentile of all batches.
    pub p99_s: f64,
    /// The maximum.
    pub max_s: f64,
}
